"""
The contract of a backend that keeps: it numbers what it publishes, and can say it again.

A group that keeps has a history: an epoch, the offset of the last broadcast (the top), and the last
broadcasts themselves. The history is a cache: an engine may lose it at any time, as long as the
next one has another epoch. Subclass ``KeepingBackend``, and run ``wsconsumer.test.KeepingContract``
against it.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from .base import Backend, Position

if TYPE_CHECKING:
    from ..exceptions import BackendError


class Keep(NamedTuple):
    """
    How much a group keeps: the last ``size`` broadcasts, until ``seconds`` after the last one.

    Epoch and top stay for a day, so that a client that missed nothing overnight can tell.
    """

    size: int
    seconds: int


EPOCH_SECONDS = 24 * 60 * 60
"""Seconds that epoch and top stay after the last broadcast."""

UNSPOKEN_SECONDS = 60 * 60
"""
Seconds that an engine need remember the epoch of a group that was only asked for.

Whoever has members in it asks once a minute. Names that strangers make up must not stay for a day.
"""


class Kept(NamedTuple):
    """What was read of a history: epoch, top, and bodies with their offsets, in order."""

    epoch: str
    top: int
    messages: Sequence[tuple[int, bytes]] = ()

    @property
    def position(self) -> Position:
        """Where the history stands."""
        return Position(self.epoch, self.top)


Resumed: TypeAlias = Callable[[Sequence[str]], None]
"""Takes groups of which something may not have come in, since they were subscribed anew."""


class KeepingBackend(Backend):
    """
    A backend whose groups can keep.

    What is appended is delivered as what is published is, with its position:
    ``deliver(group, body, position)``. Offsets of one epoch are contiguous, and are published in
    their order; a subscriber may miss some, and then reads them. What is appended once something
    has come in for the same group comes in behind it, everywhere.
    """

    _resumed: Resumed | None = None
    _interrupted: Resumed | None = None

    def keeping_problems(self) -> Sequence[str]:
        """
        Return what is missing for groups to keep, and what to do, for ``manage.py check``.

        Override it where an engine has to be prepared for it.
        """
        return ()

    def on_resumed(self, resumed: Resumed) -> None:
        """
        Call this, from now on, whenever groups that were subscribed before are subscribed anew.

        Called before ``start()``. What was published in between is then read by the hub.
        """
        self._resumed = resumed

    def resumed(self, groups: Sequence[str]) -> None:
        """Say that these groups are subscribed anew: what came in between may be missing."""
        if self._resumed is not None:
            self._resumed(groups)

    def on_interrupted(self, interrupted: Resumed) -> None:
        """
        Call this, from now on, before groups are subscribed anew; ``resumed()`` comes after that.

        Called before ``start()``. What comes in between is held back until the hub has read.
        """
        self._interrupted = interrupted

    def interrupted(self, groups: Sequence[str]) -> None:
        """
        Say that these groups are about to be subscribed anew, if offsets may mean others then.

        That is so where a server may take over that lagged behind the one before.
        """
        if self._interrupted is not None:
            self._interrupted(groups)

    @abstractmethod
    async def append(self, group: str, body: bytes, keep: Keep, key: str | None) -> Position:
        """
        Number a body, keep it and publish it, as one; return its position.

        A body with a ``key`` that was appended within the group's ``seconds`` is neither kept nor
        published again: the position is that of the first. Raises ``BackendError`` if the engine
        did not take it.
        """

    @abstractmethod
    def append_sync(self, group: str, body: bytes, keep: Keep, key: str | None) -> Position | None:
        """
        Do the same from a thread that has no event loop, as ``publish_sync()``.

        ``None`` where the position is known only later, at the commit of a transaction.
        """

    def is_part_of_transaction(self, using: str) -> bool:
        """
        Return whether ``append_sync()`` in this thread is now a part of the open transaction on a
        database alias: said if that is committed, and never if it is rolled back.

        Override it where it can be; by default it never is. May raise as ``append_sync()`` does.
        """
        return False

    @abstractmethod
    async def read(self, after: Mapping[str, int | None]) -> Mapping[str, Kept | BackendError]:
        """
        Return the history of each group: what is kept after an offset, or with ``None`` only where
        it stands. A group without a history gets one, with an epoch of its own, from which the
        first ``append()`` goes on; if there is none, the engine forgets it after
        ``UNSPOKEN_SECONDS`` without a read.

        Called on the loop of ``start()``. A group that can't be read has a ``BackendError`` in its
        place, so that it delays no other; one that is raised is that of all.
        """

    @abstractmethod
    def read_sync(self, groups: Sequence[str]) -> Mapping[str, Position]:
        """Return where each group stands, from a thread that has no event loop."""
