"""
A group that keeps, in this process: where its history stands here, and how a gap is closed.

The cursor is the group's, not each member's: what was lost on the way from the engine is read once,
and goes to all members as if it had just come. Read ``KeptGroup.take`` first. Three things make the
order hold: only the next offset, or a read that goes on without a gap, moves the cursor; nothing is
awaited between what a member missed and what it gets live; and only the same epoch is resumed.
What somebody said without a number is a hole: see ``holes.py``.
"""

from __future__ import annotations

import asyncio
from collections import deque
from itertools import islice
from math import inf
from typing import TYPE_CHECKING, Final

from ..counters import counters
from .base import Position
from .budget import BYTES, DELIVERIES
from .envelope import HOLE, Broadcast, log_malformed
from .local import LocalGroup

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .budget import Budget
    from .holes import Holes
    from .keeping import Keep, Kept
    from .member import Member
    from .readings import Readings
    from .reloads import Reloads

JOIN_TIMEOUT: Final = 5.0
"""Seconds that a join waits to learn where the group stands, if the engine does not say."""

MAX_DURING: Final = 1_000
"""Broadcasts that come while the history is read, before they are left to another read."""


SURE_AFTER: Final = 10.0
"""
Seconds after which a process that hears a group without a break has heard what a hole stands for.

Holes are left within a second, unless the engine was away.
"""

SPREAD: Final = 10
"""
Seconds over which clients spread a reload for a hole, at least.

Until the process that makes them is replaced there may be one after the other.
"""


class KeptGroup(LocalGroup):
    """
    A group whose broadcasts have positions.

    Members are in it once they were told where they are: see ``enter``. The cursor, ``_epoch`` and
    ``_top``, is unknown until the history was read for the first time.
    """

    __slots__ = (
        "_during",
        "_entering",
        "_epoch",
        "_heard_at",
        "_holes",
        "_is_deep",
        "_is_deep_wanted",
        "_is_doubtful",
        "_keep",
        "_overflowed",
        "_readings",
        "_reads_deep",
        "_recent",
        "_reloads",
        "_settles",
        "_spread_until",
        "_sure_at",
        "_top",
    )

    def __init__(
        self,
        name: str,
        budget: Budget,
        on_empty: Callable[[str], None],
        keep: Keep,
        readings: Readings,
        holes: Holes,
        reloads: Reloads,
    ) -> None:
        super().__init__(name, budget, on_empty)
        self._keep = keep
        self._readings = readings
        self._holes = holes
        self._reloads = reloads
        self._entering: dict[Member, None] = {}
        self._epoch = ""
        self._top = 0
        self._recent: deque[Broadcast] = deque(maxlen=keep.size)
        # Whether all that is kept is here, is to be read, is being read.
        self._is_deep = self._is_deep_wanted = self._reads_deep = False
        # What comes while the history is read, in order; None at other times.
        self._during: list[Broadcast] | None = None
        # Whether it takes a read to tell if what comes is next: one yet to begin, or the one begun.
        self._is_doubtful = self._settles = False
        self._overflowed = False
        # When something came last without a number, and since when nothing was missed of such.
        self._heard_at = -inf
        self._sure_at = self._now() + SURE_AFTER
        self._spread_until = 0.0

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()

    # Who is in it.

    def add(self, member: Member) -> None:
        """Keep a place for a member, until ``enter`` lets it in."""
        self._entering[member] = None

    def discard(self, member: Member) -> None:
        """Let it go, wherever it is."""
        self._entering.pop(member, None)
        super().discard(member)

    def begin(self) -> None:
        """Have it looked after."""
        self._readings.watch(self)

    def end(self) -> None:
        """Look after it no more: nobody is in it."""
        self._readings.forget(self)
        self._holes.forget(self.name)

    @property
    def is_over(self) -> bool:
        """Whether there is nobody, on the way in either, and nothing on its way."""
        return not self._entering and super().is_over

    async def enter(self, member: Member, at: Position | None) -> None:
        """
        Let a member in that has seen everything up to ``at``, or that wants to begin now.

        The group was subscribed before, so that nothing is lost between reading and hearing.
        """
        if not self._is_told(at):
            # More than is here, or less: another process may have heard what was lost on the way.
            if at is not None and not self._is_deep:
                self._is_deep_wanted = True
            reading = self._readings.read(self)
            await asyncio.wait({reading}, timeout=JOIN_TIMEOUT)
        if at is not None:
            async with self._readings.turn:
                await self._wait_for_budget(at)
                self._let_in(member, at)
        else:
            self._let_in(member, at)

    async def _wait_for_budget(self, at: Position) -> None:
        """Return in a turn of the loop that has room for what was missed."""
        while True:
            missed = self._missed(at)
            count = min(max(1, len(missed)), DELIVERIES)
            size = sum(broadcast.size for broadcast in missed)
            if self._budget.spend(count, min(size, BYTES) // count):
                return
            await self._budget.next_turn()

    def _let_in(self, member: Member, at: Position | None) -> None:
        # Nothing is awaited here: what comes next comes right after what was missed.
        if member not in self._entering:
            return
        del self._entering[member]
        if self._epoch:
            self._greet(member, at)
        super().add(member)

    def _is_told(self, at: Position | None) -> bool:
        """Whether nothing has to be read to tell a member where it is, or that it must reload."""
        if not self._epoch or at is None:
            return bool(self._epoch)
        is_too_old = self._is_deep and at.offset <= self._top
        return at.epoch != self._epoch or is_too_old or self._is_whole(at)

    @property
    def _first(self) -> int:
        """The offset of the first broadcast that is here; that of the next one if none is."""
        return self._top + 1 - len(self._recent)

    def _greet(self, member: Member, at: Position | None) -> None:
        """Tell a member where it is, and hand over what it missed."""
        here = Position(self._epoch, self._top)
        if at is None:
            member.tell(self.name, here, is_reload=False)
        elif not self._is_whole(at):
            counters["recovery_failed"] += 1
            member.tell(self.name, here, is_reload=True, seconds=self._spread(1))
        else:
            member.tell(self.name, at, is_reload=False)
            for broadcast in self._missed(at):
                if broadcast.kind.for_clients or member.handles(broadcast):
                    member.hand_over(broadcast)

    def _is_whole(self, at: Position) -> bool:
        """Whether everything after a position is here."""
        if at.epoch != self._epoch or not self._first - 1 <= at.offset <= self._top:
            return False
        return not self._holes.owes(self.name, Position(self._epoch, self._top))

    def _missed(self, at: Position) -> list[Broadcast]:
        if not self._is_whole(at):
            return []
        return list(islice(self._recent, at.offset + 1 - self._first, None))

    def _sender(self, broadcast: Broadcast, members: Sequence[Member]) -> Member | None:
        """Return the member who gets nothing for its own broadcast, if it is here."""
        sender = super()._sender(broadcast, members)
        if sender is None or broadcast.position is None:
            return sender
        return None if sender.counts_its_own else sender

    # What comes in.

    def take(self, broadcast: Broadcast, *, is_live: bool = True) -> asyncio.Future[None] | None:
        """
        Take what came from the engine: deliver the next one, and close a gap before others.

        What ``is_live`` comes in its turn, behind all that came before it with and without a
        number.
        """
        position = broadcast.position
        assert position is not None  # noqa: S101  # it was kept
        if self._during is not None:
            if len(self._during) < MAX_DURING:
                self._during.append(broadcast)
            else:
                self._overflowed = True
        elif position.epoch != self._epoch or position.offset > self._top + 1:
            self._readings.read(self)
        elif position.offset == self._top + 1:
            return self._advance(broadcast, is_live=is_live)
        return None

    def _advance(
        self, broadcast: Broadcast, *, is_live: bool = False
    ) -> asyncio.Future[None] | None:
        self._top += 1
        if broadcast.kind.is_hole:
            return self._step_over(broadcast, is_live=is_live)
        self._recent.append(broadcast)
        return self.deliver(broadcast)

    def take_unnumbered(self, broadcast: Broadcast) -> asyncio.Future[None] | None:
        """Deliver what came without a number; whoever missed it has to be told."""
        self._owe()
        return self.deliver(broadcast)

    def take_unreadable(self, position: Position | None) -> asyncio.Future[None] | None:
        """Have members told that they miss what can't be read."""
        if position is not None:
            return self.take(Broadcast.unreadable(self.name, position))
        self._owe()
        self._sure_at = self._heard_at + SURE_AFTER  # nobody here has got it either
        return None

    def _owe(self) -> None:
        self._heard_at = self._now()
        self._holes.owe(self.name, self._keep)

    def _step_over(self, hole: Broadcast, *, is_live: bool) -> asyncio.Future[None] | None:
        """Let nobody resume from before a hole; members here may have heard what it stands for."""
        self._recent.clear()
        self._is_deep = True
        now = self._now()
        self._spread_until = now + SURE_AFTER
        is_heard = self._sure_at <= now < self._heard_at + SURE_AFTER
        if is_live and hole.kind is HOLE:
            self._holes.settle(self.name)
        if is_heard and hole.kind is HOLE:
            return self.deliver(hole)
        return self._reset()

    def resubscribed(self) -> None:
        """Look for what came while the group was not subscribed, if it had a number."""
        self._sure_at = self._now() + SURE_AFTER
        self.look_for_more()

    def look_for_more(self) -> None:
        """Ask the engine whether something is missing: that of the last broadcast shows no gap."""
        if self._epoch:
            self._readings.read(self)

    def doubt(self) -> None:
        """Hold back what comes until the history is read: a lagging server may reuse an offset."""
        if self._epoch:
            self._is_doubtful = True
            if self._during is None:
                self._during = []

    # Reading the history; ``readings.py`` calls these.

    def begin_read(self) -> int | None:
        """Begin to read; return after which offset, or ``None`` for only where it stands."""
        self._during = []
        self._overflowed = False
        # Who asks from now on asks for another read.
        self._reads_deep, self._is_deep_wanted = self._is_deep_wanted, False
        self._settles, self._is_doubtful = self._is_doubtful, False
        if self._reads_deep:
            return 0
        return self._top if self._epoch else None

    def give_up_read(self) -> None:
        """What was asked was not answered; it is asked again."""
        self._is_deep_wanted |= self._reads_deep
        self._is_doubtful |= self._settles
        self._during = [] if self._is_doubtful else None

    def adopt(self, kept: Kept) -> bool:
        """Go on where the history is; return whether it has to be read again."""
        was_deep = self._reads_deep
        during, self._during = self._during or [], None
        if not self._epoch:
            self._begin(kept, is_deep=was_deep)
            if self._members:  # who did not wait for this
                self._reset()
        elif kept.epoch != self._epoch or not self._follow(kept):
            self._begin(kept, is_deep=was_deep)
            self._reset()
        elif was_deep:
            self._fill(kept)
            self._is_deep = True
        if self._is_doubtful:
            self._during = []  # the next read has those that came
            return True
        for broadcast in during:
            self.take(broadcast, is_live=False)
        return self._overflowed

    def _begin(self, kept: Kept, *, is_deep: bool) -> None:
        self._is_deep = is_deep
        self._epoch, self._top = kept.epoch, kept.top
        self._recent.clear()
        self._recent.extend(self._read_back(kept, kept.top))

    def _follow(self, kept: Kept) -> bool:
        """Take what is new, if it goes on without a gap; return whether it does."""
        new = [(offset, body) for offset, body in kept.messages if offset > self._top]
        if [offset for offset, _ in new] != list(range(self._top + 1, kept.top + 1)):
            return False
        for offset, body in new:
            self._advance(self._decode(offset, body))
        return True

    def _fill(self, kept: Kept) -> None:
        """Put what is older than what is here before it."""
        whole = self._read_back(kept, self._first - 1)
        self._recent = deque([*whole, *self._recent], maxlen=self._recent.maxlen)

    def _read_back(self, kept: Kept, last: int) -> list[Broadcast]:
        """Return what was kept up to an offset, as far back as it is without a gap."""
        found: list[Broadcast] = []
        for offset, body in reversed(kept.messages):
            if offset == last - len(found):
                broadcast = self._decode(offset, body)
                if broadcast.kind.is_hole:
                    break
                found.append(broadcast)
        found.reverse()
        return found

    def _decode(self, offset: int, body: bytes) -> Broadcast:
        position = Position(self._epoch, offset)
        try:
            return Broadcast.decode(self.name, body, position)
        except ValueError as error:
            log_malformed(self.name, error)
            return Broadcast.unreadable(self.name, position)

    def _reset(self) -> asyncio.Future[None] | None:
        """Tell all members that something is missing for good, behind what is on its way."""
        counters["recovery_failed"] += 1
        seconds = self._spread(sum(member.counts_its_own for member in self._members))
        return self.deliver(Broadcast.reset(self.name, Position(self._epoch, self._top), seconds))

    def _spread(self, count: int) -> int:
        """Return over how many seconds so many clients spread their reloads."""
        latest = max(self._spread_until, self._heard_at + SURE_AFTER)
        return self._reloads.spread(count, SPREAD if self._now() < latest else 0)
