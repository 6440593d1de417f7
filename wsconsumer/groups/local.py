"""
One group in this process: its members, and the broadcasts on their way to them.

A broadcast goes out on the spot if the loop's budget has room for it. What has no room waits in a
queue, which a task delivers over several turns of the loop. A member without room for a broadcast
holds up those behind it, for at most ``PATIENCE``; then its own outbox decides. Read
``LocalGroup.deliver`` first.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Final, NamedTuple

from ..loops import start_task
from .budget import DELIVERIES, PATIENCE, is_backlog, members_per_turn

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .budget import Budget
    from .envelope import Broadcast
    from .member import Member

BATCH_BYTES: Final = 64 * 1024
"""Bytes after which nothing is added to the broadcasts that go to each member together."""

MAX_QUEUED: Final = 64 * 1024 * 1024
"""Bytes on their way to one group above which no member is waited for."""

_NEVER: Final = float("inf")


class Queued(NamedTuple):
    """A broadcast in the queue: its number, who does not get it, and a future for its delivery."""

    broadcast: Broadcast
    number: int
    sender: Member | None
    delivered: asyncio.Future[None]


class Late(NamedTuple):
    """A member without room, the broadcasts that it has yet to get, and since when it is late."""

    member: Member
    broadcasts: Sequence[Queued]
    since: float


class LocalGroup:
    """
    The members of a group in one event loop.

    A broadcast goes to those who are in the group when it comes, and are still in it when their
    turn comes. Several that wait go together: each member gets all of them before the next member
    does, so that its server can write them at once. ``on_empty`` is called, with the name, when a
    group without members has delivered its last broadcast.
    """

    __slots__ = (
        "_budget",
        "_bytes",
        "_count",
        "_members",
        "_on_empty",
        "_queue",
        "_snapshot",
        "_task",
        "_undelivered",
        "name",
    )

    def __init__(self, name: str, budget: Budget, on_empty: Callable[[str], None]) -> None:
        self.name = name
        self._budget = budget
        self._on_empty = on_empty
        # Each member, and the number of the first broadcast that is for it.
        self._members: dict[Member, int] = {}
        self._snapshot: tuple[Member, ...] | None = ()
        self._count = 0
        self._queue: deque[Queued] = deque()
        self._undelivered = 0
        self._bytes = 0
        self._task: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        return len(self._members)

    def __contains__(self, member: object) -> bool:
        return member in self._members

    def add(self, member: Member) -> None:
        """Let a member in."""
        self._members[member] = self._count
        self._snapshot = None

    def discard(self, member: Member) -> None:
        """Let it go; it gets nothing more, not even what waits here."""
        self._members.pop(member, None)
        self._snapshot = None

    @property
    def is_over(self) -> bool:
        """Whether there is nobody, and nothing on its way."""
        return not self._members and self._task is None

    def deliver(self, broadcast: Broadcast) -> asyncio.Future[None] | None:
        """Deliver to all members, now or soon; return a future if the publisher has to wait."""
        members = self._snapshot
        if members is None:
            members = self._snapshot = tuple(self._members)
        sender = self._sender(broadcast, members) if broadcast.sender_id else None
        self._count += 1
        if self._task is not None or not self._budget.spend(len(members), broadcast.size):
            return self._enqueue(broadcast, sender)
        if sender is not None:
            members = tuple(member for member in members if member is not sender)
        if not broadcast.kind.for_clients:
            members = _handling(broadcast, members)
        late = [member for member in members if member.deliver(broadcast)]
        return self._enqueue_late(broadcast, late) if late else None

    def _sender(self, broadcast: Broadcast, members: Sequence[Member]) -> Member | None:
        """Return the member who does not get its own broadcast, if it is here."""
        return next((member for member in members if member.sender_id == broadcast.sender_id), None)

    def _enqueue(self, broadcast: Broadcast, sender: Member | None) -> asyncio.Future[None] | None:
        queued = self._note(broadcast, sender)
        self._queue.append(queued)
        if self._task is None:
            self._task = start_task(self._deliver_queue())
        return queued.delivered if self._is_backlog else None

    def _enqueue_late(
        self, broadcast: Broadcast, members: list[Member]
    ) -> asyncio.Future[None] | None:
        """Begin a queue behind the members that had no room."""
        queued = self._note(broadcast, None)
        now = asyncio.get_running_loop().time()
        late = [Late(member, [queued], now) for member in members]
        self._task = start_task(self._deliver_queue(late, [queued]))
        return queued.delivered if self._is_backlog else None

    def _note(self, broadcast: Broadcast, sender: Member | None) -> Queued:
        self._undelivered += 1
        self._bytes += broadcast.size
        delivered: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        return Queued(broadcast, self._count - 1, sender, delivered)

    @property
    def _is_backlog(self) -> bool:
        return is_backlog(self._undelivered, self._bytes)

    async def _deliver_queue(self, late: Sequence[Late] = (), batch: Sequence[Queued] = ()) -> None:
        """Deliver until nothing waits; ``late`` are those who have yet to get ``batch``."""
        try:
            await self._catch_up(late)
            self._finish(batch)
            while self._queue:
                batch = self._next_batch()
                await self._catch_up(await self._deliver_batch(batch))
                self._finish(batch)
        finally:
            self._task = None
        if self.is_over:
            self._on_empty(self.name)

    def _next_batch(self) -> list[Queued]:
        """
        Take the next broadcasts that are few and small enough to go together.

        One for handlers goes alone, since it is not for the same members.
        """
        batch = [self._queue.popleft()]
        if not batch[0].broadcast.kind.for_clients:
            return batch
        size = batch[0].broadcast.size
        while self._queue and len(batch) < DELIVERIES:
            if not self._queue[0].broadcast.kind.for_clients:
                break
            size += self._queue[0].broadcast.size
            if size > BATCH_BYTES:
                break
            batch.append(self._queue.popleft())
        return batch

    async def _deliver_batch(self, batch: Sequence[Queued]) -> list[Late]:
        """Hand broadcasts to all members, some in each turn of the loop; return who had no room."""
        late: list[Late] = []
        members = tuple(self._members)
        if not batch[0].broadcast.kind.for_clients:
            members = _handling(batch[0].broadcast, members)
        size = sum(queued.broadcast.size for queued in batch)
        step = members_per_turn(len(batch), size)
        first_for = self._members.get
        for start in range(0, len(members), step):
            for member in members[start : start + step]:
                since = first_for(member, _NEVER)
                # As in _is_for(): one more call for each delivery would cost a fan-out 1 %.
                for broadcast, number, sender, _ in batch:
                    if number >= since and sender is not member and member.deliver(broadcast):
                        rest = [queued for queued in batch if queued.number >= number]
                        late.append(Late(member, rest, asyncio.get_running_loop().time()))
                        break
            await self._budget.next_turn()
        return late

    async def _catch_up(self, late: Sequence[Late]) -> None:
        """Wait until members have room for what they have yet to get, or for long enough."""
        loop = asyncio.get_running_loop()
        for member, broadcasts, since in late:
            for queued in broadcasts:
                while self._is_for(member, queued) and member.deliver(queued.broadcast):
                    patience = PATIENCE if self._bytes <= MAX_QUEUED else 0
                    await member.wait_for_room(since + patience)
                since = loop.time()  # each broadcast has its own time

    def _is_for(self, member: Member, queued: Queued) -> bool:
        """Whether it is in the group since before the broadcast, which is not its own."""
        since = self._members.get(member, _NEVER)
        return queued.number >= since and queued.sender is not member

    def _finish(self, batch: Sequence[Queued]) -> None:
        for queued in batch:
            self._undelivered -= 1
            self._bytes -= queued.broadcast.size
            queued.delivered.set_result(None)


def _handling(broadcast: Broadcast, members: Sequence[Member]) -> tuple[Member, ...]:
    """Return the members with a handler for a broadcast that is for no client."""
    return tuple(member for member in members if member.handles(broadcast))
