"""
The contract of a backend that knows the processes of a project, and counts what they have.

Each process holds one lease, by the engine's clock. What it has, it counts by keys; the counts of
a process whose lease has lapsed count no more. So nobody has to clean up after a process that was
killed. The engine may lose everything at any time: a process that finds its lease gone begins
anew, under another name, and says again what it has. Read ``registry.py`` for who does that.
Subclass ``LeasingBackend``, and run ``wsconsumer.test.LeasingContract`` against it.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple, TypeAlias

from .base import Backend

TOLD_FOR: Final = 600
"""Seconds for which each beat tells of a process that has lapsed."""

FORGOTTEN_AFTER: Final = 1800
"""Seconds after which an engine may forget a count that was not written again."""

Entry: TypeAlias = Sequence[tuple[str, int]]
"""Keys of which somebody who comes wants one more each, with the limit of each."""


class Beat(NamedTuple):
    """
    What the engine knows of the processes.

    ``is_held``: whether the lease was there to be extended. ``lapsed``: the processes whose lease
    has lapsed within the last ``TOLD_FOR`` seconds, those that left not among them.
    """

    is_held: bool
    lapsed: Sequence[str]


class LeasingBackend(Backend):
    """
    A backend that holds leases of processes, and their counts by key.

    A process is named by a ``str`` that no other process ever had, nor it itself before a lapse. A
    key is a ``str``. All of it is that of the ``prefix``, and is called on the loop of ``start()``,
    for one process in one call after the other. Each raises ``BackendError`` if the engine did not
    answer; nobody knows then whether it has done what it was asked for.
    """

    def leasing_problems(self) -> Sequence[str]:
        """
        Return what is missing to hold leases, and what to do, for ``manage.py check``.

        Override it where an engine has to be prepared for it.
        """
        return ()

    @abstractmethod
    async def begin(self, process: str, seconds: float) -> None:
        """Give a process a lease for so many seconds from now."""

    @abstractmethod
    async def beat(self, process: str, seconds: float) -> Beat:
        """
        Extend a lease, to so many seconds from now; one that is not there, or has lapsed, is not.

        Return what is known of the processes. At most 1,000 that have lapsed are told at once.
        """

    @abstractmethod
    async def admit(
        self, process: str, counts: Mapping[str, int], entries: Sequence[Entry]
    ) -> Sequence[bool] | None:
        """
        Write how many of some keys a process has, then let in who comes, in order.

        ``counts`` are absolute, and 0 is none. An entry is let in if, for each of its keys, all
        processes with a lease together have fewer than its limit: then the process has one more of
        each, else nothing changes. No two calls, wherever they come from, let in too many together.
        Return for each whether it was let in; or ``None``, and do nothing, if the process has no
        lease.
        """

    @abstractmethod
    async def counted(self, keys: Sequence[str]) -> Mapping[str, Mapping[str, int]]:
        """Return which processes with a lease have how many of each key, without those of none."""

    @abstractmethod
    async def leave(self, process: str) -> None:
        """End a lease, if it is there, and with it all that the process has; tell nobody."""
