"""
``revalidate_every``: whether the sessions and users of open websockets still count.

A logout is told to every process, but a message can be lost, a session expires, and a row can be
changed by other programs. So each period is divided into slots, and each websocket is looked at in
one of them: a slot's are asked for together, in batches, in a handshake thread. No websocket has a
timer or an entry anywhere, and one without a user is passed over.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from math import inf
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from weakref import WeakKeyDictionary

from django.conf import settings

from . import databases
from .connection.monitor import monitor
from .counters import counters
from .disconnecting import SLICE, close
from .identities import key_of_session, key_of_user, login_of, session_of
from .log_fields import loaded_user
from .log_thread import log
from .loops import PerLoop, start_task
from .protocol import CloseCode, ConnectionState
from .sessions import store_class
from .threads import context_of_caller, in_handshake_thread
from .validity import PartlyUnknown, Subject, find_ended

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from contextvars import Context

    from .connection.monitor import Monitor, Watched

logger = logging.getLogger("wsconsumer.consumer")

SLOTS: Final = 10
"""Parts of a period."""

BATCH: Final = 500
"""Websockets that are asked for together."""


LATE: Final = 30.0
"""Seconds after which a batch that has no answer is told of."""


class Check(NamedTuple):
    """A websocket, and what it stood on when the check began."""

    session: Watched
    subject: Subject


class Round:
    """The slots of one period, for the websockets that have it."""

    def __init__(self, every: float, now: float) -> None:
        self._step = every / SLOTS
        self.next = now + self._step
        self._slot = 0
        self._empty = 0

    @property
    def is_over(self) -> bool:
        """Whether a whole period has gone by without a websocket that has it."""
        return self._empty >= SLOTS

    def note(self, slots: Iterable[int] = (), *, has_some: bool = True) -> None:
        """Note whether there are websockets, in these slots at least."""
        self._empty = 0 if has_some else self._empty + len(tuple(slots))

    def take_due(self, now: float) -> frozenset[int]:
        """Return the slots whose time has come, and go on to the next one."""
        number = int((now - self.next) // self._step) + 1
        due = frozenset((self._slot + index) % SLOTS for index in range(min(number, SLOTS)))
        self._slot = (self._slot + number) % SLOTS
        self.next += number * self._step
        return due


class Revalidation:
    """Checks the websockets of one event loop, one batch after the other."""

    def __init__(self) -> None:
        self._rounds: dict[float, Round] = {}
        self._contexts: WeakKeyDictionary[Watched, Context] = WeakKeyDictionary()
        self._task: asyncio.Task[None] | None = None
        self._late_at = inf  # a thread waits, whatever a test says that the time is
        self._is_failing = False

    def begin(self, session: Any, every: float) -> None:
        """Check a websocket from now on."""
        monitor().call_at_ticks(self.look_after)
        if every not in self._rounds:
            self._rounds[every] = Round(every, session.connection.loop.time())
        self._rounds[every].note()
        context = context_of_caller()
        if context is not None:
            # A test decides in which thread it has its database connections.
            self._contexts[session] = context

    def look_after(self, now: float) -> None:
        """Begin with what is due, unless there is still something to do."""
        if self._task is not None:
            if monotonic() >= self._late_at:
                self._late_at = inf
                self._note_failure(TimeoutError(f"no answer within {LATE:.0f} seconds"))
        elif any(each.next <= now for each in self._rounds.values()):
            self._late_at = monotonic() + LATE
            self._task = start_task(self._check_all())

    async def _check_all(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while True:
                now = loop.time()
                due = {
                    every: each.take_due(now)
                    for every, each in self._rounds.items()
                    if each.next <= now
                }
                if not due:
                    return
                checks = await self._collect(due)
                if await self._check(checks) and checks:
                    self._is_failing = False
        finally:
            self._task = None

    async def _collect(self, due: dict[float, frozenset[int]]) -> list[Check]:
        """Return the websockets that are due, and forget the periods that nobody has."""
        found, used, watching = [], set(), monitor()
        wanted = frozenset[int]().union(*due.values())
        for number, session in enumerate(watching.sessions, 1):
            slot = _slot_of(session)
            if slot in wanted and _is_open(watching, session):
                every = session.revalidate_every
                if every is not None and slot in due.get(every, ()):
                    used.add(every)
                    subject = _known_subject_of(session)
                    if subject is not None:
                        found.append(Check(session, subject))
            if number % SLICE == 0:
                await asyncio.sleep(0)
        for every, slots in due.items():
            self._rounds[every].note(slots, has_some=every in used)
            if self._rounds[every].is_over:
                del self._rounds[every]
        return found

    async def _check(self, checks: Iterable[Check]) -> bool:
        """Close those that have ended; return whether all could be asked for."""
        groups: defaultdict[int, list[Check]] = defaultdict(list)
        for check in checks:
            groups[id(self._contexts.get(check.session))].append(check)
        is_whole = True
        for group in groups.values():
            context = self._contexts.get(group[0].session)
            for start in range(0, len(group), BATCH):
                batch = group[start : start + BATCH]
                self._late_at = monotonic() + LATE
                try:
                    reasons = await start_task(_ask([one.subject for one in batch]), context)
                except PartlyUnknown as error:
                    is_whole, reasons = False, error.reasons
                    self._note_failure(error.__cause__)
                except Exception as error:  # noqa: BLE001  # the next batch is another matter
                    is_whole, reasons = False, [None] * len(batch)
                    self._note_failure(error)
                await _close_ended(batch, reasons)
        return is_whole

    def _note_failure(self, error: BaseException | None) -> None:
        counters["revalidation_failed"] += 1
        if not self._is_failing:
            log(
                logger,
                logging.WARNING,
                "The sessions and users of websockets could not be checked, or some of them, which "
                "closes none of these. It is tried again; no further failure is logged until it "
                "works.",
                error=error,
            )
        self._is_failing = True


async def _ask(subjects: Sequence[Subject]) -> list[str | None]:
    if context_of_caller() is not None:
        return await in_handshake_thread(find_ended)(subjects)
    return await in_handshake_thread(_ask_and_tidy)(subjects)


def _ask_and_tidy(subjects: Sequence[Subject]) -> list[str | None]:
    """Ask in a thread of ours, whose connections are for whoever comes next."""
    try:
        with databases.no_transaction_left("revalidate_every"):
            return find_ended(subjects)
    finally:
        databases.give_back_pooled()


async def _close_ended(batch: Sequence[Check], reasons: Sequence[str | None]) -> None:
    watching = monitor()
    for number, (check, reason) in enumerate(zip(batch, reasons, strict=True), 1):
        session = check.session
        if reason is not None and _is_open(watching, session) and _is_same(check):
            close(session, CloseCode.NOT_AUTHENTICATED, reason, "session_ended")
        if number % SLICE == 0:
            await asyncio.sleep(0)


def _is_same(check: Check) -> bool:
    """Return whether the answer is still about what the websocket stands on."""
    return _known_subject_of(check.session) == check.subject


def _is_open(watching: Monitor, session: Watched) -> bool:
    return session.connection.state is ConnectionState.OPEN and watching.is_watching(session)


def _slot_of(session: object) -> int:
    """Return the slot of a websocket, as good as random and always the same."""
    return hash((id(session),)) % SLOTS


def _known_subject_of(session: Watched) -> Subject | None:
    """Return what a websocket stands on; ``None`` also if its engine of sessions fails."""
    try:
        return subject_of(session)
    except Exception as error:  # noqa: BLE001  # the engine may be the project's
        # The others are to be checked all the same.
        counters["revalidation_failed"] += 1
        text = "%s: the session and user of a websocket could not be checked."
        log(logger, logging.ERROR, text, session.connection.owner, error=error, from_stranger=True)
        return None


def subject_of(watched: Any) -> Subject | None:
    """Return what a websocket stands on; ``None`` for one without a user."""
    request = watched.consumer.request
    session = session_of(request)
    key = None if session is None else key_of_session(request)
    login = None if session is None or key is None else login_of(session)
    user = loaded_user(request)
    pk = _pk_in_database(user)
    if login is None and pk is None:
        return None
    # Whoever only visits has nothing that could end, and a token is not the cookie's.
    store = store_class(session) if session is not None and key and login is not None else None
    return Subject(store, key if store is not None else None, login, pk)


def _pk_in_database(user: object) -> str | None:
    """Return the key of a user of ``AUTH_USER_MODEL`` who was loaded or saved."""
    key = key_of_user(user)
    if key is None or key.model != settings.AUTH_USER_MODEL.lower():
        return None
    return None if vars(user)["_state"].adding else key.pk


_revalidations = PerLoop(Revalidation)


def revalidation() -> Revalidation:
    """Return what checks the websockets of the running event loop."""
    return _revalidations.get()
