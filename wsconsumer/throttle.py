"""What may happen often and is said seldom: a log that is flooded tells nobody anything."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable


class Throttle:
    """Lets something happen at most once in so many seconds, in whatever thread."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._clock = clock
        self._open_at = clock()
        self._lock = threading.Lock()

    @property
    def is_open(self) -> bool:
        """Whether it may happen now."""
        return self._clock() >= self._open_at

    def reset(self) -> None:
        """Let it happen at once."""
        with self._lock:
            self._open_at = self._clock()

    def take(self) -> bool:
        """Return whether it may happen now; if so, it has happened."""
        with self._lock:
            is_open = self.is_open
            if is_open:
                self._open_at = self._clock() + self._seconds
            return is_open


class Seldom(Throttle):
    """Lets something be said at most once in so many seconds, and counts how often it happened."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(seconds, clock)
        self._times = 0

    def reset(self) -> None:
        """Let it be said at once, as if it had never happened."""
        super().reset()
        self._times = 0

    def count(self) -> int:
        """Note that it happened; return how often since it was last said, or 0 to say nothing."""
        with self._lock:
            self._times += 1
        if not self.take():
            return 0
        with self._lock:
            times, self._times = self._times, 0
        return times


MINUTE: Final = 60.0
"""Seconds between two lines of a kind."""
