"""
What the groups of this process keep, where nothing but its memory is there to keep it.

All event loops and threads of the process share it. A restart loses it: then every group has
another epoch, and members that come back are told to start anew.

A group that nobody has spoken to takes no memory, since anybody may make up names of rooms: its
epoch is derived from its name.
"""

from __future__ import annotations

import hashlib
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

    def __init__(self, epoch: str, now: float) -> None:
        self.epoch = epoch
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


SHARES: Final = 4_096
"""Into how many shares the names of groups fall; what is forgotten in one changes its epochs."""


class Epochs:
    """
    The first epochs of groups, from which on somebody speaks to them.

    The same one each time, until a history is forgotten: the next one of that group must not be
    taken for it. Nobody remembers which group that was, so the others of its share, to which nobody
    has spoken, begin anew too: at most once a day, since a history is forgotten after a day.
    """

    def __init__(self) -> None:
        self._secret = secrets.token_bytes(16)
        self._changes: dict[int, int] = {}

    def of(self, group: tuple[str, str]) -> str:
        """Return the epoch that a group without a history has, or begins with."""
        changes = self._changes.get(self._share(group), 0)
        said = repr((*group, changes)).encode()
        return hashlib.blake2b(said, key=self._secret, digest_size=4).hexdigest()

    def forget(self, group: tuple[str, str], epoch: str) -> None:
        """Let a group whose history is forgotten have another one."""
        if self.of(group) == epoch:
            share = self._share(group)
            self._changes[share] = self._changes.get(share, 0) + 1

    @staticmethod
    def _share(group: tuple[str, str]) -> int:
        return hash(group) % SHARES


class Histories:
    """
    The histories of all groups; from any thread.

    What ``publish`` does for a body happens in the order of the offsets.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._lock = threading.Lock()
        self._clock = clock
        self._epochs = Epochs()
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
            now = self._clock()
            history = self._find(group, now)
            if history is None:
                history = self._histories[group] = History(self._epochs.of(group), now)
            found = history.find(key, now)
            if found is not None:
                return found
            position = history.append(body, keep, key, now)
            publish(position)
            return position

    def read(self, group: tuple[str, str], after: int | None) -> Kept:
        """Return the history of a group; before anything is said, only where it will begin."""
        with self._lock:
            now = self._clock()
            history = self._find(group, now)
            return Kept(self._epochs.of(group), 0) if history is None else history.read(after, now)

    def clear(self) -> None:
        """Forget everything; what is appended next begins another epoch."""
        with self._lock:
            self._histories.clear()
            self._epochs = Epochs()

    def _find(self, group: tuple[str, str], now: float) -> History | None:
        for name, history in list(islice(self._histories.items(), FORGET_AT_ONCE)):
            if history.forgotten_at <= now:
                del self._histories[name]
                self._epochs.forget(name, history.epoch)
        found = self._histories.get(group)
        if found is not None:
            self._histories.move_to_end(group)
        return found


histories: Final = Histories()
"""Those of this process."""
