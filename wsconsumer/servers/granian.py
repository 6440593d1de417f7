"""
Granian, adapted: a close by another task than the one that waits for a message.

Granian 2.8 sends a close frame only when no ``receive()`` is pending, since its close takes the
half of the socket that the ``receive()`` holds. So the close calls the pending one off, and
``receive()`` begins again behind it. What ``receive()`` returns is a future of granian's own, which
can be cancelled without the task that awaits it. Messages go the direct way.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from ..cancellation import is_cancelled
from . import current_task

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from ..protocol import Event, Receive, Scope, Send


def adapt(scope: Scope, receive: Receive, send: Send) -> tuple[Scope, Receive, Send]:
    """Return the connection with a close that waits for no message, if granian is as we know it."""
    protocol = type(getattr(send, "__self__", None))
    known = ("granian._granian", "ASGIWebsocketProtocol")
    if (protocol.__module__, protocol.__qualname__) != known or current_task() is None:
        return scope, receive, send
    adapted = GranianConnection(receive, send)
    return scope, adapted.receive, adapted.send


class GranianConnection:
    """The ``receive`` and ``send`` of one connection, which know of each other."""

    __slots__ = ("_closed", "_receive", "_send", "_waiting", "_withdrawn")

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send
        self._waiting: Any = None
        self._withdrawn = False
        self._closed: asyncio.Event | None = None

    async def receive(self) -> Event:
        while True:
            if self._closed is not None:
                await self._closed.wait()
            self._waiting = self._receive()
            try:
                event: Event = await self._waiting
            except asyncio.CancelledError:
                withdrawn, self._withdrawn = self._withdrawn, False
                # A cancellation of the waiting task itself takes precedence.
                if not withdrawn or is_cancelled():
                    raise
            else:
                return event

    def send(self, event: Event) -> Awaitable[None]:
        if event["type"] == "websocket.close":
            return self._close(event)
        return self._send(event)

    async def _close(self, event: Event) -> None:
        # From here on no new receive() gets to the socket before the close does.
        self._closed = closed = asyncio.Event()
        try:
            # An event that is there already can't be called off, and is delivered.
            if asyncio.isfuture(self._waiting) and self._waiting.cancel():
                self._withdrawn = True
            await self._send(event)
        finally:
            closed.set()
