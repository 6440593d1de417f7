"""
Reading ahead: how a client that leaves while a hook runs is noticed.

``ReadAhead`` stands in for the server's ``receive`` until everything that it has read is handed
out, in order.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Final, Protocol

from ..servers import client_has_left

if TYPE_CHECKING:
    from ..protocol import Event
    from .connection import Connection

    class Reader(Protocol):
        """A session whose hook runs long."""

        @property
        def connection(self) -> Connection: ...

        @property
        def handling(self) -> Event | None: ...

        def client_left(self) -> None: ...


READ_AHEAD_EVENTS: Final = 128
READ_AHEAD_SIZE: Final = 64 * 1024
"""
How many messages, and how much of them (characters or bytes), are read while a hook runs.

More than a server queues, or a client that leaves right behind its messages would not be noticed.
"""


class ReadAhead:
    """Reads a connection's events while one hook runs."""

    def __init__(self, session: Reader) -> None:
        self.is_over = False
        self._is_full = False
        self._session = session
        self._hook = session.handling
        self._events: deque[Event] = deque()
        self._size = 0
        self._changed = asyncio.Event()
        self._receive = session.connection.read_through(self._hand_out)
        self._task = asyncio.get_running_loop().create_task(self._read())

    def look_after(self) -> None:
        """Where there is no room to read on, ask the server whether the client has left."""
        if self._is_full and client_has_left(self._session.connection.server_send):
            self._is_full = False
            self._session.client_left()

    def stop(self) -> None:
        """Read no more: the connection has ended."""
        self._task.cancel()
        self._session.connection.read_through(self._receive)

    async def _read(self) -> None:
        try:
            while self._session.handling is self._hook and self._has_room():
                event = await self._receive()
                self._events.append(event)
                self._size += len(event.get("text") or event.get("bytes") or "")
                self._changed.set()
                if event["type"] == "websocket.disconnect":
                    self._session.client_left()
                    return
            self._is_full = self._session.handling is self._hook
        finally:
            self._changed.set()

    def _has_room(self) -> bool:
        return len(self._events) < READ_AHEAD_EVENTS and self._size < READ_AHEAD_SIZE

    async def _hand_out(self) -> Event:
        while not self._events:
            if self._task.done():
                return await self._hand_back()
            self._changed.clear()
            await self._changed.wait()
        return self._events.popleft()

    async def _hand_back(self) -> Event:
        self.is_over = True
        self._session.connection.read_through(self._receive)
        self._task.result()  # raises what the server's receive raised
        return await self._receive()
