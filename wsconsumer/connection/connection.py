"""
One connection: its state, and the verbs that move it, spoken in ASGI to the server's ``send``.

Nothing of the server gets out of here: whatever ``send`` raises once the client may have gone
becomes ``ConnectionClosed``. Read ``protocol.TRANSITIONS`` first.
"""

from __future__ import annotations

import asyncio
import logging
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, cast

from ..counters import counters
from ..exceptions import ConnectionClosed, InvalidEvent, InvalidState
from ..protocol import (
    ACCEPT_HEADERS,
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
    check_close,
    disconnected,
    encode_headers,
    encode_text,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .outbox import Follower

logger = logging.getLogger("wsconsumer.consumer")

CLOSE_TIMEOUT: Final = 10.0
"""Seconds that the server has, once a close was sent, to report that the connection is closed."""

STOP_TIMEOUT: Final = 1.0
"""The same in seconds where the server is stopping and the application was cancelled."""

_OPEN: Final = ConnectionState.OPEN
_WITH_CLIENT: Final = {
    ConnectionState.CONNECTING: ConnectionState.CLOSED,
    ConnectionState.OPEN: ConnectionState.CLOSING,
}
"""The states in which a client that leaves is news, and where that leads a hook that runs."""


class Connection:
    """
    One websocket connection as the application sees it; made in the task that serves it.

    ``owner`` is the name that errors speak of. ``emit`` takes a ``websocket.send`` event: it is the
    server's own ``send`` while the connection is open, and raises the right error at other times,
    so that a message costs no look at the state. ``follower``, once there is
    one, may set it too.
    """

    __slots__ = (
        "_scope",
        "_task",
        "_timer",
        "abandoned",
        "accepted",
        "close_code",
        "close_reason",
        "dropped",
        "emit",
        "follower",
        "handling",
        "interrupted",
        "owner",
        "receive",
        "rejected_with",
        "server_send",
        "state",
        "subprotocol",
    )

    def __init__(self, owner: str, scope: Scope, receive: Receive, send: Send) -> None:
        self.owner = owner
        self.receive = receive
        self.emit: Send = self._refuse
        self.state = ConnectionState.CONNECTING
        self.accepted = False
        self.rejected_with: int | None = None
        self.subprotocol: str | None = None
        self.close_code: int | None = None
        self.close_reason = ""
        self.handling: Event | None = None
        self.interrupted = False
        self.abandoned = False
        self.dropped = 0
        self.follower: Follower | None = None
        self.server_send = send
        self._scope = scope
        self._task = cast("asyncio.Task[None]", asyncio.current_task())
        self._timer: asyncio.TimerHandle | None = None

    async def connected(self) -> bool:
        """Take the first event; tell whether the client is still there to be answered."""
        event = await self.receive()
        if event["type"] == "websocket.connect":
            return True
        if event["type"] == "websocket.disconnect":
            self.disconnected(event)
            return False
        raise InvalidEvent(f"Expected websocket.connect first, got {event['type']!r}.")

    async def accept(self, subprotocol: str | None = None, headers: RawHeaders = ()) -> None:
        """Complete the opening handshake. Arguments and errors: ``WebsocketConsumer.accept``."""
        self._check(Action.ACCEPT)
        offered = self._scope.get("subprotocols") or ()
        if subprotocol is not None and subprotocol not in offered:
            raise ValueError(
                f"{self.owner}.accept() can't choose the subprotocol {subprotocol!r}: the client "
                f"offers {list(offered)} (RFC 6455 section 4.2.2). Choose one of these or None."
            )
        lines = encode_headers(headers, f"{self.owner}.accept()")
        event = {
            "type": "websocket.accept",
            "subprotocol": subprotocol,
            "headers": [*lines, *self._scope.get(ACCEPT_HEADERS, ())],
        }
        try:
            await self.server_send(event)
        except Exception as error:
            self._move(ConnectionState.CLOSED)
            raise self._closed(Action.ACCEPT) from error
        self._move(TRANSITIONS[ConnectionState.CONNECTING][Action.ACCEPT])
        self.accepted = True
        self.subprotocol = subprotocol

    async def reject(
        self, status: int = 403, body: str | bytes = "", headers: RawHeaders = ()
    ) -> None:
        """Refuse the opening handshake. Arguments and errors: ``WebsocketConsumer.reject``."""
        self._check(Action.REJECT)
        if status not in range(300, 600):
            raise ValueError(
                f"{self.owner}.reject() expects an HTTP status from 300 to 599, got {status!r}."
            )
        if not isinstance(body, str | bytes):
            raise TypeError(f"{self.owner}.reject() expects body to be str or bytes, got {body!r}.")
        lines = encode_headers(headers, f"{self.owner}.reject()")
        if isinstance(body, str):
            body = encode_text(body, f"{self.owner}.reject() body")
            if body and not any(name == b"content-type" for name, _ in lines):
                lines.append((b"content-type", b"text/plain; charset=utf-8"))
        if not any(name == b"content-length" for name, _ in lines):
            lines.append((b"content-length", b"%d" % len(body)))
        await self.deny(status, lines, body)

    async def deny(self, status: int, headers: Sequence[Header], body: bytes) -> None:
        """
        Send a denial response, whole where the server speaks the ASGI extension for it.

        Elsewhere the only answer that ASGI has is a close before accept: a bare 403.
        """
        self._check(Action.REJECT)
        self._move(TRANSITIONS[self.state][Action.REJECT])
        self.rejected_with = int(status)
        try:
            if "websocket.http.response" in (self._scope.get("extensions") or ()):
                start = {"status": self.rejected_with, "headers": list(headers)}
                await self.server_send({"type": "websocket.http.response.start", **start})
                await self.server_send({"type": "websocket.http.response.body", "body": body})
            else:
                if status != HTTPStatus.FORBIDDEN:
                    logger.info("No denial response here: the client gets 403, not %d.", status)
                await self.server_send({"type": "websocket.close"})
        except Exception as error:
            self.not_sent(f"the denial {status}", error)

    async def _refuse(self, event: Event) -> None:
        raise self._refusal(Action.SEND)

    def send_failed(self, data: object) -> Exception:
        """Return the error for a message that the server did not take."""
        if isinstance(data, str):
            try:
                encode_text(data, f"{self.owner}.send() text")
            except ValueError as error:
                return error
        self.lost()
        return self._closed(Action.SEND)

    def lost(self) -> None:
        """The server did not take a message: the client has gone, and it will say so."""
        if self.state is _OPEN:
            self._move(ConnectionState.CLOSING)
            self._expect_disconnect()

    async def close(self, code: int = CloseCode.NORMAL, reason: str = "") -> None:
        """Close the connection. Arguments and errors: ``WebsocketConsumer.close``."""
        check_close(code, reason)
        if self.state is ConnectionState.CONNECTING:
            await self._close_before_accept(code, reason)
            return
        if self.state is not _OPEN:
            return
        self.begin_to_close(int(code), reason)
        await self.finish_to_close()

    def begin_to_close(self, code: int, reason: str) -> None:
        """Let nothing more be sent but the close itself."""
        self._move(TRANSITIONS[self.state][Action.CLOSE])
        self.close_code, self.close_reason = code, reason
        self._expect_disconnect()

    async def finish_to_close(self) -> None:
        """Send the close, behind all that waits to be sent, within bounds."""
        code = self._code
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT):
                if self.follower is not None:
                    await self.follower.flush()
                await self._send_close(code, self.close_reason)
        except Exception as error:
            self.not_sent(f"the close {code}", error)

    def not_sent(self, what: str, error: Exception) -> None:
        """Nobody is there to be told; a server that says so without an OSError may be wrong."""
        level = logging.DEBUG if isinstance(error, OSError) else logging.INFO
        logger.log(level, "%s: %s was not sent.", self.owner, what, exc_info=error)

    async def _close_before_accept(self, code: int, reason: str) -> None:
        if code != CloseCode.NORMAL or reason:
            raise InvalidState(
                f"{self.owner}.close({int(code)}, {reason!r}) can't reach the client, the "
                "connection is CONNECTING: a close code needs an accepted websocket. Call "
                "accept() first, or refuse the handshake with reject(status)."
            )
        await self.reject()

    async def _send_close(self, code: int, reason: str) -> None:
        try:
            await self.server_send({"type": "websocket.close", "code": code, "reason": reason})
        except Exception:
            if code == CloseCode.NORMAL or code >= 3000:
                raise
            # Some servers (daphne, where it can't be adapted) refuse to send the codes between.
            await self.server_send({"type": "websocket.close", "code": CloseCode.NORMAL.value})
            logger.warning("%s: the server can't send %d, the client got 1000.", self.owner, code)

    def disconnected(self, event: Event) -> None:
        """Take the event that ends the connection; what closed it first is what counts."""
        code, reason = disconnected(event)
        if self.close_code is None:
            self.close_code, self.close_reason = code, reason
        self._move(TRANSITIONS[self.state][Action.DISCONNECT])
        if self.interrupted:
            # The hook swallowed its cancellation.
            self.interrupted = False
            self._task.uncancel()

    def end(self) -> tuple[int, str]:
        """Close for good: nothing is sent or awaited any more. Return close code and reason."""
        self._move(ConnectionState.CLOSED)
        if self._timer is not None:
            self._timer.cancel()
        if self.dropped:
            counters["message_dropped"] += self.dropped
            logger.info("%s: %d messages came too late.", self.owner, self.dropped)
        return self._code, self.close_reason

    def interrupt(self) -> None:
        """The client has left: cancel the hook that still runs for it, unless we closed first."""
        if self.handling is not None and self.state in _WITH_CLIENT:
            self._move(_WITH_CLIENT[self.state])
            self.interrupted = True
            self._task.cancel()

    def was_interrupted(self, error: BaseException) -> bool:
        """Tell, once, whether ``error`` is our own cancellation of a hook."""
        ours = self.interrupted and asyncio.current_task() is self._task
        if not ours or not isinstance(error, asyncio.CancelledError):
            return False
        self.interrupted = False
        return self._task.uncancel() == 0

    async def await_disconnect(self) -> None:
        """Let a close frame out of a server that is stopping: wait a little for its answer."""
        try:
            async with asyncio.timeout(STOP_TIMEOUT):
                while (await self.receive())["type"] != "websocket.disconnect":
                    pass
        except Exception:
            logger.debug("%s: the server did not report the close.", self.owner, exc_info=True)

    def gave_up(self, error: BaseException) -> bool:
        """Tell whether ``error`` is our own way out of waiting for the disconnect event."""
        return (
            self.abandoned
            and isinstance(error, asyncio.CancelledError)
            and self._task.uncancel() == 0
        )

    def _expect_disconnect(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(CLOSE_TIMEOUT, self._abandon)

    def _abandon(self) -> None:
        """Wake the loop that waits in vain for the disconnect event; never interrupt a hook."""
        if self.handling is not None:
            self._expect_disconnect()
        else:
            self.abandoned = True
            self._task.cancel()

    def _move(self, state: ConnectionState) -> None:
        self.state = state
        self.emit = self.server_send if state is _OPEN else self._refuse
        if self.follower is not None:
            self.follower.follow(state)

    def check_joinable(self) -> None:
        """Raise ``ConnectionClosed`` or ``InvalidState`` if it is too late to join a group."""
        if Action.JOIN not in TRANSITIONS[self.state]:
            raise self._refusal(Action.JOIN)

    def closed(self) -> ConnectionClosed:
        """Return the error for a message that waited when the connection closed."""
        return self._closed(Action.SEND)

    def _check(self, action: Action) -> None:
        if action not in TRANSITIONS[self.state]:
            raise self._refusal(action)

    def _refusal(self, action: Action) -> InvalidState | ConnectionClosed:
        verb = f"{self.owner}.{action.value}"
        if self.rejected_with is not None:
            return InvalidState(f"{verb} comes too late: reject({self.rejected_with}) was called.")
        if self.state is ConnectionState.CONNECTING:
            return InvalidState(
                f"{verb} needs an open connection, but it is CONNECTING. Call accept() first."
            )
        if self.state is _OPEN:
            return InvalidState(
                f"{verb} comes too late: the connection is OPEN, accept() was called. "
                "End it with close()."
            )
        return self._closed(action)

    def _closed(self, action: Action) -> ConnectionClosed:
        reason = f" {self.close_reason!r}" if self.close_reason else ""
        return ConnectionClosed(
            f"{self.owner}.{action.value} needs an open connection, but it is "
            f"{self.state.name} ({self._code}{reason}).",
            code=self._code,
            reason=self.close_reason,
        )

    @property
    def _code(self) -> int:
        return CloseCode.ABNORMAL.value if self.close_code is None else self.close_code
