"""A websocket that gives its consumer orders, and logs what it said and what came, in order."""

from __future__ import annotations

import asyncio
import json
import time
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from tests.processes.running import PATIENCE, Server

if TYPE_CHECKING:
    from collections.abc import Callable


class Entry(NamedTuple):
    """
    A line of a client's log.

    ``what`` is "join" and "leave" before an order is sent, "joined" and "left" when it was
    answered, each with a group; or "came", with what was broadcast.
    """

    at: float
    what: str
    data: Any


class Order(NamedTuple):
    """What was ordered, and a future for the answer."""

    verb: str
    groups: tuple[str, ...]
    answer: asyncio.Future[Any]


DONE = {"join": "joined", "leave": "left"}


class Client:
    """A member, on one server, between ``open()`` and ``close()`` or in ``async with``."""

    def __init__(self, server: Server, name: str = "") -> None:
        self.server = server
        self.name = name
        self.log: list[Entry] = []
        self.died = ""
        """How the server ended the connection, which it never should."""
        self._orders: deque[Order] = deque()
        self._changed = asyncio.Event()
        self._is_over = False

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def open(self) -> None:
        """Connect."""
        self._socket: ClientConnection = await connect(
            self.server.url,
            open_timeout=PATIENCE,
            close_timeout=PATIENCE,
            ping_interval=None,
            compression=None,
            max_size=None,
            proxy=None,
        )
        self._reading = asyncio.create_task(self._read())

    async def close(self) -> None:
        """Close in good order."""
        self._is_over = True
        await self._socket.close()
        await self._reading

    async def end(self) -> str:
        """Wait for the server to end the connection; return how it did."""
        async with asyncio.timeout(PATIENCE):
            await asyncio.wait({self._reading})
        return self.died

    async def vanish(self) -> None:
        """End the TCP connection without a word."""
        self._is_over = True
        self._socket.transport.abort()
        await self._reading

    @property
    def came(self) -> list[Any]:
        """All that was broadcast to it so far."""
        return [data for _, what, data in self.log if what == "came"]

    def note(self, what: str, data: Any) -> None:
        """Log it."""
        self.log.append(Entry(time.monotonic(), what, data))

    async def _read(self) -> None:
        try:
            async for message in self._socket:
                if isinstance(message, str) and message.startswith('{"done": '):
                    self._answered(json.loads(message)["done"])
                elif not self._is_over:
                    self.note("came", message)
                self._changed.set()
        except ConnectionClosed as closed:
            self._ended(str(closed))
        else:
            self._ended(f"{self._socket.close_code} {self._socket.close_reason}")

    def _answered(self, done: Any) -> None:
        verb, groups, answer = self._orders.popleft()
        for group in groups:
            self.note(DONE[verb], group)
        if not answer.done():
            answer.set_result(done)

    def _ended(self, how: str) -> None:
        if not self._is_over:
            self.died = f"{self.name} on {self.server.name}: {how}"
        self._changed.set()
        for order in self._orders:
            if not order.answer.done():
                order.answer.set_exception(ConnectionError(f"the connection ended: {how}"))

    async def join(self, *groups: str) -> None:
        """Join; return when the consumer has."""
        await self._order("join", groups)

    async def leave(self, *groups: str) -> None:
        """Leave; return when the consumer has."""
        await self._order("leave", groups)

    async def broadcast(
        self, *messages: tuple[str, Any], include_self: bool = True
    ) -> list[str | None]:
        """Broadcast data to groups; return what went wrong with each, if anything."""
        errors: list[str | None] = await self._order("broadcast", (), messages, include_self)
        return errors

    async def blob(self, group: str, kind: str, size: int) -> list[str | None]:
        """Broadcast a large message that the consumer makes."""
        errors: list[str | None] = await self._order("blob", (), group, kind, size)
        return errors

    async def ping(self) -> None:
        """Return when all that was sent to this client before now has come."""
        await self._order("ping", ())

    async def _order(self, verb: str, groups: tuple[str, ...], *arguments: Any) -> Any:
        if self.died:
            raise ConnectionError(self.died)
        answer = asyncio.get_running_loop().create_future()
        self._orders.append(Order(verb, groups, answer))
        for group in groups:
            self.note(verb, group)
        with suppress(ConnectionClosed):  # then the reader tells
            await self._socket.send(json.dumps([verb, *groups, *arguments], ensure_ascii=False))
        async with asyncio.timeout(PATIENCE):
            return await answer

    async def until(self, is_so: Callable[[], object], what: str) -> None:
        """Wait until something that came makes it so."""
        try:
            async with asyncio.timeout(PATIENCE):
                while not is_so() and not self.died:
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            pass
        assert is_so(), f"waited for {what}; {self.died or 'nothing'}; came {self.came[-5:]!r}"

    async def until_came(self, count: int) -> None:
        """Wait until so many messages have come."""
        await self.until(lambda: len(self.came) >= count, f"{count} messages")
