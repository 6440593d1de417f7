"""``asgi.py``: each scope type to the right place."""

from __future__ import annotations

from typing import Any

import pytest
from django.http import HttpResponse
from django.test import override_settings
from django.urls import path

from tests.fakes import ACCEPT, Wire, disconnect, run, scope
from wsconsumer import WebsocketConsumer
from wsconsumer.asgi import get_asgi_application

urlpatterns = [
    path("page/", lambda request: HttpResponse("a page")),
    path("ws/", WebsocketConsumer.as_view()),
]

here = override_settings(ROOT_URLCONF=__name__, MIDDLEWARE=[])


@here
async def test_websocket() -> None:
    """A websocket goes to the dispatcher."""
    assert await run(get_asgi_application(), disconnect(), path="/ws/") == [ACCEPT]


@here
async def test_http() -> None:
    """HTTP goes to Django's own handler."""
    wire = Wire({"type": "http.request", "body": b""})
    http: dict[str, Any] = scope(type="http", method="GET", path="/page/")
    await get_asgi_application()(http, wire.receive, wire.send)
    assert wire.sent[0]["status"] == 200
    assert wire.sent[1]["body"] == b"a page"


@here
async def test_lifespan() -> None:
    """Startup and shutdown are answered, so that servers neither wait nor warn."""
    wire = Wire({"type": "lifespan.startup"}, {"type": "lifespan.shutdown"})
    await get_asgi_application()({"type": "lifespan"}, wire.receive, wire.send)
    assert [message["type"] for message in wire.sent] == [
        "lifespan.startup.complete",
        "lifespan.shutdown.complete",
    ]


@here
async def test_another_type() -> None:
    """A type that nobody here serves is an error that names it."""
    with pytest.raises(ValueError, match=r"http, websocket or lifespan, got 'telnet'"):
        await get_asgi_application()({"type": "telnet"}, None, None)
