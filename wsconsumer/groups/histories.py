"""
What the groups of this process keep, where nothing but its memory is there to keep it.

All event loops and threads of the process share it. A restart loses it: then every group has
another epoch, and members that come back are told to start anew.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections import OrderedDict, deque
from itertools import islice
from typing import TYPE_CHECKING, Final

from .base import Position
from .keeping import EPOCH_SECONDS, Kept

if TYPE_CHECKING:
    from collections.abc import Callable

    from .keeping import Keep


class History:
    """One group's epoch, top and last bodies."""

    __slots__ = ("_bodies", "_kept_until", "_keys", "epoch", "forgotten_at", "top")

    def __init__(self, now: float) -> None:
        self.epoch = secrets.token_hex(4)
        self.top = 0
        self.forgotten_at = now + EPOCH_SECONDS
        self._kept_until = now
        self._bodies: deque[tuple[int, bytes]] = deque()
        self._keys: OrderedDict[str, tuple[int, float]] = OrderedDict()

    def find(self, key: str | None, now: float) -> Position | None:
        """Return the position of a body that was appended with this key, if it still counts."""
        found = None if key is None else self._keys.get(key)
        return None if found is None or found[1] <= now else Position(self.epoch, found[0])

    def append(self, body: bytes, keep: Keep, key: str | None, now: float) -> Position:
        """Number a body and keep it."""
        self.top += 1
        if now >= self._kept_until:
            self._bodies.clear()
        self._bodies.append((self.top, body))
        while len(self._bodies) > keep.size:
            self._bodies.popleft()
        self._kept_until = now + keep.seconds
        self.forgotten_at = now + EPOCH_SECONDS
        if key is not None:
            self._keys[key] = (self.top, now + keep.seconds)
            self._keys.move_to_end(key)
        while self._keys and next(iter(self._keys.values()))[1] <= now:
            self._keys.popitem(last=False)
        return Position(self.epoch, self.top)

    def read(self, after: int | None, now: float) -> Kept:
        """Return what is kept after an offset, or only where it stands."""
        if after is None or now >= self._kept_until:
            return Kept(self.epoch, self.top)
        bodies = [(offset, body) for offset, body in self._bodies if offset > after]
        return Kept(self.epoch, self.top, bodies)


FORGET_AT_ONCE: Final = 2
"""How many old histories are looked at, and forgotten, at each use of one."""


class Histories:
    """
    The histories of all groups; from any thread.

    What ``publish`` does for a body happens in the order of the offsets.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._lock = threading.Lock()
        self._clock = clock
        # In the order in which they were last used, so that the first are forgotten first.
        self._histories: OrderedDict[tuple[str, str], History] = OrderedDict()

    def append(
        self,
        group: tuple[str, str],
        body: bytes,
        keep: Keep,
        key: str | None,
        publish: Callable[[Position], None],
    ) -> Position:
        """Append a body, and have it published, unless its key was there before."""
        with self._lock:
            history = self._get(group)
            now = self._clock()
            found = history.find(key, now)
            if found is not None:
                return found
            position = history.append(body, keep, key, now)
            publish(position)
            return position

    def read(self, group: tuple[str, str], after: int | None) -> Kept:
        """Return the history of a group, which begins now if there was none."""
        with self._lock:
            return self._get(group).read(after, self._clock())

    def clear(self) -> None:
        """Forget everything; what is appended next begins another epoch."""
        with self._lock:
            self._histories.clear()

    def _get(self, group: tuple[str, str]) -> History:
        now = self._clock()
        for name, history in list(islice(self._histories.items(), FORGET_AT_ONCE)):
            if history.forgotten_at <= now:
                del self._histories[name]
        if group not in self._histories:
            self._histories[group] = History(now)
        self._histories.move_to_end(group)
        return self._histories[group]


histories: Final = Histories()
"""Those of this process."""
