"""A small site with users: pages that log in and out and change passwords, and a socket."""

from __future__ import annotations

import json
import os
import time
from typing import Any

from django.conf import settings

_given = json.loads(os.environ["LOGINS"])
settings.configure(
    ALLOWED_HOSTS=["127.0.0.1"],
    DATABASES={"default": {**_given["database"], "ATOMIC_REQUESTS": True}},
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    INSTALLED_APPS=[
        "django.contrib.auth",
        "django.contrib.contenttypes",
        "django.contrib.sessions",
        "django.contrib.staticfiles",
        "wsconsumer",
    ],
    MIDDLEWARE=[
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
    ],
    PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"],
    ROOT_URLCONF=__name__,
    SECRET_KEY="not a secret: this site only ever runs inside the test suite",
    STATIC_URL="/static/",
    USE_TZ=True,
    WSCONSUMER=_given["wsconsumer"],
)

# What follows needs the settings.
import django  # noqa: E402

django.setup()

from django.contrib.auth import login, logout, update_session_auth_hash  # noqa: E402
from django.contrib.auth.decorators import login_required  # noqa: E402
from django.contrib.auth.models import User  # noqa: E402
from django.contrib.sessions.models import Session  # noqa: E402
from django.contrib.staticfiles.views import serve  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.db import transaction  # noqa: E402
from django.http import HttpRequest, HttpResponse  # noqa: E402
from django.urls import path  # noqa: E402

from wsconsumer import WebsocketConsumer  # noqa: E402
from wsconsumer.asgi import get_asgi_application  # noqa: E402


class Echo(WebsocketConsumer):
    """Echoes."""

    async def receive(self, data: str | bytes) -> None:
        await self.send(data)


def log_in(request: HttpRequest, name: str) -> HttpResponse:
    user, _ = User.objects.get_or_create(username=name)
    login(request, user)
    return HttpResponse()


def log_out(request: HttpRequest, pause: str) -> HttpResponse:
    logout(request)
    time.sleep(float(pause))  # work that a page still has to do
    return HttpResponse()


def change_password(request: Any, pause: str) -> HttpResponse:
    request.user.set_password("new")
    request.user.save()
    update_session_auth_hash(request, request.user)
    time.sleep(float(pause))
    return HttpResponse()


PAGE = """<!doctype html><title>page</title>
<script type=module>
  import { Socket } from "/static/wsconsumer/socket.js";
  const log = (window.log = []), waiting = new Set();
  window.until = (text, times) => new Promise((resolve) => {
    const look = () => log.filter((each) => each === text).length >= times && resolve();
    waiting.add(look);
    look();
  });
  window.open = () => {
    const socket = new Socket("/ws/");
    socket.addEventListener("state", ({ detail: { state, code } }) => {
      log.push([state, code].filter(Boolean).join(" "));
      for (const look of waiting) look();
    });
  };
</script>"""


def end(request: HttpRequest) -> HttpResponse:
    """End all sessions as a program beside Django would: nobody is told."""
    Session.objects.all().delete()
    return HttpResponse()


urlpatterns = [
    path("login/<name>/", log_in),
    path("logout/<pause>/", log_out),
    path("password/<pause>/", change_password),
    path("password/<pause>/alone/", transaction.non_atomic_requests(change_password)),
    path("page/", lambda request: HttpResponse(PAGE)),
    path("static/<path:path>", lambda request, path: serve(request, path, insecure=True)),
    path("end/", end),
    path("ws/", login_required(Echo.as_view())),
]
application = get_asgi_application()

if __name__ == "__main__":
    call_command("migrate", verbosity=0)
