"""What tests of the Redis backend have in common."""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Self

from wsconsumer.groups.redis.backend import RedisBackend
from wsconsumer.test.listener import Listener

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class Said(logging.Handler):
    """Lines of the log, to be waited for."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []
        self._more = asyncio.Event()

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())
        self._more.set()

    async def until(self, text: str, times: int = 1, seconds: float = 10) -> None:
        """Wait until so many lines have this text in them."""
        async with asyncio.timeout(seconds):
            while sum(text in line for line in self.lines) < times:
                self._more.clear()
                await self._more.wait()


class Tunnel:
    """Carries bytes between clients and a port, or swallows them."""

    def __init__(self, port: int) -> None:
        self._to = port
        self._writers: list[asyncio.StreamWriter] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._swallowed: set[asyncio.StreamWriter] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connect, "127.0.0.1", 0)
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for writer in self._writers:
            writer.close()
        await asyncio.gather(*self._tasks)
        await asyncio.gather(*(writer.wait_closed() for writer in self._writers))

    def swallow(self) -> None:
        """From now on carry nothing more on the connections that there are."""
        self._swallowed.update(self._writers)

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", self._to)
        self._writers += [writer, back]
        self._tasks += [
            asyncio.create_task(self._carry(reader, back)),
            asyncio.create_task(self._carry(there, writer)),
        ]

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65_536):
            if writer not in self._swallowed:
                writer.write(data)
        writer.close()


@asynccontextmanager
async def listening(
    url: str | list[str], *groups: str, **options: object
) -> AsyncIterator[Listener]:
    """Start a backend that is subscribed to groups, and close it in the end."""
    listener = Listener(RedisBackend(url, "contract", options))
    await listener.backend.start(listener.deliver)
    try:
        await listener.backend.subscribe(groups)
        yield listener
    finally:
        listener.open.set()
        await listener.backend.aclose()
