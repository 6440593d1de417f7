"""
Daphne, adapted: flow control both ways, any close code and its reason, empty messages, accept
headers, denial responses, the client's close reason, the scheme, and a farewell on SIGTERM.

Daphne 4.2 leaves these out between ASGI and autobahn, which can do them. Its ``send`` is
``partial(server.handle_reply, protocol)``; with that protocol in hand, ``DaphneSend`` speaks all
of ASGI through public calls of autobahn and Twisted. Where daphne is not what we know, everything
is left as it was.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from functools import cache, partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from autobahn.exception import PayloadExceededError
from daphne.server import Server
from daphne.ws_protocol import WebSocketProtocol
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer, ISSLTransport
from zope.interface import implementer

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..protocol import Event, Header, Receive, Scope, Send

logger = logging.getLogger("wsconsumer.server")

MAX_EVENTS: Final = 32
MAX_SIZE: Final = 64 * 1024
"""
How many messages, and how many bytes of them, may wait for the application while more is read.

What Twisted reads in one go is parsed to its end: 64 KiB of small messages, or the end of one that
is as long as daphne allows.
"""

CLOSE_TIMEOUT: Final = 10
"""
Seconds that a client has to take what is buffered, and the close behind it, and to answer.

Autobahn drops it after one, and its timers run up to a second early.
"""


def adapt(scope: Scope, receive: Receive, send: partial[Any]) -> tuple[Scope, Receive, Send]:
    """Return the connection with what daphne leaves out, if ``send`` is what daphne makes today."""
    server = getattr(send.func, "__self__", None)
    protocol = send.args[0] if send.args else None
    if not isinstance(server, Server) or not isinstance(protocol, WebSocketProtocol):
        explain_fallback(
            f"its Server and WebSocketProtocol behind send(), got {type(server).__qualname__} and "
            f"{type(protocol).__qualname__}. It will not send all close codes, reasons, accept "
            "headers or denial responses, nor wait for slow clients."
        )
        return scope, receive, send
    end_with_the_server(asyncio.current_task())
    extensions = {**(scope.get("extensions") or {}), "websocket.http.response": {}}
    adapted = {**scope, "scheme": _scheme(protocol), "extensions": extensions}
    inflow = Inflow(receive, protocol)
    return adapted, inflow.receive, DaphneSend(server, protocol, inflow)


@cache
def explain_fallback(expectation: str) -> None:
    logger.warning("This daphne can't be adapted: expected %s", expectation)


def _scheme(protocol: WebSocketProtocol) -> str:
    """Tell ws from wss, by the proxy's header where daphne is told to trust one."""
    forwarded = getattr(protocol, "client_scheme", None)
    if forwarded is not None:
        return "wss" if forwarded in {"https", "wss"} else "ws"
    return "wss" if ISSLTransport.providedBy(protocol.transport) else "ws"


class Inflow:
    """
    An ASGI ``receive`` that stops reading from a client that sends more than is taken.

    It stands before the protocol's ``onMessage``, which puts each message in the queue behind
    daphne's ``receive`` and never looks how long that is. Where ``receive`` is not what we know, it
    only adds the close reason.
    """

    def __init__(self, receive: Receive, protocol: WebSocketProtocol) -> None:
        self._receive = receive
        self._protocol = protocol
        self._queue: Any = getattr(receive, "__self__", None)
        self._size = 0
        self._is_full = False

    def open(self) -> None:
        """Look at what comes from now on."""
        queue, transport = self._queue, self._protocol.transport
        if not isinstance(queue, asyncio.Queue) or not IPushProducer.providedBy(transport):
            explain_fallback(
                f"a Queue behind receive() and a transport that can pause, got "
                f"{type(queue).__qualname__} and {type(transport).__qualname__}. "
                "It will read from clients without bound."
            )
            return
        self._put = self._protocol.onMessage
        self._protocol.onMessage = self._on_message

    def close(self) -> None:
        """The application has closed: read on, to the client's answer."""
        if self._is_full:
            self._protocol.transport.resumeProducing()

    async def receive(self) -> Event:
        event = await self._receive()
        if self._is_full and self._queue.empty():
            self._read_on()
        if event["type"] == "websocket.disconnect":
            event["reason"] = self._protocol.remoteCloseReason or ""
        return event

    def _on_message(self, payload: bytes, is_binary: bool) -> None:
        is_open = self._protocol.state == WebSocketProtocol.STATE_OPEN
        if self._is_full and not is_open:
            return
        if self._queue.empty():
            self._size = 0
        self._size += len(payload)
        self._put(payload, is_binary)
        if self._size > MAX_SIZE or self._queue.qsize() > MAX_EVENTS:
            # The answer to a ping could not be read, so daphne must not ask.
            self._protocol.last_ping = math.inf
            if is_open and not self._is_full:
                self._protocol.transport.pauseProducing()
            self._is_full = True

    def _read_on(self) -> None:
        self._is_full = False
        self._protocol.last_ping = time.time()
        self._protocol.transport.resumeProducing()


@implementer(IPushProducer)
class Outflow:
    """
    Where messages wait while the transport holds more than the client has taken.

    Nothing waits but in ``passage()``, in order, and only while ``is_shut``.
    """

    def __init__(self) -> None:
        self.is_shut = False
        self._queued = 0
        self._turn = asyncio.Lock()
        self._resumed = asyncio.Event()
        self._resumed.set()

    async def passage(self) -> None:
        """Wait for the transport, and for all who came before."""
        self._queued += 1
        try:
            async with self._turn:
                await self._resumed.wait()
        finally:
            self._queued -= 1
            self._update()

    def pauseProducing(self) -> None:  # noqa: N802  # Twisted's name
        self._resumed.clear()
        self._update()

    def resumeProducing(self) -> None:  # noqa: N802  # Twisted's name
        self._resumed.set()
        self._update()

    def stopProducing(self) -> None:  # noqa: N802  # Twisted's name
        """The connection is lost: nobody needs to wait to learn that."""
        self.resumeProducing()

    def _update(self) -> None:
        self.is_shut = self._queued > 0 or not self._resumed.is_set()


class DaphneSend:
    """
    An ASGI ``send`` for one of daphne's websocket protocols.

    Raises ``ConnectionError`` once the client has gone, where daphne says nothing. A message waits
    while the client takes less than it is sent; a close never does, its frame goes behind what is
    buffered already.
    """

    def __init__(self, server: Server, protocol: WebSocketProtocol, inflow: Inflow) -> None:
        self._server = server
        self._protocol = protocol
        self._inflow = inflow
        self._outflow = Outflow()
        self._denial: tuple[int, Iterable[Header]] = (HTTPStatus.FORBIDDEN, ())
        self._body = b""

    async def __call__(self, event: Event) -> None:
        kind = event["type"]
        if kind == "websocket.send":
            if self._outflow.is_shut:
                await self._outflow.passage()
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
            self._write(text.encode(), False)
        else:
            self._write(event["bytes"], True)

    def _write(self, payload: bytes, is_binary: bool) -> None:
        try:
            self._protocol.sendMessage(payload, is_binary)
        except PayloadExceededError:
            # The limit is for what clients send. The streaming calls do not hold it against us.
            self._protocol.beginMessage(is_binary)
            self._protocol.sendMessageFrame(payload)
            self._protocol.endMessage()

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
        self._inflow.close()
        # What waits can't be sent any more.
        self._outflow.stopProducing()

    def _accept(self, event: Event) -> None:
        headers: dict[str, list[str]] = {}
        for name, value in event.get("headers") or ():
            headers.setdefault(name.decode("latin-1"), []).append(value.decode("latin-1"))
        decided = self._decided()
        self._control_flow()
        decided.callback((event.get("subprotocol"), headers))

    def _control_flow(self) -> None:
        protocol, outflow = self._protocol, self._outflow
        protocol.unregisterProducer()  # the HTTP channel's, which daphne leaves there
        protocol.registerProducer(outflow, True)
        # autobahn unregisters ours before it drops the connection, and does not say stop then.
        protocol.is_closed.addBoth(lambda _: outflow.stopProducing())
        protocol.closeHandshakeTimeout = CLOSE_TIMEOUT
        self._inflow.open()
        _explain_limit(protocol)

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


def _explain_limit(protocol: WebSocketProtocol) -> None:
    """
    Answer a message over daphne's limit with 1009, and not by dropping the connection.

    What breaks the protocol still does that: autobahn would have to go on reading it.
    """
    begin = protocol.onMessageFrameBegin

    def on_message_frame_begin(length: int) -> None:
        protocol.failByDrop = False
        begin(length)
        protocol.failByDrop = True

    protocol.onMessageFrameBegin = on_message_frame_begin


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
