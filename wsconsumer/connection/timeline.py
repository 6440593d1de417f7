"""
Times to come, of any number of things, without a timer for each of them.

They are sorted by whole seconds, so that a tick looks at what this second brings and at nothing
else, and so that what has ended early leaves nothing behind.
"""

from __future__ import annotations

from math import inf
from typing import Generic, TypeVar

K = TypeVar("K")


class Timeline(Generic[K]):
    """Keys, each with one time of a loop's clock."""

    def __init__(self) -> None:
        self._times: dict[K, float] = {}
        self._seconds: dict[int, dict[K, None]] = {}
        self._first = inf

    def __len__(self) -> int:
        return len(self._times)

    def put(self, key: K, when: float) -> None:
        """Give a key a time, in the place of the one that it has."""
        self.drop(key)
        self._times[key] = when
        second = int(when)
        self._seconds.setdefault(second, {})[key] = None
        self._first = min(self._first, second)

    def time_of(self, key: K) -> float:
        """Return a key's time; infinity, if it has none."""
        return self._times.get(key, inf)

    def drop(self, key: K) -> None:
        """Forget a key, if it is known."""
        when = self._times.pop(key, None)
        if when is not None:
            keys = self._seconds[int(when)]
            del keys[key]
            if not keys:
                del self._seconds[int(when)]

    def take_due(self, now: float) -> list[K]:
        """Return those whose time has come, and forget them."""
        if now < self._first:
            return []
        due = [
            key
            for second in sorted(second for second in self._seconds if second <= now)
            for key in self._seconds[second]
            if self._times[key] <= now
        ]
        for key in due:
            self.drop(key)
        self._first = min(self._seconds, default=inf)
        return due
