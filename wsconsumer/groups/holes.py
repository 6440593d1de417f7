"""
What is said to a group that keeps by somebody who does not know that it does.

While a deploy is under way, or a worker was forgotten, some processes still publish without a
number. Members get it, but no history has it. So whoever hears it leaves a hole: a number that
stands for what has none. Those who are here step over it; who comes back from before it is told to
reload. Read ``Holes.owe`` first.
"""

from __future__ import annotations

import asyncio
import logging
import random
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from ..counters import counters
from ..escaping import escape
from ..log_thread import log
from ..loops import start_task
from ..throttle import MINUTE, Seldom
from .envelope import HOLE_BODY

if TYPE_CHECKING:
    from collections.abc import Callable

    from .base import Position
    from .keeping import Keep, KeepingBackend

logger = logging.getLogger("wsconsumer.groups")

DELAY: Final = (0.25, 1.0)
"""
Seconds until a hole is left, at least and at most.

One is enough for all that came before it, and for all processes: whoever is first.
"""

CLOSE_TIMEOUT: Final = 1.0
"""Seconds that the end of a process waits for its holes."""

heard: Final = Seldom(MINUTE)
failed: Final = Seldom(MINUTE)


class Owed:
    """A hole that is owed to a group."""

    __slots__ = ("at", "is_leaving", "is_more", "keep")

    def __init__(self, keep: Keep) -> None:
        self.keep = keep
        self.is_leaving = False
        """Whether the engine was asked to take it."""
        self.is_more = False
        """Whether something came after that, which may be behind it."""
        self.at: Position | None = None
        """Where it is, once the engine has taken it."""


class Holes:
    """The holes that one event loop owes; ``is_here`` tells whether a group has members."""

    def __init__(self, backend: KeepingBackend, is_here: Callable[[str], bool]) -> None:
        self._backend = backend
        self._is_here = is_here
        self._owed: dict[str, Owed] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_closing = asyncio.Event()

    def owe(self, group: str, keep: Keep) -> None:
        """Note that something came without a number, and leave a hole for it soon."""
        counters["broadcast_unnumbered"] += 1
        owed = self._owed.get(group)
        if owed is None:
            self._begin(group, keep)
        elif owed.is_leaving:
            owed.is_more = True
        if times := heard.count():
            log(
                logger,
                logging.WARNING,
                "A broadcast to '%s' came without a number, from a process that does not know that "
                "the group keeps. Whoever missed it is told to reload. Deploy the Group(keep=...) "
                "of realtime.py to all processes, and restart workers that have an older one. "
                "Such broadcasts since the last such line: %d.",
                escape(group),
                times,
            )

    def _begin(self, group: str, keep: Keep) -> None:
        owed = self._owed[group] = Owed(keep)
        task = start_task(self._leave(group, owed))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _leave(self, group: str, owed: Owed) -> None:
        """Leave a hole, unless somebody else does before; go on until the engine has taken it."""
        while owed.at is None:
            await self._pause()
            if self._owed.get(group) is not owed:
                return
            owed.is_leaving, owed.is_more = True, False
            try:
                owed.at = await self._backend.append(group, HOLE_BODY, owed.keep, None)
            except Exception as error:  # noqa: BLE001  # whatever it is, it is tried again
                if self._is_closing.is_set():
                    return
                owed.is_leaving = False
                if times := failed.count():
                    text = "What the group '%s' misses could not be marked. Times: %d."
                    log(logger, logging.WARNING, text, escape(group), times, error=error)
        if not self._is_here(group):
            self.forget(group)

    async def _pause(self) -> None:
        """Wait for a moment, or until this is closed."""
        delay = random.uniform(*DELAY)  # noqa: S311  # no secret
        with suppress(TimeoutError):
            async with asyncio.timeout(delay):
                await self._is_closing.wait()

    def owes(self, group: str, here: Position) -> bool:
        """Whether a group that stands here lacks a hole for something that came."""
        owed = self._owed.get(group)
        if owed is None:
            return False
        if owed.at is None or (owed.at.epoch == here.epoch and owed.at.offset > here.offset):
            return True
        if owed.at.epoch != here.epoch:
            # A history was lost, and one of the two is older: the next hole is in the newer.
            self._begin(group, owed.keep)
            return True
        # It was read, not heard: what came meanwhile may be before it or behind it.
        return self._settle(group, owed)

    def settle(self, group: str) -> None:
        """Note that a hole came in its turn: it stands for all that came before it."""
        self._owed.pop(group, None)

    def forget(self, group: str) -> None:
        """Note that nobody is left to hear the hole come."""
        owed = self._owed.get(group)
        if owed is not None and owed.at is not None:
            self._settle(group, owed)

    def _settle(self, group: str, owed: Owed) -> bool:
        """Note that a hole is there; return whether another one is owed."""
        del self._owed[group]
        if owed.is_more:
            self._begin(group, owed.keep)
        return owed.is_more

    async def aclose(self) -> None:
        """Leave those that are owed at once, if the engine takes them; then no more."""
        self._is_closing.set()
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=CLOSE_TIMEOUT)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late)
