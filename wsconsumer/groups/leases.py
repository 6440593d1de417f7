"""
The leases and counts of this process, where nothing but its memory is there to have them.

Each event loop of the process is a process of its own here. One that was closed without a word has
lapsed, whatever its lease says.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from typing import TYPE_CHECKING, Final

from .leasing import TOLD_FOR, Beat

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Mapping, Sequence

    from .leasing import Entry


class Lease:
    """One lease, until when it is held, and what its process has."""

    __slots__ = ("_loop", "_until", "counts")

    def __init__(self, loop: asyncio.AbstractEventLoop, until: float) -> None:
        self._loop = loop
        self._until = until
        self.counts: dict[str, int] = {}

    def extend(self, until: float) -> None:
        """Hold it until then."""
        self._until = until

    def is_held(self, now: float) -> bool:
        """Whether it has not lapsed."""
        return self._until > now and not self._loop.is_closed()

    def is_told(self, now: float) -> bool:
        """Whether others are still to hear that it has lapsed."""
        return self._until + TOLD_FOR > now


class Leases:
    """The leases of all prefixes; from any thread."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._lock = threading.Lock()
        self._clock = clock
        self._leases: defaultdict[str, dict[str, Lease]] = defaultdict(dict)

    def begin(
        self, prefix: str, process: str, seconds: float, loop: asyncio.AbstractEventLoop
    ) -> None:
        """Give a process that runs in a loop a lease."""
        with self._lock:
            self._leases[prefix][process] = Lease(loop, self._clock() + seconds)

    def beat(self, prefix: str, process: str, seconds: float) -> Beat:
        """Extend a lease that is held."""
        with self._lock:
            now, leases = self._clock(), self._leases[prefix]
            for name in [name for name, lease in leases.items() if not lease.is_told(now)]:
                del leases[name]
            own = leases.get(process)
            is_held = own is not None and own.is_held(now)
            if own is not None and is_held:
                own.extend(now + seconds)
            lapsed = [name for name, lease in leases.items() if not lease.is_held(now)]
            return Beat(is_held, lapsed)

    def admit(
        self, prefix: str, process: str, counts: Mapping[str, int], entries: Sequence[Entry]
    ) -> list[bool] | None:
        """Write counts, and let in who comes."""
        with self._lock:
            now = self._clock()
            leases = [lease for lease in self._leases[prefix].values() if lease.is_held(now)]
            own = self._leases[prefix].get(process)
            if own is None or own not in leases:
                return None
            for key, count in counts.items():
                own.counts.pop(key, None)
                if count:
                    own.counts[key] = count
            return [_enter(own, leases, entry) for entry in entries]

    def counted(self, prefix: str, keys: Sequence[str]) -> dict[str, dict[str, int]]:
        """Return who has how many."""
        with self._lock:
            now = self._clock()
            held = {name: one for name, one in self._leases[prefix].items() if one.is_held(now)}
            return {
                key: {name: one.counts[key] for name, one in held.items() if key in one.counts}
                for key in keys
            }

    def leave(self, prefix: str, process: str) -> None:
        """End a lease."""
        with self._lock:
            self._leases[prefix].pop(process, None)

    def clear(self, prefix: str) -> None:
        """Forget everything of a prefix."""
        with self._lock:
            self._leases.pop(prefix, None)


def _enter(own: Lease, leases: Sequence[Lease], entry: Entry) -> bool:
    for key, limit in entry:
        if sum(lease.counts.get(key, 0) for lease in leases) >= limit:
            return False
    for key, _ in entry:
        own.counts[key] = own.counts.get(key, 0) + 1
    return True


leases: Final = Leases()
"""Those of this process."""
