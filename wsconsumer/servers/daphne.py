"""
Daphne, mended: any close code and its reason, empty messages, accept headers, denial responses, the
client's close reason, the scheme, and a farewell on SIGTERM.

Daphne 4.2 leaves these out between ASGI and autobahn, which can do them. Its ``send`` is
``partial(server.handle_reply, protocol)``; with that protocol in hand, ``DaphneSend`` speaks all
of ASGI through public calls of autobahn and Twisted. Where daphne is not what we know, everything
is left as it was.
"""

from __future__ import annotations

import asyncio
import logging
from functools import cache, partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from daphne.server import Server
from daphne.ws_protocol import WebSocketProtocol
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import ISSLTransport

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..protocol import Event, Header, Receive, Scope, Send

logger = logging.getLogger(__name__)


def mend(scope: Scope, receive: Receive, send: partial[Any]) -> tuple[Scope, Receive, Send]:
    """Return the connection with what daphne leaves out, if ``send`` is what daphne makes today."""
    server = getattr(send.func, "__self__", None)
    protocol = send.args[0] if send.args else None
    if not isinstance(server, Server) or not isinstance(protocol, WebSocketProtocol):
        explain_fallback(f"{type(server).__qualname__} and {type(protocol).__qualname__}")
        return scope, receive, send
    end_with_the_server(asyncio.current_task())
    extensions = {**(scope.get("extensions") or {}), "websocket.http.response": {}}
    mended = {**scope, "scheme": _scheme(protocol), "extensions": extensions}
    return mended, _with_reason(receive, protocol), DaphneSend(server, protocol)


@cache
def explain_fallback(found: str) -> None:
    logger.warning(
        "This daphne can't be mended: expected its Server and WebSocketProtocol behind send(), got "
        "%s. It will not send all close codes, reasons, accept headers or denial responses.",
        found,
    )


def _scheme(protocol: WebSocketProtocol) -> str:
    """Tell ws from wss, by the proxy's header where daphne is told to trust one."""
    forwarded = getattr(protocol, "client_scheme", None)
    if forwarded is not None:
        return "wss" if forwarded in {"https", "wss"} else "ws"
    return "wss" if ISSLTransport.providedBy(protocol.transport) else "ws"


def _with_reason(receive: Receive, protocol: WebSocketProtocol) -> Receive:
    async def receive_with_reason() -> Event:
        event = await receive()
        if event["type"] == "websocket.disconnect":
            event["reason"] = protocol.remoteCloseReason or ""
        return event

    return receive_with_reason


class DaphneSend:
    """
    An ASGI ``send`` for one of daphne's websocket protocols.

    Raises ``ConnectionError`` once the client has gone, where daphne says nothing.
    """

    def __init__(self, server: Server, protocol: WebSocketProtocol) -> None:
        self._server = server
        self._protocol = protocol
        self._denial: tuple[int, Iterable[Header]] = (HTTPStatus.FORBIDDEN, ())
        self._body = b""

    async def __call__(self, event: Event) -> None:
        kind = event["type"]
        if kind == "websocket.send":
            self._message(event)
        elif kind == "websocket.close":
            self._close(event)
        elif kind == "websocket.accept":
            self._accept(event)
        elif kind == "websocket.http.response.start":
            self._denial = (event["status"], event.get("headers") or ())
        elif kind == "websocket.http.response.body":
            self._deny(event)
        else:
            raise ValueError(f"Expected a message that ASGI has for a websocket, got {kind!r}.")

    def _message(self, event: Event) -> None:
        self._expect(WebSocketProtocol.STATE_OPEN)
        text = event.get("text")
        if text is not None:
            self._protocol.sendMessage(text.encode(), False)
        else:
            self._protocol.sendMessage(event["bytes"], True)

    def _close(self, event: Event) -> None:
        if self._protocol.state == WebSocketProtocol.STATE_CONNECTING:
            self._deny({"body": b""})
            return
        self._expect(WebSocketProtocol.STATE_OPEN)
        code = event.get("code")
        # sendClose() refuses 1001, 1008, 1009, 1011, 1012 and 1013, which a server needs.
        self._protocol.sendCloseFrame(
            code=1000 if code is None else code,
            reasonUtf8=(event.get("reason") or "").encode(),
            isReply=False,
        )

    def _accept(self, event: Event) -> None:
        headers: dict[str, list[str]] = {}
        for name, value in event.get("headers") or ():
            headers.setdefault(name.decode("latin-1"), []).append(value.decode("latin-1"))
        self._decided().callback((event.get("subprotocol"), headers))

    def _deny(self, event: Event) -> None:
        self._body += event.get("body", b"")
        if event.get("more_body", False):
            return
        self._decided()
        protocol, (status, headers) = self._protocol, self._denial
        framing = [("content-length", str(len(self._body))), ("connection", "close")]
        lines = [
            (name.decode("latin-1"), value.decode("latin-1"))
            for name, value in headers
            if name != b"content-length"
        ]
        protocol.wasNotCleanReason = _phrase(status)
        protocol.sendHttpErrorResponse(status, protocol.wasNotCleanReason, [*lines, *framing])
        protocol.sendData(self._body)
        protocol.dropConnection(abort=False)
        client = protocol.client_addr and "{}:{}".format(*protocol.client_addr)
        details = {"path": protocol.request.path, "client": client}
        self._server.log_action("websocket", "rejected", details)

    def _decided(self) -> Deferred[Any]:
        """Take the deferred that waits for the decision; without it, daphne decided itself."""
        self._expect(WebSocketProtocol.STATE_CONNECTING)
        deferred: Deferred[Any] | None = vars(self._protocol).pop("handshake_deferred", None)
        if deferred is None:
            raise ConnectionError("The handshake was ended by daphne.")
        return deferred

    def _expect(self, state: int) -> None:
        if self._protocol.state != state:
            raise ConnectionError("The client has gone.")


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Denied"


_tasks: set[asyncio.Task[Any]] = set()


def end_with_the_server(task: asyncio.Task[Any] | None) -> None:
    """
    See to it that this task is cancelled, and awaited, before the reactor stops.

    Daphne's own sweep raises ``KeyError``, and skips the rest, when it meets a connection whose
    application has finished, which an upgraded request is for up to a second.
    """
    if task is not None:
        _tasks.add(task)
        task.add_done_callback(_tasks.discard)
        _watch_shutdown()


@cache
def _watch_shutdown() -> None:
    reactor.addSystemEventTrigger("before", "shutdown", end_applications)  # type: ignore[arg-type]  # zope's stub has no eventType


def end_applications() -> Deferred[Any] | None:
    """Cancel what still runs, once each; return what the reactor has to wait for."""
    if not _tasks:
        return None
    for task in _tasks:
        if not task.cancelling():
            task.cancel()
    return Deferred.fromFuture(asyncio.gather(*_tasks, return_exceptions=True))
