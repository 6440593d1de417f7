"""
One connection: its state, and the verbs that move it, spoken in ASGI to the server's ``send``.

No error of a server gets out of here: whatever ``send`` raises once the client may have gone
becomes ``ConnectionClosed``. Read ``protocol.TRANSITIONS`` first.
"""

from __future__ import annotations

import asyncio
import logging
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, Protocol

from django.conf import settings

from ..escaping import quote
from ..exceptions import ConnectionClosed, InvalidEvent, InvalidState
from ..framing import NOBODY
from ..log_thread import log
from ..protocol import (
    CLOSE_TIMEOUT,
    OWN_SUBPROTOCOL,
    TRANSITIONS,
    Action,
    CloseCode,
    ConnectionState,
    Event,
    Header,
    RawHeaders,
    Receive,
    Scope,
    Send,
    answer_subprotocol,
    check_close,
    disconnected,
    encode_headers,
    encode_text,
    framed_response,
    offered_subprotocols,
)
from ..servers import denied
from .misuse import (
    check_rejection,
    early_close,
    late_subprotocol,
    log_unanswered_offer,
    out_of_turn,
    wrong_loop,
    wrong_subprotocol,
)
from .own_client import close_for_denial, escaped, page_of, unframed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

logger = logging.getLogger("wsconsumer.consumer")

STOP_TIMEOUT: Final = 1.0
"""Seconds that a close may take where the server is stopping and has cancelled the application."""

_OPEN: Final = ConnectionState.OPEN
_WITH_CLIENT: Final = {
    ConnectionState.CONNECTING: ConnectionState.CLOSED,
    ConnectionState.OPEN: ConnectionState.CLOSING,
}
"""The states in which a client that leaves is news, and where a hook that runs is then."""


class Follower(Protocol):
    """What goes along with a connection: its membership in groups, and what waits for it."""

    def follow(self, state: ConnectionState) -> None:
        """The connection has moved to another state."""

    async def flush(self) -> None:
        """Return when everything that waits now has been sent."""


class Connection:
    """
    One websocket connection as the application sees it.

    ``owner`` is the name that errors and log lines use. ``emit`` takes a ``websocket.send`` event:
    it is the server's own ``send`` while the connection is open, and ``None`` at other times, so
    that a message costs no look at the state. ``receive`` returns the next event. Both can be
    diverted for a while, by the methods that say so.
    """

    __slots__ = (
        "__weakref__",
        "_accept_headers",
        "_follower",
        "_offers_own",
        "_scope",
        "_way",
        "accepted",
        "close_code",
        "close_deadline",
        "close_reason",
        "emit",
        "loop",
        "owner",
        "page",
        "receive",
        "rejected_with",
        "server_send",
        "state",
        "subprotocol",
    )

    def __init__(
        self,
        owner: str,
        scope: Scope,
        receive: Receive,
        send: Send,
        accept_headers: Sequence[Header] = (),
    ) -> None:
        self.owner = owner
        self.receive = receive
        self.emit: Send | None = None
        self.state = ConnectionState.CONNECTING
        self.accepted = False
        self.rejected_with: int | None = None
        self.subprotocol: str | None = None
        self.close_code: int | None = None
        self.close_reason = ""
        self.close_deadline: float | None = None
        self.server_send = send
        self._scope = scope
        self.page = NOBODY
        self._way = send
        self._offers_own = OWN_SUBPROTOCOL in (scope.get("subprotocols") or ())
        if self._offers_own:
            self.page = page_of(scope, owner)
            self.receive = unframed(self)
        self._follower: Follower | None = None
        self.loop = asyncio.get_running_loop()
        self._accept_headers = accept_headers

    def attach(self, follower: Follower) -> None:
        """Let a follower know of every change of state from now on."""
        self._follower = follower
        follower.follow(self.state)

    def divert(self, send: Send) -> None:
        """Let messages go through ``send`` while the connection is open, until ``undivert()``."""
        self.emit = send

    def undivert(self) -> None:
        """Let messages go straight to the server again."""
        # Each message would pay for a look at the loop, so it is for those who develop.
        self.emit = self._send_checked if settings.DEBUG else self._way

    async def _send_checked(self, event: Event) -> None:
        self.check_loop("send()")
        await self._way(event)

    def send_through(self, wrap: Callable[[Send], Send]) -> None:
        """Let the consumer's messages go through what ``wrap`` returns, from accept on."""
        self._way = wrap(self._way)

    @property
    def is_undiverted(self) -> bool:
        """Whether messages go straight to the server."""
        return self.emit is not None and self.emit in (self._way, self._send_checked)

    @property
    def speaks_own(self) -> bool:
        """Whether this is our subprotocol, or will be unless the consumer accepts another."""
        is_undecided = self.state is ConnectionState.CONNECTING
        return self._offers_own if is_undecided else self.subprotocol == OWN_SUBPROTOCOL

    def read_through(self, receive: Receive) -> Receive:
        """Let events come through ``receive``; return what they came through before."""
        before, self.receive = self.receive, receive
        return before

    def check_loop(self, verb: str) -> None:
        """Raise ``InvalidState`` unless the connection's own event loop is the one that runs."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            loop = None
        if loop is not self.loop:
            raise wrong_loop(self.owner, verb)

    async def receive_connect(self) -> bool:
        """Wait for the first event; return whether the client is still there to be answered."""
        event = await self.receive()
        if event["type"] == "websocket.connect":
            return True
        if event["type"] == "websocket.disconnect":
            self.on_disconnect(event)
            return False
        raise InvalidEvent(f"Expected websocket.connect first, got {quote(event['type'])}.")

    async def accept(self, subprotocol: str | None = None, headers: RawHeaders = ()) -> None:
        """Complete the opening handshake. Arguments and errors: ``WebsocketConsumer.accept``."""
        self._check(Action.ACCEPT)
        offered = offered_subprotocols(self._scope)
        subprotocol = answer_subprotocol(subprotocol, self._scope)
        if self._follower is not None and self.speaks_own and subprotocol != OWN_SUBPROTOCOL:
            raise late_subprotocol(self.owner, subprotocol)
        if subprotocol is not None and subprotocol not in offered:
            raise wrong_subprotocol(self.owner, subprotocol, offered)
        lines = [*encode_headers(headers, f"{self.owner}.accept()"), *self._accept_headers]
        event = {"type": "websocket.accept", "subprotocol": subprotocol, "headers": lines}
        try:
            await self.server_send(event)
        except Exception as error:
            self._move(ConnectionState.CLOSED)
            raise self.closed_error(Action.ACCEPT) from error
        self.accepted = True
        self.subprotocol = subprotocol
        if subprotocol == OWN_SUBPROTOCOL:
            self.send_through(escaped)
        self._move(TRANSITIONS[ConnectionState.CONNECTING][Action.ACCEPT])
        if offered and subprotocol is None:
            log_unanswered_offer(self.owner)

    async def reject(
        self, status: int = 403, body: str | bytes = "", headers: RawHeaders = ()
    ) -> None:
        """Refuse the opening handshake. Arguments and errors: ``WebsocketConsumer.reject``."""
        self._check(Action.REJECT)
        check_rejection(self.owner, status, body)
        lines = encode_headers(headers, f"{self.owner}.reject()")
        if isinstance(body, str):
            body = encode_text(body, f"{self.owner}.reject() body")
            if body and not any(name == b"content-type" for name, _ in lines):
                lines.append((b"content-type", b"text/plain; charset=utf-8"))
        await self.deny(status, lines, body, close_for_denial(status, lines))

    async def deny(
        self, status: int, headers: Sequence[Header], body: bytes, closed: tuple[int, str] | None
    ) -> None:
        """
        Send a denial response, whole where the server speaks the ASGI extension for it.

        Elsewhere ASGI has only a close before accept: a bare 403. A client that speaks our
        subprotocol is ``closed`` with this code and reason instead: its page can see no status.
        """
        self._check(Action.REJECT)
        self._move(TRANSITIONS[self.state][Action.REJECT])
        self.rejected_with = int(status)
        headers, body = framed_response(status, headers, body)
        try:
            if closed is not None and self._offers_own:
                await self.server_send({"type": "websocket.accept", "subprotocol": OWN_SUBPROTOCOL})
                await self._send_close(*closed)
                await self.await_disconnect()
            elif "websocket.http.response" in (self._scope.get("extensions") or ()):
                start = {"status": self.rejected_with, "headers": headers}
                await self.server_send({"type": "websocket.http.response.start", **start})
                await self.server_send({"type": "websocket.http.response.body", "body": body})
                await denied(self.receive, self.server_send)
            else:
                if status != HTTPStatus.FORBIDDEN:
                    logger.info("No denial response here: the client gets 403, not %d.", status)
                await self.server_send({"type": "websocket.close"})
        except Exception as error:
            self.log_not_sent(f"the denial {status}", error)

    def refusal(self, action: Action) -> InvalidState | ConnectionClosed:
        """Return the error for a verb that this state forbids."""
        out = out_of_turn(self.owner, action.value, self.state, self.rejected_with)
        return out or self.closed_error(action)

    def send_error(self, data: object) -> Exception:
        """Return the error for a message that the server did not take; the client may have gone."""
        self.check_loop("send()")
        if isinstance(data, str):
            try:
                encode_text(data, f"{self.owner}.send() text")
            except ValueError as error:
                return error
        self.lose()
        return self.closed_error(Action.SEND)

    def lose(self) -> None:
        """Give up the client: the server did not take a message, and will say that it has gone."""
        if self.state is _OPEN:
            self._begin_closing()

    async def close(self, code: int = CloseCode.NORMAL, reason: str = "") -> None:
        """Close the connection. Arguments and errors: ``WebsocketConsumer.close``."""
        check_close(code, reason)
        if self.state is ConnectionState.CONNECTING:
            if code != CloseCode.NORMAL or reason:
                raise early_close(self.owner, code, reason)
            await self.reject()
            return
        if self.state is not _OPEN:
            return
        self.begin_close(int(code), reason)
        await self.finish_close()

    def begin_close(self, code: int, reason: str) -> None:
        """Let nothing be sent any more but the close itself."""
        self.close_code, self.close_reason = code, reason
        self._begin_closing()

    async def finish_close(self) -> None:
        """Send the close behind everything that waits to be sent, within ``CLOSE_TIMEOUT``."""
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT):
                if self._follower is not None:
                    await self._follower.flush()
                await self._send_close(self.code, self.close_reason)
        except Exception as error:
            self.log_not_sent(f"the close {self.code}", error)

    def log_not_sent(self, what: str, error: Exception) -> None:
        """Log what the server did not take; anything but an ``OSError`` may be a fault of its."""
        level = logging.DEBUG if isinstance(error, OSError) else logging.INFO
        logger.log(level, "%s: %s was not sent.", self.owner, what, exc_info=error)

    async def _send_close(self, code: int, reason: str) -> None:
        try:
            await self.server_send({"type": "websocket.close", "code": code, "reason": reason})
        except Exception:
            if code == CloseCode.NORMAL or code >= 3000:
                raise
            # Some servers (daphne, where it can't be adapted) refuse to send the codes between.
            await self.server_send({"type": "websocket.close", "code": CloseCode.NORMAL.value})
            text = "%s: the server can't send %d, the client got 1000."
            log(logger, logging.WARNING, text, self.owner, code, extra={"code": code})

    def on_disconnect(self, event: Event) -> None:
        """Handle the event that ends the connection; whatever closed it first names the code."""
        code, reason = disconnected(event)
        if self.close_code is None:
            self.close_code, self.close_reason = code, reason
        self._move(TRANSITIONS[self.state][Action.DISCONNECT])

    def on_client_left(self) -> None:
        """Handle a client that left while a hook runs: the hook can send nothing any more."""
        if self.state in _WITH_CLIENT:
            self._move(_WITH_CLIENT[self.state])

    def end(self) -> tuple[int, str]:
        """Close for good: nothing is sent or awaited any more. Return close code and reason."""
        self._move(ConnectionState.CLOSED)
        return self.code, self.close_reason

    def release(self) -> None:
        """Let go of what refers back to the connection, so that its memory is free at once."""
        self._follower = None
        del self.receive  # it may lead to us, or to the session

    async def await_disconnect(self) -> None:
        """Let a close frame out of a server that is stopping: wait a little for its answer."""
        try:
            async with asyncio.timeout(STOP_TIMEOUT):
                while (await self.receive())["type"] != "websocket.disconnect":
                    pass
        except Exception:
            logger.debug("%s: the server did not report the close.", self.owner, exc_info=True)

    def check_joinable(self) -> None:
        """Raise ``ConnectionClosed`` or ``InvalidState`` if it is too late to join a group."""
        self._check(Action.JOIN)

    def closed_error(self, action: Action = Action.SEND) -> ConnectionClosed:
        """Return the error for a verb that comes when the connection is closing or closed."""
        reason = f" {quote(self.close_reason)}" if self.close_reason else ""
        return ConnectionClosed(
            f"{self.owner}.{action.value} needs an open connection, but it is "
            f"{self.state.name} ({self.code}{reason}).",
            code=self.code,
            reason=self.close_reason,
        )

    @property
    def code(self) -> int:
        """The close code as far as it is known; 1006 if nobody said one (RFC 6455, 7.1.5)."""
        return CloseCode.ABNORMAL.value if self.close_code is None else self.close_code

    def _check(self, action: Action) -> None:
        if action not in TRANSITIONS[self.state]:
            raise self.refusal(action)

    def _begin_closing(self) -> None:
        self._move(ConnectionState.CLOSING)
        self.close_deadline = self.loop.time() + CLOSE_TIMEOUT

    def _move(self, state: ConnectionState) -> None:
        self.state = state
        if state is _OPEN:
            self.undivert()
        else:
            self.emit = None
        if state is ConnectionState.CLOSED:
            self.close_deadline = None
        if self._follower is not None:
            self._follower.follow(state)
