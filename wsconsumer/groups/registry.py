"""
What this event loop says of itself to the other processes of a project: that it lives, and how many
it has of what is limited across all of them.

One task talks to the engine, in one call after the other: it beats, every ``BEAT_EVERY`` seconds,
and in between it lets in who comes and writes what has changed since. The truth is the count here;
what the engine has is a copy, and whatever may differ (after an error, a lapse, by the way) is
written again. While the engine is away, or too slow, or can't count, only this event loop's own
counts are looked at. Read ``leasing.py`` first.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import deque
from contextlib import suppress
from itertools import count, islice
from math import ceil
from typing import TYPE_CHECKING, Final, NamedTuple

from ..counters import counters
from ..escaping import escape
from ..exceptions import BackendError
from ..log_thread import log
from ..loops import start_task
from ..processes import this_process
from .leasing import LeasingBackend

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from .base import Backend
    from .leasing import Entry

logger = logging.getLogger("wsconsumer.groups")

BEAT_EVERY: Final = 10.0
"""Seconds between two beats."""

LEASE: Final = 30.0
"""Seconds of a lease: what a process had counts for so long after it was killed."""

RETRY_EVERY: Final = 2.0
"""Seconds between two beats while the engine does not answer."""

PATIENCE: Final = 1.0
"""Seconds that somebody who comes waits for the engine, and that it has to hear of our end."""

AT_ONCE: Final = 500
"""Counts that are written, and entries that are asked for, in one call."""

SWEEP: Final = 60
"""Beats in which every count is written again, so that the copy can't differ for longer."""

_numbers = count(1)


class _Comer(NamedTuple):
    """Somebody who wants to come in; the answer is ``None`` if the engine gave none."""

    entry: Entry
    answer: asyncio.Future[bool | None]


class Registry:
    """
    The entry of an event loop among the processes of its project. Get it from ``Hub.registry()``.

    ``start`` returns when the backend was started.
    """

    def __init__(self, backend: Backend, start: Callable[[], Awaitable[None]]) -> None:
        self._backend = backend
        self._start = start
        self._process: str | None = None
        self._counts: dict[str, int] = {}
        self._changed: dict[str, None] = {}
        self._sweeping: deque[str] = deque()
        self._comers: deque[_Comer] = deque()
        self._lapsed: Sequence[str] = ()
        self._alone: BaseException | None = None
        self._work = asyncio.Event()
        self._beat_at = 0.0
        self._task: asyncio.Task[None] | None = None

    def count(self, key: str) -> int:
        """Return how many of a key this event loop has."""
        return self._counts.get(key, 0)

    async def enter(self, entry: Entry) -> bool:
        """
        Let in one more of each key of an entry, if all its limits allow it; ``leave()`` undoes it.

        Waits for the engine within bounds, and then decides by what is known here.
        """
        self._begin()
        if not self._fits(entry):
            return False
        answer = None if self._alone is not None else await self._ask(entry)
        if answer is None:
            counters["count_failed"] += 1
            answer = self._fits(entry)
            if answer:
                self._add(entry, 1)
        return answer

    def leave(self, entry: Entry) -> None:
        """Take back what was let in. The engine hears of it soon, or later if it is away."""
        self._add(entry, -1)
        self._work.set()

    def _fits(self, entry: Entry) -> bool:
        return all(self.count(key) < limit for key, limit in entry)

    def _add(self, entry: Entry, change: int) -> None:
        """Count, and have the count written."""
        for key, _ in entry:
            self._change(key, change)
            self._changed[key] = None

    def _change(self, key: str, change: int) -> None:
        counted = self.count(key) + change
        if counted:
            self._counts[key] = counted
        else:
            del self._counts[key]

    async def _ask(self, entry: Entry) -> bool | None:
        """Ask the engine; return ``None`` if it does not answer in time."""
        comer = _Comer(entry, asyncio.get_running_loop().create_future())
        self._comers.append(comer)
        self._work.set()
        try:
            await asyncio.wait({comer.answer}, timeout=PATIENCE)
        except asyncio.CancelledError:
            if comer.answer.done() and comer.answer.result():
                self.leave(entry)
            comer.answer.cancel()
            raise
        if not comer.answer.done():
            comer.answer.cancel()
            self._lose(TimeoutError(f"no answer within {PATIENCE:.1f} seconds"))
            return None
        return comer.answer.result()

    # The task that talks to the engine.

    def _begin(self) -> None:
        """Begin to talk to the engine, if it can count, at the first who comes."""
        if self._task is not None or self._alone is not None:
            return
        if isinstance(self._backend, LeasingBackend):
            self._task = start_task(self._talk(self._backend))
        else:
            self._lose(BackendError(can_not_count(self._backend)))

    async def _talk(self, backend: LeasingBackend) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                if loop.time() >= self._beat_at:
                    self._beat_at = loop.time() + RETRY_EVERY
                    async with asyncio.timeout(PATIENCE if self._alone else None):
                        await self._beat(backend)
                    self._recover()
                    self._beat_at = loop.time() + BEAT_EVERY * random.uniform(0.8, 1)  # noqa: S311  # no secret
                if self._alone is None:
                    await self._write(backend)
            except Exception as error:  # noqa: BLE001  # whatever it is, it must not end this
                self._lose(error)
            self._work.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout_at(self._beat_at):
                    await self._work.wait()

    async def _beat(self, backend: LeasingBackend) -> None:
        """Extend the lease, or begin anew if it is gone."""
        if self._process is None:
            await self._start()
            await self._enlist(backend)
            return
        beat = await backend.beat(self._process, LEASE)
        self._hear_of(beat.lapsed)
        if beat.is_held:
            self._sweep()
        else:
            await self._enlist_again(backend)

    async def _enlist(self, backend: LeasingBackend) -> None:
        """Begin a lease, under a name that nobody had; all counts are to be written."""
        process = f"{this_process()}/{next(_numbers)}"
        await backend.begin(process, LEASE)
        self._process = process
        self._changed = dict.fromkeys(self._counts)

    async def _enlist_again(self, backend: LeasingBackend) -> None:
        log(
            logger,
            logging.WARNING,
            "The engine behind the groups knew no more of process %s, which was paused for more "
            "than %d seconds, or the engine lost its data. Its connections are counted anew.",
            self._process,
            LEASE,
        )
        await self._enlist(backend)

    async def _write(self, backend: LeasingBackend) -> None:
        """Write what has changed, and let in who comes, until there is nothing to do."""
        loop = asyncio.get_running_loop()
        while (self._changed or self._comers) and loop.time() < self._beat_at:
            changed = [*islice(self._changed, AT_ONCE)]
            for key in changed:
                del self._changed[key]
            comers = [self._comers.popleft() for _ in range(min(AT_ONCE, len(self._comers)))]
            await self._admit(backend, changed, comers)

    async def _admit(
        self, backend: LeasingBackend, changed: Sequence[str], comers: Sequence[_Comer]
    ) -> None:
        assert self._process is not None  # noqa: S101  # the first beat comes first
        try:
            answers = await backend.admit(
                self._process,
                {key: self.count(key) for key in changed},
                [comer.entry for comer in comers],
            )
            if answers is None:
                await self._enlist_again(backend)
        except BaseException:
            # Nobody knows what was written.
            self._changed.update(dict.fromkeys(changed))
            for comer in comers:
                self._changed.update((key, None) for key, _ in comer.entry)
                _answer(comer, None)
            raise
        if answers is None:
            self._comers.extendleft(reversed(comers))
            return
        for comer, answer in zip(comers, answers, strict=True):
            if _answer(comer, answer):
                for key, _ in comer.entry if answer else ():
                    self._change(key, 1)
            else:  # it has not waited
                self._changed.update((key, None) for key, _ in comer.entry)

    def _sweep(self) -> None:
        """Have some counts written again, so that all are within ``SWEEP`` beats."""
        if not self._sweeping:
            self._sweeping.extend(self._counts)
        for _ in range(min(ceil(len(self._counts) / SWEEP), len(self._sweeping))):
            self._changed[self._sweeping.popleft()] = None

    def _hear_of(self, lapsed: Sequence[str]) -> None:
        for process in lapsed:
            if process not in self._lapsed and process != self._process:
                logger.info("The process %s ended without a word.", escape(process))
        self._lapsed = lapsed

    # The engine is away.

    def _lose(self, error: BaseException) -> None:
        """Count here alone, until the engine answers to a beat."""
        if self._alone is None:
            self._alone = error
            self._beat_at = min(self._beat_at, asyncio.get_running_loop().time() + RETRY_EVERY)
            log(
                logger,
                logging.WARNING,
                "Connections are counted in this process alone, so that max_connections_per_user "
                "and max_connections_per_address are limits of each process: %s: %s",
                type(error).__name__,
                escape(error),
            )
        while self._comers:
            _answer(self._comers.popleft(), None)

    def _recover(self) -> None:
        if self._alone is not None:
            self._alone = None
            log(logger, logging.WARNING, "Connections are counted in all processes together again.")

    async def aclose(self) -> None:
        """Tell the engine, within bounds, that all that was counted here has gone."""
        if self._task is None:
            return
        self._task.cancel()
        await asyncio.wait([self._task])
        self._task = None
        is_away, self._alone = self._alone, ConnectionError("the event loop ends")
        if self._process is not None and is_away is None:
            assert isinstance(self._backend, LeasingBackend)  # noqa: S101  # there was a task
            with suppress(BackendError, TimeoutError):
                async with asyncio.timeout(PATIENCE):
                    await self._backend.leave(self._process)


def _answer(comer: _Comer, answer: bool | None) -> bool:
    """Tell who comes the answer; return whether it waited for it."""
    is_waiting = not comer.answer.done()
    if is_waiting:
        comer.answer.set_result(answer)
    return is_waiting


def can_not_count(backend: Backend) -> str:
    """Return what to say of a backend that holds no leases."""
    return (
        f"the backend of groups, {type(backend).__qualname__}, can't count the connections of all "
        "processes. Name another BACKEND in WSCONSUMER['GROUPS']"
    )


def leasing_problems(backend: Backend) -> Sequence[str]:
    """Return what prevents a backend from counting, for ``manage.py check``."""
    if isinstance(backend, LeasingBackend):
        return backend.leasing_problems()
    return (f"{can_not_count(backend)}.".replace("the", "The", 1),)
