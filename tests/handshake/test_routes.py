"""``routes.py`` and ``manage.py websockets --routes``: what is served where."""

from __future__ import annotations

import functools
import io
import json
import re
from typing import Any

import pytest
from django.conf.urls.i18n import i18n_patterns
from django.contrib.admin.views.decorators import staff_member_required
from django.contrib.auth.decorators import login_required, permission_required, user_passes_test
from django.core.management import call_command
from django.http import HttpResponse
from django.test import override_settings
from django.urls import include, path, re_path
from django.utils.decorators import decorator_from_middleware, method_decorator
from django.views.decorators.cache import cache_page, never_cache
from django.views.decorators.csrf import csrf_exempt, csrf_protect, ensure_csrf_cookie
from django.views.decorators.gzip import gzip_page
from django.views.decorators.http import condition, require_POST, require_safe

from wsconsumer import WebsocketConsumer, asgi_view
from wsconsumer.handshake.routes import Route


class Chat(WebsocketConsumer):
    """Nothing but a name."""


class Application:
    """An ASGI application that is an object."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None: ...


class ByObject:
    """A decorator that is a class."""

    def __init__(self, view: Any) -> None:
        functools.update_wrapper(self, view)

    def __call__(self, *args: Any, **kwargs: Any) -> Any: ...


inner = [
    path("<slug:room>/", login_required(Chat.as_view()), name="room"),
    re_path(r"^old/(?P<pk>\d+)/$", Chat.as_view()),
]
urlpatterns = [
    path("", lambda request: HttpResponse()),
    path("ws/", Chat.as_view(), name="plain"),
    path("ws/rooms/", include((inner, "rooms"), namespace="lounge")),
    path("ws/more/", include([path("app/", asgi_view(Application()))])),
    path("ws/staff/", never_cache(permission_required("auth.view_user")(Chat.as_view()))),
    path("ws/passes/", user_passes_test(bool)(Chat.as_view())),
    path("ws/object/", ByObject(Chat.as_view())),
]


class CountingMiddleware:
    """Middleware of the project's."""

    def __init__(self, get_response: Any) -> None: ...


def require_http_methods(view: Any) -> Any:
    """Decorate, under the name of one of Django's."""

    @functools.wraps(view)
    def inner(*args: Any) -> Any: ...

    return inner


DECORATORS: dict[str, tuple[Any, str]] = {
    "gzip_page": (gzip_page, "gzip_page"),
    "csrf_protect": (csrf_protect, "csrf_protect"),
    "csrf_exempt": (csrf_exempt, "csrf_exempt"),
    "ensure_csrf_cookie": (ensure_csrf_cookie, "ensure_csrf_cookie"),
    "cache_page": (cache_page(5), "cache_page"),
    "of-middleware": (decorator_from_middleware(CountingMiddleware), "CountingMiddleware"),
    "require_POST": (require_POST, "require_http_methods(['POST'])"),
    "require_safe": (require_safe, "require_http_methods(['GET', 'HEAD'])"),
    "require_http_methods": (require_http_methods, "require_http_methods"),
    "condition": (condition(), "condition"),
    "staff_member_required": (staff_member_required, "staff_member_required"),
    "user_passes_test": (user_passes_test(lambda user: True), "user_passes_test"),
}


@pytest.mark.parametrize(("decorator", "name"), DECORATORS.values(), ids=DECORATORS)
def test_a_decorator_has_the_name_that_it_is_written_with(decorator: Any, name: str) -> None:
    """Around the view, and with ``method_decorator`` on the class."""
    view = decorator(Chat.as_view())
    assert Route("/", "", view, ()).decorators == [name]
    decorated: Any = method_decorator(decorator, name="dispatch")(type("Own", (Chat,), {}))
    assert Route("/", "", decorated.as_view(), ()).decorators == [name]


class Translated:
    """A URLconf whose routes have the language as a prefix."""

    urlpatterns = i18n_patterns(path("ws/", Chat.as_view()))


def websockets(*arguments: str) -> tuple[str, str]:
    """Run the command; return what it wrote to stdout and stderr."""
    out, err = io.StringIO(), io.StringIO()
    call_command("websockets", "--routes", *arguments, stdout=out, stderr=err)
    return out.getvalue(), err.getvalue()


@override_settings(ROOT_URLCONF=__name__)
def test_the_table() -> None:
    """A line a route: path, consumer, name with namespaces, decorators outermost first."""
    table, errors = websockets()
    assert errors == ""
    assert [re.split(" {2,}", line) for line in table.splitlines()] == [
        ["path", "application", "name", "decorators"],
        ["/ws/", "tests.handshake.test_routes.Chat", "plain"],
        [
            "/ws/rooms/<slug:room>/",
            "tests.handshake.test_routes.Chat",
            "lounge:room",
            "login_required",
        ],
        [r"/ws/rooms/old/(?P<pk>\d+)/$", "tests.handshake.test_routes.Chat"],
        ["/ws/more/app/", "tests.handshake.test_routes.Application"],
        ["/ws/staff/", "tests.handshake.test_routes.Chat", "never_cache, permission_required"],
        ["/ws/passes/", "tests.handshake.test_routes.Chat", "user_passes_test"],
        ["/ws/object/", "tests.handshake.test_routes.Chat", "ByObject"],
    ]


@override_settings(ROOT_URLCONF="tests.urls", WSCONSUMER={"URLCONF": __name__})
def test_json() -> None:
    """--json prints the same for programs, from the URLconf that websockets use."""
    rows = json.loads(websockets("--json")[0])["routes"]
    assert len(rows) == 7
    assert rows[1] == {
        "path": "/ws/rooms/<slug:room>/",
        "application": "tests.handshake.test_routes.Chat",
        "name": "lounge:room",
        "decorators": ["login_required"],
    }


@pytest.mark.parametrize("arguments", [(), ("--json",)], ids=["table", "json"])
def test_no_routes(arguments: tuple[str, ...]) -> None:
    """Without routes a person is told how to make one, and a program gets an empty list."""
    out, err = websockets(*arguments)
    if arguments:
        assert json.loads(out) == {"routes": []}
    else:
        assert err == "No websocket routes. Map a consumer: path(..., X.as_view()).\n"


@override_settings(ROOT_URLCONF=Translated, LANGUAGE_CODE="de")
def test_routes_with_a_language() -> None:
    """A route of ``i18n_patterns()`` is listed once, with the prefix of ``LANGUAGE_CODE``."""
    (route,) = json.loads(websockets("--json")[0])["routes"]
    assert route["path"] == "/de/ws/"
