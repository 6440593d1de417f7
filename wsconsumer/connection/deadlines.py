"""
Closes that time brings: at its time a connection is closed, with its code and reason.

They are on a timeline that each tick of the monitor looks at. So a connection with such a time
costs no timer and no task, and one without costs nothing at all.
"""

from __future__ import annotations

import logging
from contextvars import Context, copy_context
from time import time
from typing import TYPE_CHECKING, NamedTuple

from ..counters import counters
from ..loops import start_task
from ..protocol import CloseCode, ConnectionState, close_in_words
from .timeline import Timeline

if TYPE_CHECKING:
    import asyncio

    from .connection import Connection

logger = logging.getLogger("wsconsumer.consumer")


class Deadline(NamedTuple):
    """A close to come; ``counter`` is the name of what it is counted by."""

    code: int
    reason: str
    counter: str
    context: Context


class Deadlines:
    """The closes to come of one event loop's connections, one for each at the most."""

    def __init__(self) -> None:
        self._timeline: Timeline[Connection] = Timeline()
        self._to_come: dict[Connection, Deadline] = {}
        self._closing: dict[Connection, asyncio.Task[None]] = {}

    def add(
        self, connection: Connection, when: float, code: int, reason: str, counter: str
    ) -> None:
        """Close a connection at a time of its loop's clock; of several, the first counts."""
        if when < self._timeline.time_of(connection):
            self._to_come[connection] = Deadline(code, reason, counter, copy_context())
            self._timeline.put(connection, when)

    def expire(self, connection: Connection, timestamp: float) -> None:
        """
        Close a connection with 4401 at a time, in seconds since 1970.

        What is left until then is measured once: if somebody sets the wall clock, nobody is closed
        by that.
        """
        when = connection.loop.time() + timestamp - time()
        code, reason = CloseCode.NOT_AUTHENTICATED.value, "the token has expired"
        self.add(connection, when, code, reason, "token_expired")

    def forget(self, connection: Connection) -> None:
        """Drop the deadline of a connection that has ended."""
        self._timeline.drop(connection)
        self._to_come.pop(connection, None)
        closing = self._closing.pop(connection, None)
        if closing is not None:
            closing.cancel()

    def look_after(self, now: float) -> None:
        """Close what is due."""
        for connection in self._timeline.take_due(now):
            if connection.state is ConnectionState.CONNECTING:
                # What is not accepted yet can't be closed with a code, so it is once it is.
                self._timeline.put(connection, now)
            else:
                self.close(connection, self._to_come.pop(connection))

    def close(self, connection: Connection, deadline: Deadline) -> None:
        """Close a connection now, unless it is closing already."""
        if connection.state is ConnectionState.OPEN:
            counters[deadline.counter] += 1
            told, extra = close_in_words(deadline.code, deadline.reason), {"code": deadline.code}
            text = "%s: closing with %s."
            deadline.context.run(logger.info, text, connection.owner, told, extra=extra)
            connection.begin_close(deadline.code, deadline.reason)
            self._closing[connection] = start_task(connection.finish_close(), deadline.context)
