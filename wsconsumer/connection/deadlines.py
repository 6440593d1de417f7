"""
Closes that time brings: at its time a connection is closed, with the code and reason it has for it.

At each tick of the monitor the event loop's clock is compared with the next time to come, and with
nothing else until that is there. So a connection with such a time costs no timer and no task, and
one without costs nothing at all.
"""

from __future__ import annotations

import logging
from contextvars import Context, copy_context
from math import inf
from time import time
from typing import TYPE_CHECKING, NamedTuple

from ..loops import start_task
from ..protocol import CloseCode, ConnectionState

if TYPE_CHECKING:
    import asyncio

    from .connection import Connection

logger = logging.getLogger("wsconsumer.consumer")


class Deadline(NamedTuple):
    """A close to come: ``when`` in seconds of the loop's clock."""

    when: float
    code: int
    reason: str
    context: Context


class Deadlines:
    """The closes to come of one event loop's connections, one for each at the most."""

    def __init__(self) -> None:
        self._to_come: dict[Connection, Deadline] = {}
        self._closing: dict[Connection, asyncio.Task[None]] = {}
        self._next = inf

    def add(self, connection: Connection, when: float, code: int, reason: str) -> None:
        """Close a connection at a time; if it has one already, the earlier one counts."""
        known = self._to_come.get(connection)
        if known is None or when < known.when:
            self._to_come[connection] = Deadline(when, code, reason, copy_context())
            self._next = min(self._next, when)

    def expire(self, connection: Connection, timestamp: float) -> None:
        """
        Close a connection with 4401 at a time, in seconds since 1970.

        What is left until then is measured once: if somebody sets the wall clock, nobody is closed
        by that.
        """
        when = connection.loop.time() + timestamp - time()
        self.add(connection, when, CloseCode.NOT_AUTHENTICATED.value, "the token has expired")

    def forget(self, connection: Connection) -> None:
        """Drop the deadline of a connection that has ended."""
        self._to_come.pop(connection, None)
        closing = self._closing.pop(connection, None)
        if closing is not None:
            closing.cancel()

    def look_after(self, now: float) -> None:
        """Close what is due."""
        if now < self._next:
            return
        for connection, deadline in list(self._to_come.items()):
            # What is not accepted yet can't be closed with a code, so it is once it is.
            if deadline.when <= now and connection.state is not ConnectionState.CONNECTING:
                del self._to_come[connection]
                self._close(connection, deadline)
        self._next = min((deadline.when for deadline in self._to_come.values()), default=inf)

    def _close(self, connection: Connection, deadline: Deadline) -> None:
        if connection.state is ConnectionState.OPEN:
            text = "%s: closing with %d, %s."
            deadline.context.run(
                logger.info, text, connection.owner, deadline.code, deadline.reason
            )
            connection.begin_close(deadline.code, deadline.reason)
            self._closing[connection] = start_task(connection.finish_close(), deadline.context)
