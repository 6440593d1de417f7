"""
Groups that keep under stress, in one process: an engine that loses, doubles and forgets, and pages
that come and go. Seeded: the same seed does the same things.

What a page saw is judged: between two reloads it has every broadcast once and in order (I1 to I3),
a retried key is one broadcast (I5), and when all is quiet everybody has the last one or was told to
reload (I4).
"""

from __future__ import annotations

import asyncio
import random
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, Final

from tests.groups.lossy import LossyBackend
from wsconsumer import WebsocketConsumer, abroadcast
from wsconsumer.groups.hub import hub
from wsconsumer.test import Page, connect

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wsconsumer.test import Websocket

GROUPS: Final = ("room.a", "room.b")
STEPS: Final = 600
PAGES: Final = 6


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
        if seen is not None:
            group, _, number = str(seen).partition(" ")
            expected = self.last.get(group, int(number) - 1) + 1
            if int(number) != expected:
                self.wrong.append(f"{group}: expected {expected}, got {number}")
            self.last[group] = int(number)
        return seen, answer


class Stress:
    """One run."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)  # noqa: S311  # a seed is wanted
        self._pages = [Watched() for _ in range(PAGES)]
        self._open: dict[Watched, tuple[Websocket, AsyncExitStack]] = {}
        self._said = dict.fromkeys(GROUPS, 0)
        self._reading: asyncio.Task[None] | None = None

    async def run(self) -> list[str]:
        """Return what was wrong."""
        hub()
        for _ in range(STEPS):
            await self._random.choices(
                [self._say, self._come_or_go, self._trouble, self._rest], [10, 3, 3, 2]
            )[0]()
        return await self._end()

    async def _say(self) -> None:
        group = self._random.choice(GROUPS)
        self._said[group] += 1
        text = f"{group} {self._said[group]}"
        if self._random.random() < 0.1:
            await abroadcast(group, text, key=text)
            await abroadcast(group, text, key=text)
        else:
            await abroadcast(group, text)

    async def _come_or_go(self) -> None:
        page = self._random.choice(self._pages)
        if page not in self._open:
            stack = AsyncExitStack()
            opened = connect(Room, page=page, allow_unread=True)
            self._open[page] = (await stack.enter_async_context(opened), stack)
        else:
            ws, stack = self._open.pop(page)
            await ws.vanish()
            await stack.aclose()

    async def _trouble(self) -> None:
        engine = LossyBackend.made
        match self._random.randrange(6):
            case 0 | 1:
                engine.losing = self._random.choice([1, 1, 2, 8])
            case 2:
                await self._say_again(engine)
            case 3:
                engine.histories.clear()
            case 4:
                engine.failures.append(OSError("gone"))
            case 5:
                engine.resumed(GROUPS)

    async def _say_again(self, engine: LossyBackend) -> None:
        """Deliver something once more, as an engine may after a hiccup."""
        group = self._random.choice(GROUPS)
        kept = (await engine.peek(group)).messages
        if kept:
            epoch = (await engine.peek(group)).epoch
            offset, body = self._random.choice(kept)
            await engine.redeliver(group, body, engine.position(epoch, offset))

    async def _rest(self) -> None:
        """Let reads answer late: some broadcasts come in the middle of them."""
        answers = LossyBackend.answers
        answers.clear()
        for _ in range(self._random.randrange(3)):
            await self._say()
        answers.set()
        for _ in range(self._random.randrange(4)):
            await asyncio.sleep(0)

    async def _end(self) -> list[str]:
        """Let everything come to rest, look for what was lost last, and judge."""
        engine = LossyBackend.made
        engine.losing = 0
        engine.failures.clear()
        for page in self._pages:
            if page not in self._open:
                stack = AsyncExitStack()
                opened = connect(Room, page=page, allow_unread=True)
                self._open[page] = (await stack.enter_async_context(opened), stack)
        engine.losing = 1
        await self._say()
        engine.losing = 0
        readings = hub()._readings  # noqa: SLF001
        assert readings is not None
        readings.look()
        for ws, _ in self._open.values():
            await ws.settle()
        wrong = list(self._violations())
        for _, stack in self._open.values():
            await stack.aclose()
        return wrong

    def _violations(self) -> Iterator[str]:
        for number, page in enumerate(self._pages):
            yield from (f"page {number}: {each}" for each in page.wrong)
            for group, last in page.last.items():
                if last != self._said[group]:
                    said = self._said[group]
                    yield f"page {number}: {group}: {said} was said last, and it has {last}"


async def run(seed: int) -> list[str]:
    """Return what was wrong in the run of a seed."""
    result: Any = await Stress(seed).run()
    return list(result)
