"""
The monitor: one ticker per event loop that looks after time, so that no connection needs a timer.

It notices a client that leaves while a hook runs. The loop of a consumer reads nothing while a hook
runs, so at each tick the monitor looks for hooks that were already running at the last one, and
reads ahead for those alone: see ``read_ahead.py``. A connection whose hooks are quick never pays
for it. It also looks for closes that are not answered, for members of groups that take nothing,
and for what time brings, each in a module of its own. Its ticks are the pulse that ``watchdog.py``
looks at.
"""

from __future__ import annotations

import asyncio
from contextvars import Context
from typing import TYPE_CHECKING, Any, Final, Protocol

from .. import metrics
from ..loops import PerLoop
from ..protocol import ConnectionState
from .closing import Closing
from .deadlines import Deadlines
from .draining import Draining
from .heartbeats import Heartbeats
from .idling import Idling
from .rating import UserBuckets
from .read_ahead import ReadAhead
from .slow_hooks import SlowHooks
from .timeline import Timeline
from .watchdog import Pulse

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..protocol import Event
    from .idling import Listening
    from .read_ahead import Reader
    from .slow_hooks import Slow

    class Member(Protocol):
        """What is asked now and then whether its client takes what it is sent."""

        groups: dict[str, None]

        @property
        def waiting_bytes(self) -> int: ...

        def look_after(self, now: float) -> None: ...

    class Undecided(Protocol):
        """A session whose ``connect()`` has to decide in time."""

        def give_up_connecting(self) -> None: ...

    class Watched(Reader, Listening, Slow, Undecided, Protocol):
        """A session, as the monitor sees it."""

        began: float
        account: Any

        @property
        def consumer(self) -> Any: ...

        @property
        def revalidate_every(self) -> float | None: ...

        @property
        def member(self) -> Member | None: ...

        def look_after(self, now: float) -> None: ...


TICK: Final = 0.4
"""Seconds between two looks; a hook that runs long is watched after one or two of them."""

STOOD_STILL: Final = 1.0
"""Seconds that a tick is late if the loop, the process or the machine stood still meanwhile."""


class Monitor:
    """
    Looks after the sessions of one event loop, while there are any.

    ``deadlines``: the connections that are to be closed at a time. ``idling``: those that are to be
    closed if their client is silent. ``connecting``: the sessions that have to decide by a time.
    ``user_buckets``: the tokens that the connections of a user share. ``slow_hooks``: what is told.
    ``draining``: those that are closed since the server is going to stop.
    ``closing``: the closes of many.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._seen: dict[Watched, Event | None] = {}
        self._ahead: dict[Watched, ReadAhead] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0
        self._has_put_off = False
        self._tally = metrics.loop_tally() if metrics.is_on() else None
        self._pulse = Pulse()
        self.heartbeats = Heartbeats()
        self.deadlines = Deadlines()
        self.closing = Closing()
        self.idling = Idling(self.deadlines)
        self.draining = Draining(self.deadlines)
        self.connecting: Timeline[Undecided] = Timeline()
        self.user_buckets = UserBuckets()
        self.slow_hooks = SlowHooks()
        # In the order in which they are called; a second time is once.
        self._at_tick: dict[Callable[[float], None], None] = dict.fromkeys(
            (
                self.heartbeats.look_after,
                self.deadlines.look_after,
                self.idling.look_after,
                self.draining.look_after,
                self.user_buckets.look_after,
                self._give_up_undecided,
            )
        )

    @property
    def sessions(self) -> tuple[Watched, ...]:
        """The sessions of this event loop, in the order in which they began."""
        return tuple(self._seen)

    def is_watching(self, session: Watched) -> bool:
        """Return whether a session has not ended, as others of ``sessions`` may have meanwhile."""
        return session in self._seen

    def watch(self, session: Watched) -> None:
        """Look after a session from now on."""
        self._seen[session] = None
        self.draining.watch(session, self._loop.time())
        if self._timer is None:
            # In the context of whoever comes first it would hold, and log, in that one's name.
            self._set_timer(self._loop.time(), Context())

    def forget(self, session: Watched) -> None:
        """Stop looking after a session."""
        del self._seen[session]
        self.heartbeats.forget(session.connection)
        self.deadlines.forget(session.connection)
        self.closing.forget(session.connection)
        self.idling.forget(session)
        self.draining.forget(session)
        self.connecting.drop(session)
        self.user_buckets.forget(session)
        self.slow_hooks.forget(session)
        ahead = self._ahead.pop(session, None)
        if ahead is not None:
            ahead.stop()
        if not self._seen and self._timer is not None:
            self._timer.cancel()
            self._timer = None
            self._pulse.stop()
            self._look_at_outboxes()

    def drain(self, seconds: float) -> asyncio.Event:
        """Close all sessions, one by one, within so many seconds; return the event of their end."""
        return self.draining.begin(self._seen, self._loop.time(), seconds)

    def call_at_ticks(self, look_after: Callable[[float], None]) -> None:
        """Call this at each tick, with the time of the loop's clock, from now on."""
        self._at_tick[look_after] = None

    def tick(self) -> None:
        """Look at every session once."""
        if self._seen:  # nobody would stop the pulse again
            self._pulse.beat()
        now = self._loop.time()
        for session, seen in self._seen.items():
            handling = session.handling
            if handling is not seen:
                self._seen[session] = handling
            elif handling is not None:
                self._read_ahead(session)
                self.slow_hooks.look_at(session, handling, now)
            if handling is not None or session.connection.close_deadline is not None:
                session.look_after(now)
            if session.member is not None:
                session.member.look_after(now)
        for look_after in self._at_tick:
            look_after(now)
        self._look_at_outboxes()

    def _give_up_undecided(self, now: float) -> None:
        for undecided in self.connecting.take_due(now):
            undecided.give_up_connecting()

    def _read_ahead(self, session: Watched) -> None:
        if session.connection.state is ConnectionState.CLOSED:
            return  # disconnect() runs
        ahead = self._ahead.get(session)
        if ahead is None or ahead.is_over:
            self._ahead[session] = ReadAhead(session)
        else:
            ahead.look_after()

    def _look_at_outboxes(self) -> None:
        if self._tally is not None:
            members = [session.member for session in self._seen if session.member is not None]
            self._tally.note_outboxes([m.waiting_bytes for m in members if m.waiting_bytes])

    def _set_timer(self, now: float, context: Context | None = None) -> None:
        self._due = now + TICK
        self._timer = self._loop.call_at(self._due, self._on_timer, context=context)

    def _on_timer(self) -> None:
        now = self._loop.time()
        late = now - self._due
        if self._tally is not None:
            self._tally.lag.observe(max(0.0, late))
        self._set_timer(now)
        if late > STOOD_STILL and not self._has_put_off:
            # What arrived meanwhile has not been read, so nobody is judged by that time. Never
            # twice in a row: on a loop that is always late, timeouts would never come.
            self._has_put_off = True
            self._pulse.beat()
            self.idling.excuse(late)
        else:
            self._has_put_off = False
            self.tick()


_monitors = PerLoop(lambda: Monitor(asyncio.get_running_loop()))


def monitor() -> Monitor:
    """Return the monitor of the running event loop."""
    return _monitors.get()
