"""
The monitor: one ticker per event loop that looks after time, so that no connection needs a timer.

It notices a client that leaves while a hook runs, and cancels the hook. The loop of a consumer
reads nothing while a hook runs, so at each tick the monitor looks for hooks that were already
running at the last one, and reads ahead for those alone, within bounds. A connection whose hooks
are quick never pays for it. It also asks members of groups to give up clients that take nothing.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Final

from ..loops import PerLoop

if TYPE_CHECKING:
    from ..protocol import Event
    from .connection import Connection

TICK: Final = 0.4
"""Seconds between two looks; a hook that runs long is watched after one or two of them."""

MAX_EVENTS: Final = 32
MAX_SIZE: Final = 64 * 1024
"""How many messages, and how much of them (characters or bytes), are read while a hook runs."""


class Monitor:
    """Looks after the connections of one event loop, while there are any."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._seen: dict[Connection, Event | None] = {}
        self._ahead: dict[Connection, ReadAhead] = {}
        self._timer: asyncio.TimerHandle | None = None

    def watch(self, connection: Connection) -> None:
        """Look after a connection from now on."""
        self._seen[connection] = None
        if self._timer is None:
            self._timer = self._loop.call_later(TICK, self._on_timer)

    def forget(self, connection: Connection) -> None:
        """Stop looking after a connection."""
        del self._seen[connection]
        ahead = self._ahead.pop(connection, None)
        if ahead is not None:
            ahead.stop()
        if not self._seen and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def tick(self) -> None:
        """Look at every connection once."""
        now = self._loop.time()
        for connection, seen in self._seen.items():
            if connection.follower is not None:
                connection.follower.look_after(now)
            handling = connection.handling
            if handling is None:
                self._seen[connection] = None
            elif handling is not seen:
                self._seen[connection] = handling
            elif connection not in self._ahead or self._ahead[connection].is_over:
                self._ahead[connection] = ReadAhead(connection)

    def _on_timer(self) -> None:
        self._timer = self._loop.call_later(TICK, self._on_timer)
        self.tick()


_monitors = PerLoop(lambda: Monitor(asyncio.get_running_loop()))


def monitor() -> Monitor:
    """Return the monitor of the running event loop."""
    return _monitors.get()


class ReadAhead:
    """
    Reads a connection's events while a hook runs, and hands them out in order afterwards.

    It stands in for the server's ``receive`` until all that it read is handed out.
    """

    def __init__(self, connection: Connection) -> None:
        self.is_over = False
        self._connection = connection
        self._receive = connection.receive
        self._hook = connection.handling
        self._events: deque[Event] = deque()
        self._size = 0
        self._changed = asyncio.Event()
        self._task = asyncio.get_running_loop().create_task(self._read())
        connection.receive = self._hand_out

    def stop(self) -> None:
        """Read no more: the connection has ended."""
        self._task.cancel()

    async def _read(self) -> None:
        try:
            while self._connection.handling is self._hook and self._has_room():
                event = await self._receive()
                self._events.append(event)
                self._size += len(event.get("text") or event.get("bytes") or "")
                self._changed.set()
                if event["type"] == "websocket.disconnect":
                    self._connection.interrupt()
                    return
        finally:
            self._changed.set()

    def _has_room(self) -> bool:
        return len(self._events) < MAX_EVENTS and self._size < MAX_SIZE

    async def _hand_out(self) -> Event:
        while not self._events:
            if self._task.done():
                return await self._hand_back()
            self._changed.clear()
            await self._changed.wait()
        return self._events.popleft()

    async def _hand_back(self) -> Event:
        self.is_over = True
        self._connection.receive = self._receive
        self._task.result()  # raises what the server's receive raised
        return await self._receive()
