"""
Signs of life for clients that speak our subprotocol: browsers can neither send nor see a ping.

All connections of an event loop have the same period, so the next one is always the first in line.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ..framing import control_event
from ..loops import start_task

if TYPE_CHECKING:
    import asyncio
    from contextvars import Context

    from .connection import Connection

PERIOD: Final = 25
"""Seconds from one heartbeat to the next: less than proxies let a socket be idle, 30 or 60."""

_PING: Final = control_event({"ping": PERIOD})


class Heartbeats:
    """The heartbeats of one event loop's connections."""

    def __init__(self) -> None:
        self._next: dict[Connection, tuple[float, Context]] = {}
        self._sending: dict[Connection, asyncio.Task[None]] = {}

    def add(self, connection: Connection, now: float, context: Context) -> None:
        """Begin with a connection, in its context; ``now`` in seconds of the loop's clock."""
        self._next[connection] = (now + PERIOD, context)

    def forget(self, connection: Connection) -> None:
        """Stop: the connection has ended."""
        self._next.pop(connection, None)
        sending = self._sending.pop(connection, None)
        if sending is not None:
            sending.cancel()

    def look_after(self, now: float) -> None:
        """Send those that are due."""
        while self._next:
            connection, (when, context) = next(iter(self._next.items()))
            if when > now:
                return
            del self._next[connection]
            self._next[connection] = (now + PERIOD, context)
            # What waits for a slow client is a sign of life as well.
            if connection.is_undiverted and connection not in self._sending:
                self._sending[connection] = start_task(self._beat(connection), context.copy())

    async def _beat(self, connection: Connection) -> None:
        try:
            await connection.server_send(dict(_PING))
        except Exception as error:  # noqa: BLE001  # whatever the server says, others beat on
            connection.log_not_sent("a heartbeat", error)
        self._sending.pop(connection, None)
