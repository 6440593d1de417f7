"""
Connections that are closed because their server is going to stop: in random order, one by one.

They have their turns on a timeline that the monitor's ticks look at, so ten thousand of them need
no more timers than one.
"""

from __future__ import annotations

import asyncio
from contextvars import Context
from random import sample
from typing import TYPE_CHECKING, Final, Protocol

from ..protocol import CloseCode, ConnectionState
from .deadlines import Deadline
from .timeline import Timeline

if TYPE_CHECKING:
    from collections.abc import Collection

    from .connection import Connection
    from .deadlines import Deadlines

    class Drained(Protocol):
        """A session, as far as it matters here."""

        @property
        def connection(self) -> Connection: ...

        @property
        def is_busy(self) -> bool: ...


HOOK_TIMEOUT: Final = 2.0
"""Seconds that a hook has to finish, when it is its connection's turn."""

RETURN_AFTER: Final = 1
"""
Seconds after which a client comes back, besides those that it adds at random.

By then it belongs to another process, which takes it at once: it waits no longer than a proxy needs
to notice that this one is going.
"""


class Draining:
    """The connections of one event loop that have not had their turn, once there are turns."""

    def __init__(self, deadlines: Deadlines) -> None:
        self._deadlines = deadlines
        self._timeline: Timeline[Drained] = Timeline()
        self._busy_until: dict[Drained, float] = {}
        self._left: set[Drained] = set()
        self._over: asyncio.Event | None = None

    def begin(self, sessions: Collection[Drained], now: float, seconds: float) -> asyncio.Event:
        """Close sessions within so many seconds; return the event of their end."""
        self._over = asyncio.Event()
        for number, session in enumerate(sample(tuple(sessions), len(sessions))):
            self._add(session, now + seconds * number / len(sessions))
        if not self._left:
            self._over.set()
        return self._over

    def watch(self, session: Drained, now: float) -> None:
        """Close a session that comes too late to have a turn."""
        if self._over is not None:
            self._add(session, now)

    def forget(self, session: Drained) -> None:
        """A session has ended."""
        if self._over is None:
            return
        self._timeline.drop(session)
        self._busy_until.pop(session, None)
        self._left.discard(session)
        if not self._left:
            self._over.set()

    def look_after(self, now: float) -> None:
        """Close those whose turn it is; a hook may finish, and ``connect()`` decide."""
        for session in self._timeline.take_due(now):
            state = session.connection.state
            is_busy = session.is_busy
            if is_busy and state is ConnectionState.OPEN:
                is_busy = now < self._busy_until.setdefault(session, now + HOOK_TIMEOUT)
            if is_busy or state is ConnectionState.CONNECTING:
                self._timeline.put(session, now)
            else:
                self._deadlines.close(session.connection, _GOODBYE)

    def _add(self, session: Drained, when: float) -> None:
        self._left.add(session)
        self._timeline.put(session, when)


_GOODBYE: Final = Deadline(
    CloseCode.SERVICE_RESTART.value, f"after={RETURN_AFTER}", "drained", Context()
)
