"""A site whose websockets are for those who have a token; it needs no database."""

from __future__ import annotations

from typing import Any

import django
from django.conf import settings

from tests.settings import SECRET_KEY

settings.configure(
    SECRET_KEY=SECRET_KEY,
    ALLOWED_HOSTS=["127.0.0.1"],
    ROOT_URLCONF=__name__,
    INSTALLED_APPS=["wsconsumer", "django.contrib.auth", "django.contrib.contenttypes"],
    WSCONSUMER={"AUTHORIZATION_SUBPROTOCOL": "Bearer"},
    USE_TZ=True,
)
django.setup()

from django.http import HttpRequest, HttpResponse  # noqa: E402  # the settings come first
from django.urls import path  # noqa: E402
from rest_framework_simplejwt.authentication import JWTStatelessUserAuthentication  # noqa: E402

from wsconsumer import WebsocketConsumer  # noqa: E402
from wsconsumer.asgi import get_asgi_application  # noqa: E402
from wsconsumer.decorators import authenticate_with  # noqa: E402


class Who(WebsocketConsumer):
    """Says who is there."""

    async def connect(self) -> None:
        await self.accept()
        await self.send(f"user {self.user.pk}")


def page(request: HttpRequest) -> HttpResponse:
    """A page to open websockets from."""
    return HttpResponse("<!DOCTYPE html><title>Who</title>")


urlpatterns: list[Any] = [
    path("page/", page),
    path("ws/", authenticate_with(JWTStatelessUserAuthentication)(Who.as_view())),
]
application = get_asgi_application()
