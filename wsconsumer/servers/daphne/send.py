"""
All of ASGI's ``send`` for daphne: what the application may say, in autobahn's own calls.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from autobahn.exception import PayloadExceededError
from daphne.ws_protocol import WebSocketProtocol

from ...escaping import quote
from ...protocol import CloseCode
from ..departure import has_hung_up
from .ending import end_in_order, explain_limit
from .flow import Outflow, join_fragments

if TYPE_CHECKING:
    from collections.abc import Iterable

    from daphne.server import Server
    from twisted.internet.defer import Deferred

    from ...protocol import Event, Header
    from .flow import Inflow

FRAMING: Final = {b"connection", b"content-length", b"transfer-encoding"}
"""Headers that say how long a response is; a denial's body is sent whole, so it is we who know."""


class DaphneSend:
    """
    An ASGI ``send`` for one of daphne's websocket protocols.

    Raises ``ConnectionError`` once the client has gone, where daphne says nothing. A message waits
    while the client takes less than it is sent. A close never waits: its frame goes behind what is
    buffered.
    """

    def __init__(self, server: Server, protocol: WebSocketProtocol, inflow: Inflow) -> None:
        self._server = server
        self._protocol = protocol
        self._inflow = inflow
        self._outflow = Outflow(protocol.onPing)
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
            self._start_denial(event["status"], event.get("headers") or ())
        elif kind == "websocket.http.response.body":
            self._deny(event)
        else:
            raise ValueError(f"Expected an ASGI message of a websocket, got {quote(kind)}.")

    def client_has_left(self) -> bool | None:
        """Look at autobahn's state, and at the socket for a client that is not read from."""
        if self._protocol.state == WebSocketProtocol.STATE_CLOSED:
            return True
        fileno = getattr(self._protocol.transport, "fileno", None)
        return None if fileno is None else has_hung_up(fileno())

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
        # Messages that wait come too late now.
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
        protocol.onPing = outflow.on_ping
        self._inflow.open()
        join_fragments(protocol)
        end_in_order(protocol)
        explain_limit(protocol)
        # What is left to call it is daphne's --websocket_timeout, once a second from then on.
        protocol.serverClose = self._time_out

    def _time_out(self) -> None:
        if self._protocol.state == WebSocketProtocol.STATE_OPEN:
            # A page that was open for so long comes back at this code.
            self._close({"code": CloseCode.TIMED_OUT.value})

    def _start_denial(self, status: int, headers: Iterable[Header]) -> None:
        if not HTTPStatus.OK <= status < 600:
            raise ValueError(
                f"Expected a final status for a denial, 200 to 599, got {quote(status)}."
            )
        self._denial = (status, headers)

    def _deny(self, event: Event) -> None:
        self._body += event.get("body", b"")
        if event.get("more_body", False):
            return
        protocol, (status, headers) = self._protocol, self._denial
        has_body = status not in {HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED}
        body = self._body if has_body else b""
        self._decided()
        framing = [("connection", "close")]
        if has_body:
            framing.append(("content-length", str(len(body))))
        lines = [
            (name.decode("latin-1"), value.decode("latin-1"))
            for name, value in headers
            if name.lower() not in FRAMING
        ]
        protocol.wasNotCleanReason = _phrase(status)
        protocol.sendHttpErrorResponse(status, protocol.wasNotCleanReason, [*lines, *framing])
        protocol.sendData(body)
        protocol.dropConnection(abort=False)
        client = protocol.client_addr and "{}:{}".format(*protocol.client_addr)
        details = {"path": protocol.request.path, "client": client}
        self._server.log_action("websocket", "rejected", details)

    def _decided(self) -> Deferred[Any]:
        """Take the deferred that waits for the decision; without one, daphne decided itself."""
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
