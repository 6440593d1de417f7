"""
Pages that are rendered by one process, open their socket at another, and come back to a third.

Each is judged by what it was rendered with and what it saw: of every speaker it has every number
once and in order, from the last one in the page on (I2, I3, I5, I7), and offsets are contiguous
(I1), until it is told to reload. Then it is rendered anew.
"""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake
from websockets.typing import Subprotocol

from tests.processes.kept.saying import GHOST
from wsconsumer.framing import split_event
from wsconsumer.protocol import OWN_SUBPROTOCOL
from wsconsumer.test import Page

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from tests.processes.running import Server

PAUSE: Final = 0.05
"""Seconds before another try at what is away: nothing tells when it is back."""

PATIENCE: Final = 5.0
"""Seconds that a connection may take to open, or to answer."""

Source = tuple[str, str]
"""A speaker, and a room."""


class Rendered(Page):
    """A page from its rendering on, until it is told to reload."""

    def __init__(self, live: str, said: Iterable[tuple[str, str, int]]) -> None:
        super().__init__(live)
        self.has: dict[Source, int] = {(speaker, room): number for speaker, room, number in said}
        self.wrong: list[str] = []
        self._heard: dict[Source, int] = {}

    @property
    def must_reload(self) -> bool:
        """Whether it was told to."""
        return bool(self.reloads)

    def see(self, data: str | bytes) -> str | None:
        """Take a message, and judge it; return what the page answers, if anything."""
        header, _ = split_event({"text": data})
        before = dict(self.at)
        seen, answer = self.take(data)
        if header is not None and "group" in header:
            room, offset = header["group"], header["offset"]
            if before[room][1] + 1 != offset:
                self.wrong.append(f"{room}: offset {offset} after {before[room]}")
            if seen is not None:
                self._hear(str(seen), room)
        return answer

    def _hear(self, text: str, room: str) -> None:
        speaker, _, number = text.partition(" ")
        if speaker == GHOST:
            self.wrong.append(f"{room}: {text!r} was rolled back")
            return
        source, said = (speaker, room), int(number)
        has = self.has.get(source, 0)
        heard = self._heard.get(source)
        if said > has + 1 or (heard is not None and said != heard + 1):
            self.wrong.append(f"{room}: {text!r}, heard {heard}, was rendered with or has {has}")
        self._heard[source] = said
        self.has[source] = max(has, said)


class Reader:
    """Somebody who has the page open, and reloads it when it says so."""

    def __init__(self, name: str, servers: Callable[[], list[Server]], seed: int) -> None:
        self.name = name
        self._servers = servers
        self._chance = random.Random(f"{seed} {name}")  # noqa: S311  # a seed is wanted
        self._page: Rendered | None = None
        self._wrong: list[str] = []
        self.rendered = self.opened = 0

    @property
    def wrong(self) -> list[str]:
        """What was wrong with all its pages."""
        return [*self._wrong, *(self._page.wrong if self._page else ())]

    @property
    def has(self) -> dict[Source, int]:
        """The last of each speaker that the page shows."""
        return self._page.has if self._page else {}

    async def live(self, is_over: Callable[[], bool]) -> None:
        """Come and go, until it is over."""
        while not is_over():
            await self._come(self._chance.expovariate(2.0))

    async def stay(self, is_whole: Callable[[Reader], bool]) -> None:
        """Come, and stay until the page has everything."""
        while not is_whole(self):
            await self._come(PATIENCE, lambda: is_whole(self))

    async def _come(self, seconds: float, is_enough: Callable[[], bool] = lambda: False) -> None:
        try:
            if self._page is None:
                self._page = await self._render()
            if self._chance.random() < 0.5:
                await asyncio.sleep(self._chance.random() / 10)  # the page is on its way
            await self._open(self._page, seconds, is_enough)
        except (OSError, InvalidHandshake, TimeoutError, ValueError):
            await asyncio.sleep(PAUSE)

    async def _render(self) -> Rendered:
        answer = await self._server().ask("/page/")
        self.rendered += 1
        return Rendered(answer["live"], answer["said"])

    def _server(self) -> Server:
        return self._chance.choice(self._servers())

    async def _open(self, page: Rendered, seconds: float, is_enough: Callable[[], bool]) -> None:
        socket = await connect(
            page.path(self._server().url),
            subprotocols=[Subprotocol(OWN_SUBPROTOCOL)],
            open_timeout=PATIENCE,
            ping_interval=None,
            compression=None,
            proxy=None,
        )
        self.opened += 1
        try:
            with suppress(TimeoutError, ConnectionClosed):
                async with asyncio.timeout(seconds):
                    await self._read(socket, page, is_enough)
        finally:
            socket.transport.abort()
        if page.must_reload:
            self._wrong += page.wrong
            self._page = None

    async def _read(
        self, socket: ClientConnection, page: Rendered, is_enough: Callable[[], bool]
    ) -> None:
        while not page.must_reload and not is_enough():
            answer = page.see(await socket.recv())
            if answer is not None:
                await socket.send(answer)


async def settle(readers: Iterable[Reader], said: dict[Source, int], seconds: float) -> list[str]:
    """Let all pages get everything; return what was wrong with them, and what they lack (I4)."""
    readers = list(readers)

    def is_whole(reader: Reader) -> bool:
        return reader.has == said

    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await asyncio.gather(*(reader.stay(is_whole) for reader in readers))
    wrong: list[Any] = [f"{reader.name}: {each}" for reader in readers for each in reader.wrong]
    for reader in readers:
        lacking = {source: (reader.has.get(source), said[source]) for source in said
                   if reader.has.get(source) != said[source]}  # fmt: skip
        wrong += [f"{reader.name}: {source} has {has} of {last}"
                  for source, (has, last) in lacking.items()]  # fmt: skip
    return wrong
