"""
Groups that keep under stress: an engine in trouble, and pages that come and go, in this process.
Seeded: the same seed makes the same clients do the same things.

What a page saw is judged: between two reloads it has every broadcast once and in order (I1 to I3),
a retried key is one broadcast (I5), and when all is quiet everybody has the last one or was told to
reload (I4).
"""

from __future__ import annotations

import asyncio
import random
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, Final, Protocol

from tests.groups.lossy import LossyBackend
from wsconsumer import BackendError, WebsocketConsumer, abroadcast, broadcast
from wsconsumer.groups.envelope import encode
from wsconsumer.groups.hub import hub
from wsconsumer.test import Page, connect

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Iterator
    from contextlib import AbstractAsyncContextManager

    from wsconsumer.test import Websocket

GROUPS: Final = ("room.a", "room.b")
STEPS: Final = 600
PAGES: Final = 6

OLD: Final = "old:"
"""Before the group in what is said without a number, by a process that does not know it keeps."""

PATIENCE = 5.0
"""Seconds in which everybody has the last broadcast, once nothing happens any more."""


class Room(WebsocketConsumer):
    """Joins both groups, in an order that is the page's."""

    async def connect(self) -> None:
        for group in GROUPS:
            await self.join(group)


class Watched(Page):
    """A page that notes what is wrong with what it sees."""

    def __init__(self) -> None:
        super().__init__()
        self.last: dict[str, int] = {}
        self.wrong: list[str] = []

    def take(self, data: str | bytes) -> tuple[str | bytes | None, str | None]:
        """Judge each broadcast, and each word about its group."""
        reloads = len(self.reloads)
        seen, answer = super().take(data)
        for group in self.reloads[reloads:]:
            self.last.pop(group, None)
            self.last.pop(OLD + group, None)
        if seen is not None:
            group, _, number = str(seen).partition(" ")
            expected = self.last.get(group, int(number) - 1) + 1
            if int(number) != expected:
                self.wrong.append(f"{group}: expected {expected}, got {number}")
            self.last[group] = int(number)
        return seen, answer


class Trouble(Protocol):
    """
    What happens to an engine.

    ``loses_nothing``: of what is said without a number, which can't be missed then.
    """

    loses_nothing: bool

    async def happen(self, chance: random.Random) -> None:
        """Let something happen."""

    def rest(self) -> AbstractAsyncContextManager[None]:
        """Let answers come late while the block runs."""

    def end(self) -> None:
        """Let nothing happen any more."""


class LossyTrouble:
    """What happens to ``LossyBackend``, which does as it is told."""

    loses_nothing = True

    async def happen(self, chance: random.Random) -> None:
        """Lose, double, forget, fail, subscribe anew, or be replaced."""
        engine = LossyBackend.made
        match chance.randrange(7):
            case 0 | 1:
                engine.losing = chance.choice([1, 1, 2, 8])
            case 2:
                await self._say_again(engine, chance)
            case 3:
                engine.histories.clear()
            case 4:
                engine.failures.append(OSError("gone"))
            case 5:
                engine.resumed(GROUPS)
            case 6:
                for group in GROUPS:
                    engine.take_over(group, chance.randrange(3))
                engine.resumed(GROUPS)

    async def _say_again(self, engine: LossyBackend, chance: random.Random) -> None:
        group = chance.choice(GROUPS)
        kept = await engine.peek(group)
        if kept.messages:
            offset, body = chance.choice(kept.messages)
            await engine.redeliver(group, body, engine.position(kept.epoch, offset))

    @asynccontextmanager
    async def rest(self) -> AsyncIterator[None]:
        """Answer no read while the block runs."""
        LossyBackend.answers.clear()
        yield
        LossyBackend.answers.set()

    def end(self) -> None:
        """Lose the last broadcast, which nothing shows but a look, and be well then."""
        LossyBackend.made.losing = 1
        LossyBackend.failures.clear()


class Stress:
    """One run: so many steps, or until a time."""

    def __init__(self, seed: int, trouble: Trouble) -> None:
        self._random = random.Random(seed)  # noqa: S311  # a seed is wanted
        self._trouble = trouble
        self._pages = [Watched() for _ in range(PAGES)]
        self._open: dict[Watched, tuple[Websocket, AsyncExitStack]] = {}
        self.said = {old + group: 0 for group in GROUPS for old in ("", OLD)}

    async def run(self, steps: Iterable[object]) -> list[str]:
        """Return what was wrong."""
        hub()
        kinds = [self._say, self._come_or_go, self._happen, self._rest]
        weights = [10, 3, 3, 2]
        if self._trouble.loses_nothing:
            kinds.append(self._say_as_old)
            weights.append(3)
        for _ in steps:
            await self._random.choices(kinds, weights)[0]()
        return await self._end()

    @property
    def reloads(self) -> int:
        """How often a page was told to reload."""
        return sum(len(page.reloads) for page in self._pages)

    async def _happen(self) -> None:
        await self._trouble.happen(self._random)

    async def _say(self) -> None:
        """Say the next number; whoever can't be sure that it was taken says it again."""
        group = self._random.choice(GROUPS)
        self.said[group] += 1
        text = f"{group} {self.said[group]}"
        times = 2 if self._random.random() < 0.1 else 1
        while times:
            try:
                if self._random.random() < 0.2:
                    await asyncio.to_thread(broadcast, group, text, key=text)
                else:
                    await abroadcast(group, text, key=text)
            except BackendError:
                await asyncio.sleep(0.05)  # the engine is away: nothing tells when it is back
            else:
                times -= 1

    async def _say_as_old(self) -> None:
        """Say the next number as an old process does; where nobody is in, nobody could tell."""
        group = self._random.choice(GROUPS)
        if hub().size(group):
            self.said[OLD + group] += 1
            text = f"{OLD}{group} {self.said[OLD + group]}"
            await hub()._backend.publish(group, encode(text))  # noqa: SLF001  # as it does

    async def _come_or_go(self) -> None:
        page = self._random.choice(self._pages)
        if page in self._open:
            ws, stack = self._open.pop(page)
            await ws.vanish()
            await stack.aclose()
        else:
            await self._come(page)

    async def _come(self, page: Watched) -> None:
        stack = AsyncExitStack()
        opened = connect(Room, page=page, allow_unread=True)
        self._open[page] = (await stack.enter_async_context(opened), stack)

    async def _rest(self) -> None:
        """Let reads answer late: some broadcasts come in the middle of them."""
        async with self._trouble.rest():
            for _ in range(self._random.randrange(3)):
                await self._say()
        for _ in range(self._random.randrange(4)):
            await asyncio.sleep(0)

    async def _end(self) -> list[str]:
        """Let everything come to rest, look for what was lost last, and judge."""
        for page in self._pages:
            if page not in self._open:
                await self._come(page)
        self._trouble.end()
        await self._say()
        readings = hub()._readings  # noqa: SLF001  # nothing public tells when all is read
        assert readings is not None
        with suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE):
                while any(self._late()):
                    readings.look()
                    for ws, _ in self._open.values():
                        await ws.settle()
                    await asyncio.sleep(0)
        wrong = [f"page {n}: {each}" for n, page in enumerate(self._pages) for each in page.wrong]
        wrong += self._late()
        for _, stack in self._open.values():
            await stack.aclose()
        return wrong

    def _late(self) -> Iterator[str]:
        for number, page in enumerate(self._pages):
            for group, last in page.last.items():
                if last != self.said[group]:
                    said = self.said[group]
                    yield f"page {number}: {group}: {said} was said last, and it has {last}"


async def run(seed: int) -> list[str]:
    """Return what was wrong in the run of a seed, with an engine that does as it is told."""
    result: Any = await Stress(seed, LossyTrouble()).run(range(STEPS))
    return list(result)
