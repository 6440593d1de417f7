"""
The end of a connection on daphne: who closed, with which code, and an end of TCP that is in order.

Autobahn resets TCP when the client has answered our close. A browser then reports an unclean close,
and a proxy logs an error, for a closing handshake that was complete (RFC 6455 section 7.1.1).
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from ...protocol import CLOSE_TIMEOUT

if TYPE_CHECKING:
    from daphne.ws_protocol import WebSocketProtocol

    from ...protocol import Event


def end_in_order(protocol: WebSocketProtocol) -> None:
    """Reset TCP only if the closing handshake failed; else let the client take what is buffered."""
    # Autobahn gives it one second, and its timers run up to a second early.
    protocol.closeHandshakeTimeout = CLOSE_TIMEOUT
    drop, on_close = protocol.dropConnection, protocol.onClose
    timer: asyncio.TimerHandle | None = None

    def drop_connection(abort: bool = False) -> None:
        nonlocal timer
        if protocol.wasClean and timer is None:
            # A client that closes and reads nothing would keep its connection forever.
            loop = asyncio.get_running_loop()
            timer = loop.call_later(CLOSE_TIMEOUT, protocol.transport.abortConnection)
        drop(abort=abort and not protocol.wasClean)

    def closed(*args: Any) -> None:
        if timer is not None:
            timer.cancel()
        # Daphne puts the event there without the client's reason.
        protocol.application_queue = Farewell(protocol.application_queue, protocol)
        on_close(*args)

    protocol.dropConnection, protocol.onClose = drop_connection, closed


class Farewell:
    """Stands before the queue of a connection that ends, and adds the reason to its last event."""

    def __init__(self, queue: asyncio.Queue[Event], protocol: WebSocketProtocol) -> None:
        self._queue = queue
        self._protocol = protocol

    def put_nowait(self, event: Event) -> None:
        """Queue the disconnect event."""
        self._queue.put_nowait({**event, "reason": self._protocol.remoteCloseReason or ""})


def explain_limit(protocol: WebSocketProtocol) -> None:
    """
    Answer a message over daphne's limit with 1009, instead of dropping the connection.

    A violation of the protocol still drops it: autobahn can't read on behind one.
    """
    begin = protocol.onMessageFrameBegin

    def on_message_frame_begin(length: int) -> None:
        protocol.failByDrop = False
        begin(length)
        protocol.failByDrop = True

    protocol.onMessageFrameBegin = on_message_frame_begin
