"""
Connections whose client is silent: closed after their ``idle_timeout``.

A message costs one note of the last tick's time. Whether that is long ago is looked at when the
timeout could be over for the first time, and then again when it could be over since the note.
"""

from __future__ import annotations

from contextvars import copy_context
from typing import TYPE_CHECKING, Final, Protocol

from ..protocol import CloseCode
from .deadlines import Deadline
from .timeline import Timeline

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from ..protocol import Event, Receive
    from .connection import Connection
    from .deadlines import Deadlines

    class Listening(Protocol):
        """A session, as far as it matters here."""

        @property
        def connection(self) -> Connection: ...

        @property
        def is_busy(self) -> bool: ...


SLACK: Final = 0.5
"""Seconds that are added to a timeout, since the last tick was up to so long ago."""

LOOK_AGAIN: Final = 1.0
"""Seconds to the next look at a connection that is busy: its client waits for us."""


class Idle:
    """When a client was heard last, and what becomes of it."""

    __slots__ = ("deadline", "heard_at", "seconds")

    def __init__(self, seconds: float, now: float) -> None:
        self.seconds = seconds + SLACK
        self.heard_at = now
        self.deadline = Deadline(CloseCode.TIMED_OUT.value, "idle", "idle_closed", copy_context())

    @property
    def ends_at(self) -> float:
        """The time at which it has been silent for too long."""
        return self.heard_at + self.seconds


class Idling:
    """The connections of one event loop that have an ``idle_timeout``."""

    def __init__(self, deadlines: Deadlines) -> None:
        self._deadlines = deadlines
        self._known: dict[Listening, Idle] = {}
        self._timeline: Timeline[Listening] = Timeline()
        self._now = 0.0

    def add(self, session: Listening, seconds: float, now: float) -> None:
        """Close a session's connection after so many seconds without a message."""
        self._now = now
        idle = self._known[session] = Idle(seconds, now)
        self._timeline.put(session, idle.ends_at)
        session.connection.read_through(self._noting(session.connection.receive, idle))

    def _noting(self, receive: Receive, idle: Idle) -> Receive:
        def receive_noting() -> Awaitable[Event]:
            # Whoever asks for the next message has handled the one before. No coroutine: it would
            # cost three times as much.
            idle.heard_at = self._now
            return receive()

        return receive_noting

    def forget(self, session: Listening) -> None:
        """Stop: the connection has ended."""
        if self._known.pop(session, None) is not None:
            self._timeline.drop(session)

    def excuse(self, seconds: float) -> None:
        """Leave out the time in which nobody was heard because the event loop stood still."""
        self._now += seconds
        for idle in self._known.values():
            idle.heard_at += seconds

    def look_after(self, now: float) -> None:
        """Close what has been silent for too long."""
        self._now = now
        for session in self._timeline.take_due(now):
            idle = self._known[session]
            if session.is_busy:
                idle.heard_at = now
                self._timeline.put(session, now + LOOK_AGAIN)
            elif now < idle.ends_at:
                self._timeline.put(session, idle.ends_at)
            else:
                self._deadlines.close(session.connection, idle.deadline)
