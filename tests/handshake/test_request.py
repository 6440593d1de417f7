"""``request.py``: a websocket scope as a Django request."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.handlers.asgi import ASGIRequest
from django.test import override_settings

from tests.fakes import scope
from wsconsumer.handshake.request import WebsocketRequest


def test_it_is_a_get() -> None:
    """Whatever reads a request finds a GET with path, query, headers, cookies and client."""
    request = WebsocketRequest(
        scope(
            path="/ws/room/",
            query_string=b"name=Ada&x=1",
            headers=[
                (b"host", b"example.com:8000"),
                (b"cookie", b"sessionid=abc; theme=dark"),
                (b"x-forwarded-for", b"10.0.0.1"),
                (b"user-agent", b"tests"),
            ],
            client=["127.0.0.1", 4711],
            server=["127.0.0.1", 8000],
        )
    )
    assert isinstance(request, ASGIRequest)
    assert (request.method, request.path, request.path_info) == ("GET", "/ws/room/", "/ws/room/")
    assert request.GET.dict() == {"name": "Ada", "x": "1"}
    assert request.COOKIES == {"sessionid": "abc", "theme": "dark"}
    assert request.get_host() == "example.com:8000"
    assert request.headers["User-Agent"] == "tests"
    assert request.META["REMOTE_ADDR"] == "127.0.0.1"
    assert request.META["HTTP_X_FORWARDED_FOR"] == "10.0.0.1"
    assert (request.POST, request.body) == ({}, b"")
    assert request.scope["type"] == "websocket"


@pytest.mark.parametrize(
    ("scheme", "secure", "uri"),
    [
        ("ws", False, "http://testserver/ws/"),
        ("wss", True, "https://testserver/ws/"),
        (None, False, "http://testserver/ws/"),
        ("https", True, "https://testserver/ws/"),
    ],
)
def test_scheme(scheme: str | None, secure: bool, uri: str) -> None:
    """ws is http and wss is https; a server that says nothing means ws."""
    request = WebsocketRequest(scope(path="/ws/", scheme=scheme))
    assert request.is_secure() is secure
    assert request.build_absolute_uri() == uri


@override_settings(SECURE_PROXY_SSL_HEADER=("HTTP_X_FORWARDED_PROTO", "https"))
def test_scheme_behind_a_proxy() -> None:
    """SECURE_PROXY_SSL_HEADER works as for a page."""
    headers = [(b"host", b"testserver"), (b"x-forwarded-proto", b"https")]
    assert WebsocketRequest(scope(headers=headers)).is_secure()


@pytest.mark.parametrize(
    ("more", "forced", "expected"),
    [
        ({"path": "/app/ws/", "root_path": "/app"}, None, ("/app", "/ws/")),
        ({"path": "/ws/", "root_path": "/app"}, None, ("/app", "/ws/")),
        ({"path": "/app/ws/"}, "/app", ("/app", "/ws/")),
    ],
    ids=["root_path", "root_path-not-in-path", "FORCE_SCRIPT_NAME"],
)
def test_script_name(more: dict[str, Any], forced: str | None, expected: tuple[str, str]) -> None:
    """root_path and FORCE_SCRIPT_NAME are taken off the path, as Django does for a page."""
    with override_settings(FORCE_SCRIPT_NAME=forced):
        request = WebsocketRequest(scope(**more))
    assert (request.META["SCRIPT_NAME"], request.path_info) == expected


def test_user_and_session_of_an_outer_application() -> None:
    """What an outer application put in the scope is on the request."""
    request: Any = WebsocketRequest(scope(user="ada", session={"a": 1}))
    assert (request.user, request.session) == ("ada", {"a": 1})
    assert not hasattr(WebsocketRequest(scope()), "user")


@pytest.mark.parametrize(
    ("setting", "value", "secure"),
    [
        (None, "wss", False),
        (("HTTP_X_FORWARDED_PROTO", "https"), "wss", True),
        (("HTTP_X_FORWARDED_PROTO", "https"), "wss, http", True),
        (("HTTP_X_FORWARDED_PROTO", "https"), "ws, wss", False),
        (("HTTP_X_FORWARDED_PROTO", "https"), "ws", False),
        (("HTTP_X_FORWARDED_PROTO", "https"), None, False),
        (("HTTP_X_FORWARDED_PROTO", "on"), "wss", False),
        (("HTTP_X_SSL", "on"), "wss", False),
    ],
)
def test_a_proxy_that_says_wss(setting: Any, value: str | None, secure: bool) -> None:
    """Where the setting waits for https, wss is the same, and META stays as it came."""
    lines = [(b"host", b"example.com")]
    if value is not None:
        lines.append((b"x-forwarded-proto", value.encode()))
    with override_settings(SECURE_PROXY_SSL_HEADER=setting):
        request = WebsocketRequest(scope(path="/ws/", headers=lines))
        assert request.is_secure() is secure
        assert request.build_absolute_uri().startswith("https://" if secure else "http://")
    assert request.META.get("HTTP_X_FORWARDED_PROTO") == value
