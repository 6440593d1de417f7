"""
The hub of an event loop: who is in which group in this process, and fan-out to them.

Each broadcast is read once, and handed to the members in turn; what is a lot of work goes on over
several turns of the loop. Read ``Group`` first. The backend only carries bodies between processes;
its subscriptions are counted here, one per group.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections import deque
from contextvars import Context
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from ..counters import counters
from ..exceptions import TooManyGroups
from ..loops import PerLoop
from .envelope import Broadcast, encode
from .listeners import tell
from .loading import make_backend
from .names import check_group

if TYPE_CHECKING:
    from .base import Backend
    from .member import Member

logger = logging.getLogger("wsconsumer.groups")

CHUNK: Final = 512
"""Deliveries that are made in one turn of the event loop, before others get theirs."""


BACKLOG: Final = 16
"""Broadcasts to one group that may be on their way before publishers have to wait."""


class Waiting(NamedTuple):
    """A broadcast that waits to be delivered, to whom, and a future for when it is."""

    broadcast: Broadcast
    members: tuple[Member, ...]
    delivered: asyncio.Future[None]


class Group:
    """
    The members in this process, and the broadcasts that are on their way to them.

    A broadcast goes to those who are in the group when it comes, whoever leaves or joins later.
    Several that wait go together: each member gets all of them before the next member does, so
    that its server can write them at once.
    """

    __slots__ = ("_batch", "_hub", "_members", "_position", "_snapshot", "_waiting", "name")

    def __init__(self, name: str, hub: Hub) -> None:
        self.name = name
        self._hub = hub
        self._members: dict[Member, None] = {}
        self._snapshot: tuple[Member, ...] | None = ()
        self._waiting: deque[Waiting] = deque()
        self._batch: list[Waiting] = []
        self._position = 0

    def __len__(self) -> int:
        return len(self._members)

    def add(self, member: Member) -> None:
        """Let a member in."""
        self._members[member] = None
        self._snapshot = None

    def discard(self, member: Member) -> None:
        """Let it go; what was broadcast before still gets to it."""
        self._members.pop(member, None)
        self._snapshot = None

    @property
    def is_over(self) -> bool:
        """Whether there is nobody, and nothing on its way."""
        return not (self._members or self._batch or self._waiting)

    @property
    def last(self) -> asyncio.Future[None] | None:
        """A future for the delivery of all that is on its way, if anything is."""
        if self._waiting:
            return self._waiting[-1].delivered
        return self._batch[-1].delivered if self._batch else None

    def deliver(self, broadcast: Broadcast) -> asyncio.Future[None] | None:
        """Deliver to all members, now or soon; return a future if the publisher has to wait."""
        members = self._snapshot
        if members is None:
            members = self._snapshot = tuple(self._members)
        if broadcast.token:
            members = tuple(member for member in members if member.token != broadcast.token)
        if not self._batch and not self._waiting and self._hub.spend(len(members)):
            for member in members:
                member.deliver(broadcast)
            return None
        loop = asyncio.get_running_loop()
        if not self._batch and not self._waiting:
            loop.call_soon(self._turn, loop)
        delivered: asyncio.Future[None] = loop.create_future()
        self._waiting.append(Waiting(broadcast, members, delivered))
        return delivered if len(self._batch) + len(self._waiting) > BACKLOG else None

    def _turn(self, loop: asyncio.AbstractEventLoop) -> None:
        """Deliver what one turn of the loop has room for."""
        batch = self._batch
        if not batch:
            batch = self._batch = self._take()
        members = batch[0].members
        broadcasts = [waiting.broadcast for waiting in batch]
        start = self._position
        self._position = start + CHUNK // len(batch)
        for member in members[start : self._position]:
            for broadcast in broadcasts:
                member.deliver(broadcast)
        self._hub.earn()
        if self._position >= len(members):
            self._finish(batch)
        if self._batch or self._waiting:
            loop.call_soon(self._turn, loop)
        elif not self._members:
            self._hub.forget(self.name)

    def _finish(self, batch: list[Waiting]) -> None:
        self._position = 0
        self._batch = []
        for waiting in batch:
            if not waiting.delivered.done():
                waiting.delivered.set_result(None)

    def _take(self) -> list[Waiting]:
        """Take the broadcasts that wait for the same members."""
        batch = [self._waiting.popleft()]
        while self._waiting and self._waiting[0].members is batch[0].members and len(batch) < CHUNK:
            batch.append(self._waiting.popleft())
        return batch


class Hub:
    """The groups of one event loop. Get it from ``hub()``."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._groups: dict[str, Group] = {}
        self._credit = CHUNK
        self._subscriptions = Subscriptions(self._groups, backend, self.deliver)

    @property
    def is_started(self) -> bool:
        """Whether the backend carries for this loop: some connection joined or broadcast here."""
        return self._subscriptions.is_started

    def size(self, name: str) -> int:
        """Return how many members a group has in this event loop."""
        group = self._groups.get(name)
        return 0 if group is None else len(group)

    async def join(self, member: Member, name: str, limit: int) -> None:
        """Let a member in; return when it will get what is broadcast from now on."""
        check_group(name)
        if name in member.groups:
            return
        member.connection.check_joinable()
        if len(member.groups) >= limit:
            raise TooManyGroups(
                f"{member.connection.owner}.join({name!r}) is one too many: max_groups allows "
                f"{limit}. Leave one first, or set a higher max_groups on the class."
            )
        member.groups[name] = None
        group = self._groups.get(name)
        if group is None:
            group = self._groups[name] = Group(name, self)
        group.add(member)
        try:
            await self._subscriptions.settle(name)
        except BaseException:
            self._remove(member, name)
            raise

    async def leave(self, member: Member, name: str) -> None:
        """Let it go; return when it will get no more of the group."""
        check_group(name)
        if name not in member.groups:
            return
        last = self._groups[name].last
        self._remove(member, name)
        if last is not None:
            await asyncio.shield(last)

    def drop(self, member: Member) -> None:
        """Take a member whose connection has ended out of all its groups."""
        for name in tuple(member.groups):
            self._remove(member, name)

    def _remove(self, member: Member, name: str) -> None:
        if member.groups.pop(name, name) is None:
            self._groups[name].discard(member)
            self.forget(name)

    def forget(self, name: str) -> None:
        """Forget a group that has neither members nor anything on its way."""
        if self._groups[name].is_over:
            del self._groups[name]
            self._subscriptions.end(name)

    async def publish(self, name: str, data: Any, token: bytes = b"") -> None:
        """Broadcast to a group; ``token`` is that of a member who shall not get it."""
        check_group(name)
        body = encode(data, token)
        tell(name, data)
        if not self._subscriptions.is_started:
            await self._subscriptions.settle(None)
        await self._backend.publish(name, body)

    async def deliver(self, name: str, body: bytes) -> None:
        """Hand a body that came in to the group's members here."""
        group = self._groups.get(name)
        if group is None:
            return
        try:
            broadcast = Broadcast.decode(name, body)
        except ValueError as error:
            refuse(name, error)
            return
        delivered = group.deliver(broadcast)
        if delivered is not None:
            # Members that leave wait for it too: a publisher that gives up cancels only itself.
            await asyncio.shield(delivered)

    def spend(self, deliveries: int) -> bool:
        """Tell whether so many deliveries may be made at once, and count them if so."""
        if deliveries > self._credit:
            return False
        self._credit -= deliveries
        return True

    def earn(self) -> None:
        """The loop has had a turn."""
        self._credit = CHUNK

    async def aclose(self) -> None:
        """End the backend; the hub is of no more use."""
        await self._subscriptions.aclose()


class Subscriptions:
    """
    Brings what the backend subscribes to together with the groups that there are.

    One task does so while there is anything to do; what happens meanwhile is the next batch.
    """

    def __init__(self, groups: dict[str, Group], backend: Backend, deliver: Any) -> None:
        self.is_started = False
        self._groups = groups
        self._backend = backend
        self._deliver = deliver
        self._subscribed: set[str] = set()
        self._changed: dict[str, None] = {}
        self._settled: asyncio.Future[None] | None = None
        self._task: asyncio.Task[None] | None = None

    async def settle(self, name: str | None) -> None:
        """Return when the backend is started, and has subscribed to this group if it needs to."""
        if self.is_started and not self._backend.needs_subscriptions:
            return
        if self.is_started and name in self._subscribed and name not in self._changed:
            return
        await asyncio.shield(self._change(name))

    def end(self, name: str) -> None:
        """Unsubscribe, soon, unless the group is back by then."""
        if self._backend.needs_subscriptions:
            self._change(name)

    def _change(self, name: str | None) -> asyncio.Future[None]:
        if name is not None:
            self._changed[name] = None
        if self._settled is None:
            self._settled = asyncio.get_running_loop().create_future()
        if self._task is None:
            # What the backend starts belongs to no connection, so it has the context of none.
            self._task = asyncio.create_task(self._settle(), context=Context())
        return self._settled

    async def _settle(self) -> None:
        try:
            while self._settled is not None:
                changed, settled = self._changed, self._settled
                self._changed, self._settled = {}, None
                try:
                    await self._apply(changed)
                except Exception as error:
                    logger.exception("The backend of groups failed.")
                    settled.set_exception(error)
                    settled.exception()  # it was logged, whether anybody waits or not
                else:
                    settled.set_result(None)
        finally:
            self._task = None

    async def _apply(self, changed: dict[str, None]) -> None:
        if not self.is_started:
            await self._backend.start(self._deliver)
            self.is_started = True
        joined = [n for n in changed if n in self._groups and n not in self._subscribed]
        if joined and self._backend.needs_subscriptions:
            await self._backend.subscribe(joined)
            self._subscribed.update(joined)
        # Only now: one of them may have been joined again meanwhile.
        left = [n for n in changed if n not in self._groups and n in self._subscribed]
        if left:
            # First, so that whoever joins meanwhile has them subscribed anew.
            self._subscribed.difference_update(left)
            await self._backend.unsubscribe(left)

    async def aclose(self) -> None:
        """Finish what is being done, and end the backend."""
        if self._task is not None:
            await self._task
        if self.is_started:
            self.is_started = False
            await self._backend.aclose()


_hubs = PerLoop(lambda: Hub(make_backend()))


def hub() -> Hub:
    """Return the hub of the running event loop."""
    return _hubs.get()


def started_hub() -> Hub | None:
    """Return it if its backend carries for this loop already."""
    found = _hubs.peek()
    return found if found is not None and found.is_started else None


async def close_hub() -> None:
    """End the hub of the running event loop, if there is one."""
    found = _hubs.pop()
    if found is not None:
        await found.aclose()


def refuse(name: str, error: Exception) -> None:
    """Count and log what came from the bus and can't be read."""
    counters["body_refused"] += 1
    logger.warning("Refused what came for the group %r: %s.", name, error)


def new_token() -> bytes:
    """Return a name for a connection that no other has, in any process."""
    return secrets.token_bytes(12)
