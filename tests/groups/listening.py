"""A consumer that joins a group, served by a fake server."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from tests.fakes import CONNECT, Wire, disconnect, scope
from wsconsumer import ConnectionClosed, WebsocketConsumer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class Listener(WebsocketConsumer):
    """Joins a group, and says how it ended."""

    ended: tuple[int, str] | None = None
    error: BaseException | None = None

    async def connect(self) -> None:
        await self.join("news")

    async def receive(self, data: str | bytes) -> None:
        if data == "close":
            await self.close(4000)
            return
        try:
            await self.send(data)
        except ConnectionClosed as error:
            self.error = error

    async def disconnect(self, code: int, reason: str) -> None:
        self.ended = (code, reason)


@asynccontextmanager
async def serving(wire: Wire, consumer: WebsocketConsumer | None = None) -> AsyncIterator[Listener]:
    """Run a consumer until the block ends, then disconnect it, if nothing ended it before."""
    made: list[Any] = []

    class Made(type(consumer or Listener())):  # type: ignore[misc]
        def __init__(self, **initkwargs: Any) -> None:
            super().__init__(**initkwargs)
            made.append(self)

    wire.put(CONNECT)
    task = asyncio.create_task(Made.as_asgi()(scope(), wire.receive, wire.send))
    await wire.until_sent(1)
    yield made[0]  # without a timeout of ours: a test may advance the clock
    wire.put(disconnect())
    async with asyncio.timeout(10):
        await task
