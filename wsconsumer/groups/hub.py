"""
The hub of an event loop: who is in which group in this process.

Joining, leaving, and what comes in for a group all go through here. ``local.py`` is one group and
its fan-out, ``subscriptions.py`` what the backend is asked to carry, ``budget.py`` how much one
turn of the loop delivers.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Any

from ..counters import counters
from ..escaping import quote
from ..exceptions import TooManyGroups
from ..loops import PerLoop, at_end
from .budget import PATIENCE, Budget
from .declared import kept
from .envelope import Broadcast, log_malformed
from .framed import LOST
from .holes import Holes
from .keeping import KeepingBackend
from .kept import SPREAD, KeptGroup
from .loading import add_started, current_groups, discard_started, make_backend
from .local import LocalGroup
from .member import hearing_member
from .names import check_group
from .publication import Publication, keeping
from .readings import Readings
from .registry import Registry
from .reloads import Reloads
from .subscriptions import Subscriptions

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .base import Backend, Position
    from .member import Member


class Hub:
    """The groups of one event loop. Get it from ``hub()``."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._budget = Budget()
        self._groups: dict[str, LocalGroup] = {}
        self._heard: dict[str, Callable[[bytes], None]] = {}
        self._joining: Counter[tuple[Member, str]] = Counter()
        self._subscriptions = Subscriptions(
            backend,
            self.deliver,
            is_wanted=lambda name: name in self._groups or name in self._heard,
            on_start=lambda: add_started(backend),
        )
        self._readings: Readings | None = None
        self._holes: Holes | None = None
        self._reloads = Reloads()
        self._registry: Registry | None = None
        if isinstance(backend, KeepingBackend):
            backend.on_interrupted(self._on_interrupted)
            backend.on_resumed(self._on_resumed)

    @property
    def is_started(self) -> bool:
        """Whether the backend carries for this loop: some connection joined or broadcast here."""
        return self._subscriptions.is_started

    @property
    def is_local(self) -> bool:
        """Whether the backend carries within this process only."""
        return self._backend.is_local

    def size(self, name: str) -> int:
        """Return how many members a group has in this event loop."""
        group = self._groups.get(name)
        return 0 if group is None else len(group)

    async def join(self, member: Member, name: str, limit: int, at: Position | None = None) -> None:
        """
        Let a member in; return when it will get what is broadcast from now on.

        In a group that keeps, from a position ``at`` on, if it names one.
        """
        check_group(name)
        if name not in member.groups:
            self._add(member, name, limit)
        # A second join waits as well, and one that fails leaves the membership to the others.
        joining = (member, name)
        self._joining[joining] += 1
        is_joined = False
        try:
            await self._subscriptions.subscribe(name)
            group = self._groups.get(name)
            if isinstance(group, KeptGroup):
                await group.enter(member, at)
            elif at is not None and at.epoch:
                # It counted elsewhere, where the group keeps, and here nobody does.
                counters["recovery_failed"] += 1
                seconds = self._reloads.spread(1, SPREAD)
                member.tell(name, LOST, is_reload=True, seconds=seconds)
            is_joined = True
        finally:
            self._joining[joining] -= 1
            if not self._joining[joining]:
                del self._joining[joining]
                if not is_joined:
                    self._remove(member, name)

    async def leave(self, member: Member, name: str) -> None:
        """Let it go; return when it gets no more of the group, and nothing of it is handled."""
        check_group(name)
        self._remove(member, name)
        await member.forget(name)

    def drop(self, member: Member) -> None:
        """Take a member whose connection has ended out of all its groups."""
        for name in tuple(member.groups):
            self._remove(member, name)

    async def publish(
        self, name: str, data: Any, *, without: Member | None = None, key: str | None = None
    ) -> None:
        """Broadcast to a group; the member ``without``, if any, does not get it."""
        sender_id = b"" if without is None else without.identify()
        publication = Publication.of(name, data, sender_id, key=key)
        publication.announce()
        if not self.is_started:
            await self._subscriptions.start()
        await publication.publish(self._backend)

    def registry(self) -> Registry:
        """Return the entry of this event loop among the processes of the project."""
        if self._registry is None:
            self._registry = Registry(self._backend, self._subscriptions.start)
        return self._registry

    def listen(self, name: str, heard: Callable[[bytes], None]) -> None:
        """
        Have what is told under a name of ours heard, for as long as the hub is there.

        It returns at once; the backend is started, and subscribes, as soon as it can.
        """
        self._heard[name] = heard
        self._subscriptions.want(name)

    async def hear(self, name: str, heard: Callable[[bytes], None]) -> None:
        """Do the same, and return when what is told from now on is heard."""
        self._heard[name] = heard
        await self._subscriptions.subscribe(name)

    def hush(self, name: str) -> None:
        """Have what is told under a name heard no more."""
        del self._heard[name]
        if self.is_started:  # it may have been closed
            self._subscriptions.unsubscribe(name)

    async def tell(self, name: str, body: bytes) -> None:
        """Publish a body to those that listen; the backend is started."""
        await self._backend.publish(name, body)

    async def deliver(self, name: str, body: bytes, position: Position | None = None) -> None:
        """
        Hand what came in to the group's members here.

        Returns when more may come, so that whoever publishes faster than the members are reached
        is slowed, for a bounded time. A ``group_message()`` that broadcasts to its own group does
        not wait: it would wait for itself.
        """
        group = self._groups.get(name)
        if group is None:
            if name in self._heard:
                self._heard[name](body)
            return
        delivered: asyncio.Future[None] | None
        keeper = group if isinstance(group, KeptGroup) else None
        try:
            # Where nobody counts, since another process alone knows that the group keeps, no client
            # may seem to have come that far.
            broadcast = Broadcast.decode(name, body, None if keeper is None else position)
        except ValueError as error:
            log_malformed(name, error)
            delivered = None if keeper is None else keeper.take_unreadable(position)
        else:
            if keeper is None:
                delivered = group.deliver(broadcast)
            elif position is None:
                delivered = keeper.take_unnumbered(broadcast)
            else:
                delivered = keeper.take(broadcast)
        if delivered is not None and hearing_member() not in group:
            await asyncio.wait({delivered}, timeout=PATIENCE)

    def _add(self, member: Member, name: str, limit: int) -> None:
        member.connection.check_joinable()
        if len(member.groups) >= limit:
            raise TooManyGroups(
                f"{member.connection.owner}.join({quote(name)}) is one too many: max_groups allows "
                f"{limit}. Leave one first, or set a higher max_groups on the class."
            )
        member.groups[name] = None
        group = self._groups.get(name)
        if group is None:
            group = self._groups[name] = self._make_group(name)
        group.add(member)

    def _make_group(self, name: str) -> LocalGroup:
        kind = kept(name)
        if kind is None or not kind.resume:
            return LocalGroup(name, self._budget, self._forget)
        if self._readings is None or self._holes is None:
            backend = keeping(self._backend)
            self._readings = Readings(backend)
            self._holes = Holes(backend, self._groups.__contains__)
        group = KeptGroup(
            name,
            self._budget,
            self._forget,
            kind.keep,
            self._readings,
            self._holes,
            self._reloads,
        )
        group.begin()
        return group

    def _on_interrupted(self, names: Sequence[str]) -> None:
        """Trust nothing that comes of these groups until their histories were read."""
        for group in self._kept(names):
            group.doubt()

    def _on_resumed(self, names: Sequence[str]) -> None:
        """Look for what was missed while these groups were not subscribed."""
        for group in self._kept(names):
            group.doubt()
            group.resubscribed()

    def _kept(self, names: Sequence[str]) -> list[KeptGroup]:
        found = (self._groups.get(name) for name in names)
        return [group for group in found if isinstance(group, KeptGroup)]

    def _remove(self, member: Member, name: str) -> None:
        if name in member.groups:
            del member.groups[name]
            if name in self._groups:
                self._groups[name].discard(member)
                self._forget(name)

    def _forget(self, name: str) -> None:
        """Forget a group that has neither members nor anything on its way."""
        if self._groups[name].is_over:
            group = self._groups.pop(name)
            if isinstance(group, KeptGroup):
                group.end()
            self._subscriptions.unsubscribe(name)

    async def aclose(self) -> None:
        """Close the backend; the hub can't be used any more."""
        discard_started(self._backend)
        if self._registry is not None:
            await self._registry.aclose()
        if self._readings is not None and self._holes is not None:
            await self._readings.aclose()
            await self._holes.aclose()
        await self._subscriptions.aclose()


_hubs = PerLoop(lambda: Hub(make_backend(current_groups())))


def hub() -> Hub:
    """Return the hub of the running event loop."""
    return _hubs.get()


def started_hub() -> Hub | None:
    """Return the hub of the running event loop if its backend carries already."""
    found = _hubs.peek()
    return found if found is not None and found.is_started else None


@at_end
async def close_hub() -> None:
    """Close the hub of the running event loop, if there is one."""
    found = _hubs.pop()
    if found is not None:
        await found.aclose()


def exchange_hub(other: Hub | None) -> Hub | None:
    """Give the running event loop another hub, ``None`` for a new one, and return the old one."""
    found = _hubs.pop()
    if other is not None:
        _hubs.put(other)
    return found
