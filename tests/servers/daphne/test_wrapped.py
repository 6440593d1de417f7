"""``servers/wrapped.py``: middleware around the application, and the server seen through it."""

from __future__ import annotations

import functools
import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from websockets.frames import Close

from tests.fakes import Wire, scope
from tests.servers.daphne.peer import Daphne, settled
from wsconsumer import WebsocketConsumer, servers
from wsconsumer.servers import wrapped
from wsconsumer.servers.departure import client_has_left

if TYPE_CHECKING:
    from collections.abc import Callable

SEEN: list[str] = []


def like_sentry(application: Any) -> Any:
    """Wrap ``send``, as SentryAsgiMiddleware does."""

    async def middleware(scope: Any, receive: Any, send: Any) -> None:
        async def wrapped_send(event: Any) -> Any:
            SEEN.append(event["type"])
            return await send(event)

        await application(scope, receive, wrapped_send)

    return middleware


def like_opentelemetry(application: Any) -> Any:
    """Wrap both, as OpenTelemetryMiddleware does."""

    async def middleware(scope: Any, receive: Any, send: Any) -> None:
        @functools.wraps(receive)
        async def traced_receive() -> Any:
            event = await receive()
            SEEN.append(event["type"])
            return event

        @functools.wraps(send)
        async def traced_send(event: Any) -> None:
            SEEN.append(event["type"])
            await send(event)

        await application(scope, traced_receive, traced_send)

    return middleware


class Hidden:
    """A ``send`` in an attribute, which can't be seen."""

    def __init__(self, send: Any) -> None:
        self._send = send

    async def __call__(self, event: Any) -> None:
        await self._send(event)


class Closing(WebsocketConsumer):
    """Closes with what daphne alone can't send."""

    async def receive(self, data: str | bytes) -> None:
        await self.close(4001, "enough")


class Rejecting(WebsocketConsumer):
    """Denies with what daphne alone can't send."""

    async def connect(self) -> None:
        await self.reject(402, "pay")


MIDDLEWARE: dict[str, Callable[[Any], Any]] = {
    "sentry": like_sentry,
    "opentelemetry": like_opentelemetry,
    "both": lambda application: like_sentry(like_opentelemetry(application)),
}


@pytest.mark.parametrize("middleware", MIDDLEWARE.values(), ids=MIDDLEWARE)
async def test_daphne_behind_middleware(middleware: Callable[[Any], Any]) -> None:
    """It is adapted all the same, and the middleware sees every event."""
    SEEN.clear()
    peer = Daphne(middleware(Closing.as_asgi()))
    peer.open()
    await settled()
    peer.events()
    peer.client.send_text(b"go")
    peer.flush()
    await settled()
    (frame,) = peer.events()
    assert Close.parse(frame.data) == Close(4001, "enough")
    assert {"websocket.accept", "websocket.close"} <= set(SEEN)


@pytest.mark.parametrize("middleware", MIDDLEWARE.values(), ids=MIDDLEWARE)
async def test_a_denial_behind_middleware(middleware: Callable[[Any], Any]) -> None:
    """A denial response reaches the client whole."""
    peer = Daphne(middleware(Rejecting.as_asgi()))
    peer.open()
    await settled()
    written = peer.transport.value()
    assert written.startswith(b"HTTP/1.1 402 ")
    assert written.endswith(b"pay")


async def test_what_can_not_be_seen_through(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Under daphne it is named, once; elsewhere it does not matter."""
    wrapped._explain_hidden.cache_clear()  # noqa: SLF001  # what is inside is what is tested
    wire = Wire()
    of_server = scope(asgi={"version": "3.0"})
    connection = (of_server, wire.receive, Hidden(wire.send))
    assert servers.adapt(*connection) == connection
    assert caplog.messages == []
    elsewhere = SimpleNamespace(running=True, _asyncioEventloop=object())
    monkeypatch.setitem(sys.modules, "twisted.internet.reactor", elsewhere)
    assert servers.adapt(*connection) == connection
    assert caplog.messages == []
    reactor = SimpleNamespace(running=True, _asyncioEventloop=None)
    monkeypatch.setitem(sys.modules, "twisted.internet.reactor", reactor)
    servers.adapt(scope(), wire.receive, Hidden(wire.send))  # no server made this scope
    assert caplog.messages == []
    for _ in range(2):
        assert servers.adapt(*connection) == connection
    [message] = caplog.messages
    assert message.startswith(
        f"Daphne's send() is hidden behind {__name__}.Hidden, so daphne can't"
    )
    assert message.endswith("Put that middleware around the HTTP application alone.")

    async def send(event: Any) -> None: ...

    servers.adapt(of_server, wire.receive, send)
    assert "behind tests.servers.daphne.test_wrapped.test_what_can_not_be_seen" in caplog.text
    wrapped._explain_hidden.cache_clear()  # noqa: SLF001  # what is inside is what is tested


def test_a_wrapper_without_end() -> None:
    """A function that has itself in its closure is looked into only so far."""

    async def send(event: Any) -> None:
        await send(event)

    assert wrapped.innermost(send, "send") is send


async def test_whether_the_client_has_left() -> None:
    """The server is asked behind the middleware too."""

    class Server:
        async def __call__(self, event: Any) -> None: ...

        def client_has_left(self) -> bool:
            return True

    async def application(scope: Any, receive: Any, send: Any) -> None:
        assert client_has_left(send)

    await like_sentry(application)({}, None, Server())
