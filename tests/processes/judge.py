"""
Whether groups kept what they promise, judged by what clients saw.

Give the judge each client's log and all that was published; ``verdict()`` finds what came twice,
out of order, to one who was no member, or not at all.
"""

from __future__ import annotations

import json
from bisect import bisect_left
from collections import Counter, defaultdict
from contextlib import suppress
from dataclasses import dataclass, field, fields
from math import inf
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.processes.client import Client, Entry


UNKNOWN: Final = "unknown"
"""The error of a publish whose publisher was gone before it could be told."""


class Key(NamedTuple):
    """What every message carries: it is like no other."""

    by: str
    group: str
    number: int


class Published(NamedTuple):
    """A message that was published, between two times; ``error`` if the publisher got one."""

    key: Key
    began: float
    ended: float
    error: str | None


class Publisher:
    """Numbers one publisher's messages to each group."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._numbers: Counter[str] = Counter()

    def message(self, group: str, size: int = 0) -> tuple[str, Any]:
        """Return the next message to a group, with about so many bytes besides."""
        number = self._numbers[group]
        self._numbers[group] += 1
        return group, {"by": self.name, "group": group, "number": number, "size": size,
                       "filler": filler(number, size)}  # fmt: skip


def filler(number: int, size: int) -> str:
    """Return what makes a message large; each has its own."""
    return f"{number} é🙂 " * (size // 10)


def read(message: str | bytes) -> Key:
    """Read a message that came; it must be whole."""
    found = json.loads(message)
    assert found["filler"] == filler(found["number"], found["size"]), "it did not come whole"
    return Key(found["by"], found["group"], found["number"])


@dataclass
class Membership:
    """
    A client in a group, from the answer to its join.

    ``until`` is when it had to get all that was published by then: never ending, or for one that
    left, the beginning of the last publish that it got. What came in to its process later may have
    met its leaving.
    """

    group: str
    since: float
    until: float
    came: set[Key]


@dataclass
class Verdict:
    """Counts, and of each kind of violation what it was."""

    clients: int = 0
    joins: int = 0
    published: int = 0
    backend_errors: int = 0
    backend_errors_outside_outages: int = 0
    deliveries: int = 0
    owed: int = 0
    duplicates: list[str] = field(default_factory=list)
    misorders: list[str] = field(default_factory=list)
    strays: list[str] = field(default_factory=list)
    losses: list[str] = field(default_factory=list)
    died: list[str] = field(default_factory=list)

    @property
    def violations(self) -> list[str]:
        """All of them."""
        return [*self.duplicates, *self.misorders, *self.strays, *self.losses, *self.died]

    def __str__(self) -> str:
        counts = ((one.name, getattr(self, one.name)) for one in fields(self))
        return ", ".join(
            f"{name.replace('_', ' ')} {len(count) if isinstance(count, list) else count}"
            for name, count in counts
        )


class Judge:
    """
    Takes what happened, and gives the verdict.

    ``lag`` is how many seconds later than others' a message may arrive, for those who are leaving.
    """

    def __init__(self, lag: float = 0.0) -> None:
        self._lag = lag
        self.outages: list[tuple[float, float]] = []
        """Times between which messages may be lost."""
        self._verdict = Verdict()
        self._published: dict[Key, Published] = {}
        self._memberships: list[tuple[str, Membership]] = []

    def publish(
        self, messages: Sequence[tuple[str, Any]], began: float, ended: float, errors: Sequence[Any]
    ) -> None:
        """Take what a publisher published at once."""
        for (group, data), error in zip(messages, errors, strict=True):
            key = Key(data["by"], group, data["number"])
            self._published[key] = Published(key, began, ended, error)

    def verdict(self, logs: dict[str, tuple[Sequence[Entry], bool]]) -> Verdict:
        """Judge the clients' logs; with each, whether the client is still there."""
        published = self._published.values()
        failed = [one for one in published if one.error is not None and one.error != UNKNOWN]
        self._verdict = Verdict(
            clients=len(logs),
            published=len(published),
            backend_errors=len(failed),
            backend_errors_outside_outages=sum(not self._is_out(one) for one in failed),
        )
        self._memberships = []
        for name, (log, is_open) in logs.items():
            self._read(name, log, is_open)
        for name, membership in self._memberships:
            for one in self._owed(membership):
                self._verdict.owed += 1
                if one.key not in membership.came:
                    times = f"published {one.began:.3f} to {one.ended:.3f}"
                    self._verdict.losses.append(f"{name} lost {one.key}, {times}")
        return self._verdict

    def owed(self, log: Sequence[Entry]) -> set[Key]:
        """Return what a client that is still there must get, and has not got yet."""
        self._memberships = []
        self._read("", log, is_open=True)
        return {
            one.key
            for _, membership in self._memberships
            for one in self._owed(membership)
            if one.key not in membership.came
        }

    async def satisfied(self, client: Client) -> None:
        """Wait until a client has got what it is owed, but not longer than anything may take."""
        owed = self.owed(client.log)
        seen = len(client.log)

        def is_paid() -> bool:
            nonlocal seen
            new, seen = client.log[seen:], len(client.log)
            owed.difference_update(read(data) for _, what, data in new if what == "came")
            return not owed

        with suppress(AssertionError):  # the verdict tells
            await client.until(is_paid, "what it is owed")

    def _read(self, name: str, log: Sequence[Entry], is_open: bool) -> None:
        open_memberships: dict[str, Membership] = {}
        last: dict[tuple[str, str], int] = {}
        seen: set[Key] = set()
        for at, what, data in log:
            if what == "came":
                key = read(data)
                self._came(name, key, seen, last, open_memberships.get(key.group))
            elif what == "join":
                open_memberships[data] = Membership(data, inf, inf, set())
            elif what == "joined":
                self._verdict.joins += 1
                open_memberships[data].since = at
            elif what == "left":
                self._memberships.append((name, self._ended(open_memberships.pop(data))))
        for membership in open_memberships.values():
            one = membership if is_open else self._ended(membership)
            self._memberships.append((name, one))

    def _came(
        self,
        name: str,
        key: Key,
        seen: set[Key],
        last: dict[tuple[str, str], int],
        membership: Membership | None,
    ) -> None:
        self._verdict.deliveries += 1
        if membership is None:
            self._verdict.strays.append(f"{name} is no member, and got {key}")
        else:
            membership.came.add(key)
        if key in seen:
            self._verdict.duplicates.append(f"{name} got {key} twice")
        elif key.number < last.get((key.by, key.group), -1):
            self._verdict.misorders.append(f"{name} got {key} after later ones")
        seen.add(key)
        last[key.by, key.group] = key.number

    def _ended(self, membership: Membership) -> Membership:
        came = (self._published[key].began for key in membership.came if key in self._published)
        membership.until = max(came, default=-inf) - self._lag
        return membership

    def _owed(self, membership: Membership) -> Iterator[Published]:
        published = self._by_group()[membership.group]
        start = bisect_left(published, membership.since, key=lambda one: one.began)
        for one in published[start:]:
            if one.began >= membership.until:
                break
            if one.ended <= membership.until and one.error is None and not self._is_out(one):
                yield one

    def _is_out(self, one: Published) -> bool:
        return any(one.ended >= start and one.began <= end for start, end in self.outages)

    def _by_group(self) -> dict[str, list[Published]]:
        if self._sorted_of != len(self._published):
            self._sorted_of = len(self._published)
            self._sorted = defaultdict(list)
            for one in sorted(self._published.values(), key=lambda one: one.began):
                self._sorted[one.key.group].append(one)
        return self._sorted

    _sorted_of = -1
    _sorted: defaultdict[str, list[Published]]
