"""A backend that keeps, and loses on the way what a test tells it to lose."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, ClassVar

from wsconsumer.exceptions import BackendError
from wsconsumer.groups.base import Position
from wsconsumer.groups.histories import Histories
from wsconsumer.groups.keeping import KeepingBackend

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from wsconsumer.groups.base import Deliver
    from wsconsumer.groups.keeping import Keep, Kept


class LaggingHistories(Histories):
    """Histories of a server that can be replaced by one that lagged behind."""

    def forget_last(self, group: tuple[str, str], count: int) -> None:
        """Forget the last broadcasts, and that there were any."""
        history = self._histories.get(group)
        if history is not None:
            history.top -= min(count, history.top)
            while history._bodies and history._bodies[-1][0] > history.top:  # noqa: SLF001
                history._bodies.pop()  # noqa: SLF001

    def forget(self, group: tuple[str, str]) -> None:
        """Forget a history."""
        history = self._histories.pop(group, None)
        if history is not None:
            self._epochs.forget(group, history.epoch)


class LossyBackend(KeepingBackend):
    """Carries to its own loop; ``made`` is the one that was made last."""

    made: ClassVar[LossyBackend]
    needs_subscriptions: ClassVar[bool] = False

    # The engine's, whichever backend asks it.
    histories: ClassVar[LaggingHistories]
    failures: ClassVar[list[Exception]]
    reads: ClassVar[list[Mapping[str, int | None]]]
    answers: ClassVar[asyncio.Event]
    asked: ClassVar[asyncio.Event]
    unreadable: ClassVar[set[str]]
    taken_over: ClassVar[set[str]]

    losing = 0

    @classmethod
    def begin(cls) -> None:
        """Begin with an empty engine that answers."""
        cls.histories = LaggingHistories()
        cls.failures = []
        cls.reads = []
        cls.answers = asyncio.Event()
        cls.answers.set()
        cls.asked = asyncio.Event()
        cls.unreadable = set()
        cls.taken_over = set()

    def __init__(self, location: Any, prefix: str, options: Mapping[str, Any]) -> None:
        super().__init__(location, prefix, options)
        type(self).made = self

    async def start(self, deliver: Deliver) -> None:
        self._deliver = deliver

    async def subscribe(self, groups: Sequence[str]) -> None:
        """Everything comes anyway."""

    async def unsubscribe(self, groups: Sequence[str]) -> None:
        """Everything comes anyway."""

    async def publish(self, group: str, body: bytes) -> None:
        await self._deliver(group, body)

    def publish_sync(self, group: str, body: bytes) -> None:
        raise NotImplementedError

    async def append(self, group: str, body: bytes, keep: Keep, key: str | None) -> Position:
        position = self.histories.append(("", group), body, keep, key, lambda position: None)
        if self.losing:
            self.losing -= 1
        else:
            await self._deliver(group, body, position)
        return position

    def groups_of(self, hub: Any) -> dict[str, Any]:
        """Return the groups that somebody is in, or on the way in."""
        groups: dict[str, Any] = hub._groups  # noqa: SLF001  # what is inside is what is tested
        return groups

    async def peek(self, group: str) -> Kept:
        """Return what is kept, without a read that tests count."""
        return self.histories.read(("", group), 0)

    def position(self, epoch: str, offset: int) -> Position:
        """Return a position."""
        return Position(epoch, offset)

    async def redeliver(self, group: str, body: bytes, position: Position) -> None:
        """Deliver something as an engine might that is late, or says it twice."""
        if hasattr(self, "_deliver"):
            await self._deliver(group, body, position)

    def append_sync(self, group: str, body: bytes, keep: Keep, key: str | None) -> Position:
        """Keep it, where nobody hears."""
        return self.histories.append(("", group), body, keep, key, lambda position: None)

    async def read(self, after: Mapping[str, int | None]) -> Mapping[str, Kept | BackendError]:
        self.reads.append(dict(after))
        found = {group: self._read(group, after[group]) for group in after}
        self.asked.set()
        await self.answers.wait()
        if self.failures:
            raise self.failures.pop()
        return found

    @classmethod
    def take_over(cls, group: str, behind: int) -> None:
        """Let another server take over, which has not heard of the last broadcasts."""
        cls.histories.forget_last(("", group), behind)
        cls.taken_over.add(group)

    def _read(self, group: str, after: int | None) -> Kept | BackendError:
        if group in self.taken_over:  # who reads finds out, and begins another history
            self.taken_over.discard(group)
            self.histories.forget(("", group))
        if group in self.unreadable:
            return BackendError("forbidden")
        return self.histories.read(("", group), after)

    def read_sync(self, groups: Sequence[str]) -> Mapping[str, Position]:
        raise NotImplementedError

    async def aclose(self) -> None:
        """Nothing is open."""
