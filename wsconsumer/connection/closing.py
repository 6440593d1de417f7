"""
Closing many connections at once, without holding up the event loop or one another.

Nothing more is sent on a connection from the moment that it is to be closed. The closes themselves
go out a few per turn of the loop, each in a task of its own, so that a client that takes nothing
delays nobody. The number of these tasks is bounded: beyond it the oldest closes are given up, and
the monitor ends those connections when their time is over.
"""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Final

from ..loops import start_task
from ..protocol import ConnectionState, close_in_words

if TYPE_CHECKING:
    from .connection import Connection

logger = logging.getLogger("wsconsumer.consumer")

PER_TURN: Final = 20
"""Closes that begin in one turn of the event loop."""

MOST: Final = 1_000
"""Closes that may be under way."""

PAUSE: Final = 0.1
"""Seconds to wait, when there are so many, before the oldest are given up."""


class Closing:
    """The closes of one event loop that are under way."""

    def __init__(self) -> None:
        self._waiting: dict[Connection, None] = {}
        self._under_way: dict[Connection, asyncio.Task[None]] = {}
        self._pacing: asyncio.Task[None] | None = None

    def close(self, connection: Connection, code: int, reason: str) -> bool:
        """Close a connection soon; return whether it was open, so that nothing did so before."""
        if connection.state is not ConnectionState.OPEN:
            return False
        connection.begin_close(code, reason)
        self._waiting[connection] = None
        if self._pacing is None:
            self._pacing = start_task(self._pace())
        return True

    def forget(self, connection: Connection) -> None:
        """Drop a connection that has ended."""
        self._waiting.pop(connection, None)
        under_way = self._under_way.pop(connection, None)
        if under_way is not None:
            under_way.cancel()

    async def _pace(self) -> None:
        try:
            while self._waiting:
                if len(self._under_way) >= MOST:
                    await self._make_room()
                for connection in tuple(islice(self._waiting, PER_TURN)):
                    del self._waiting[connection]
                    self._start(connection)
                await asyncio.sleep(0)
        finally:
            self._pacing = None

    def _start(self, connection: Connection) -> None:
        code = connection.close_code
        told, extra = close_in_words(code, connection.close_reason), {"code": code}
        logger.info("%s: closing with %s.", connection.owner, told, extra=extra)
        task = self._under_way[connection] = start_task(connection.finish_close())
        task.add_done_callback(partial(self._done, connection))

    def _done(self, connection: Connection, _: object) -> None:
        self._under_way.pop(connection, None)

    async def _make_room(self) -> None:
        await asyncio.sleep(PAUSE)
        excess = len(self._under_way) + PER_TURN - MOST
        for connection in tuple(islice(self._under_way, max(0, excess))):
            self._under_way.pop(connection).cancel()
