"""
A thread that notices an event loop that stands still, and says which hook holds it.

``time.sleep()`` in a hook stops every websocket of the process, and the monitor's ticker too, so it
takes a thread to tell. Each ticker beats a ``Pulse``; the thread looks at them twice a second, and
exists once a connection has lived for a tick.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from typing import TYPE_CHECKING, Final

from ..counters import counters
from ..log_thread import log
from ..waiting import describe_frames, frames_of_hook, package_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

logger = logging.getLogger("wsconsumer.consumer")

LIMIT: Final = 1.5
"""Seconds without a beat after which a loop stands still: a second, and a ticker's pause."""

PAUSE: Final = 0.5
"""Seconds between two looks."""

SILENCE: Final = 60.0
"""Seconds for which a hook that was named is not named again."""

DEBUGGERS: Final = frozenset({"bdb", "debugpy", "pdb", "pydevd"})
"""Who stops in one of these wants the loop to stand still."""


class Pulse:
    """The heartbeat of one event loop: its thread, and when it last beat."""

    def __init__(self) -> None:
        self.at = 0.0
        self.thread = 0

    def beat(self) -> None:
        """Tell that the loop runs."""
        self.at = time.monotonic()
        if not self.thread:
            self.thread = threading.get_ident()
            watchdog().add(self)

    def stop(self) -> None:
        """Tell that nobody needs the loop to run."""
        if self.thread:
            self.thread = 0
            watchdog().discard(self)


class Watchdog:
    """Looks at the pulses of all loops of this process, in a thread of its own."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._pulses: dict[Pulse, float] = {}
        self._named: dict[str, float] = {}
        self._thread: threading.Thread | None = None

    def add(self, pulse: Pulse) -> None:
        """Look at a pulse from now on."""
        with self._changed:
            self._pulses[pulse] = 0.0
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._run, name="wsconsumer-watchdog", daemon=True
                )
                self._thread.start()
            self._changed.notify()

    def discard(self, pulse: Pulse) -> None:
        """Look at it no longer."""
        with self._changed:
            self._pulses.pop(pulse, None)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._pulses)
                stopped = list(self._take_stopped(time.monotonic()))
            for thread in stopped:
                self._name(thread)
            time.sleep(PAUSE)

    def _take_stopped(self, now: float) -> Iterator[int]:
        """Yield the threads of loops that stand still, once for each time that they do."""
        for pulse, told in self._pulses.items():
            if now - pulse.at > LIMIT and told != pulse.at:
                self._pulses[pulse] = pulse.at
                yield pulse.thread

    def _name(self, thread: int) -> None:
        frames = _frames_in(thread)
        if not frames:
            return
        counters["loop_blocked"] += 1
        hook, now = frames[0].f_code.co_qualname, time.monotonic()
        if now - self._named.get(hook, -SILENCE) < SILENCE:
            return
        self._named[hook] = now
        log(
            logger,
            logging.WARNING,
            "%s blocks the event loop for more than a second, and with it every websocket of this "
            "process. Await what does not block (asyncio.sleep(), the async ORM), or put the work "
            "into a function and call it with sync_to_async(). It is here:\n%s",
            hook,
            describe_frames(frames),
        )


def _frames_in(thread: int) -> list[FrameType]:
    """Return what a thread is at inside of a hook, outermost first; nothing if it is not in one."""
    frames: list[FrameType] = []
    frame = sys._current_frames().get(thread)  # noqa: SLF001  # documented, for debugging
    while frame is not None:
        frames.insert(0, frame)
        frame = frame.f_back
    found = frames_of_hook(frames)
    if any(package_of(frame) in DEBUGGERS for frame in found):
        return []
    return found


_watchdogs: list[Watchdog] = [Watchdog()]


def watchdog() -> Watchdog:
    """Return this process's watchdog."""
    return _watchdogs[0]


def _forget_watchdog() -> None:
    """Start over in a forked process, which has neither the thread nor the loops."""
    _watchdogs[0] = Watchdog()  # pragma: no cover  # runs in forked processes


os.register_at_fork(after_in_child=_forget_watchdog)
