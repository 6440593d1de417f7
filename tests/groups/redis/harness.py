"""What tests of the Redis backend have in common."""

from __future__ import annotations

import asyncio
import logging
import re
from contextlib import asynccontextmanager, suppress
from itertools import pairwise
from typing import TYPE_CHECKING, Any, ClassVar, Self

from wsconsumer.exceptions import BackendError
from wsconsumer.groups.redis.backend import RedisBackend
from wsconsumer.test.keeping import Keeper
from wsconsumer.test.listener import Listener

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence

    from tests.engines import Redis


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
        self.to = port
        """Where new connections lead."""
        self._writers: list[asyncio.StreamWriter] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._swallowed: set[asyncio.StreamWriter] = set()
        self._more = asyncio.Event()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connect, "127.0.0.1", 0)
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for writer in self._writers:
            writer.close()
        await asyncio.gather(*self._tasks)
        closing = (writer.wait_closed() for writer in self._writers)
        await asyncio.gather(*closing, return_exceptions=True)

    def swallow(self, first: int = 0) -> None:
        """From now on carry nothing more on the connections that there are, from this number on."""
        self._swallowed.update(self._writers[2 * first :])

    async def until_connections(self, number: int) -> None:
        """Wait until so many connections were made."""
        async with asyncio.timeout(10):
            while len(self._writers) < 2 * number:
                self._more.clear()
                await self._more.wait()

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", self.to)
        self._writers += [writer, back]
        self._more.set()
        self._tasks += [
            asyncio.create_task(self._carry(reader, back)),
            asyncio.create_task(self._carry(there, writer)),
        ]

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):  # a server that is killed ends with a reset
            while data := await reader.read(65_536):
                if writer not in self._swallowed:
                    writer.write(data)
        writer.close()


class Fake:
    """Speaks as much of Redis' protocol as is needed to answer what ``answers`` has."""

    defaults: ClassVar = {
        b"HELLO": b"*2\r\n+role\r\n+master\r\n",
        b"PING": b"+PONG\r\n",
        b"PUBLISH": b":1\r\n",
    }

    def __init__(self, **answers: bytes) -> None:
        self.answers = self.defaults | {word.encode(): reply for word, reply in answers.items()}
        self.came: list[bytes] = []
        self.is_answering = asyncio.Event()
        self.is_answering.set()
        self._more = asyncio.Event()
        self._tasks: list[asyncio.Task[Any]] = []
        self._writers: set[asyncio.StreamWriter] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def say(self, reply: bytes) -> None:
        """Send something to all clients that nobody asked for."""
        for writer in self._writers:
            writer.write(reply)

    async def until(self, word: bytes, times: int = 1) -> None:
        """Wait until a command has come so many times."""
        async with asyncio.timeout(10):
            while self.came.count(word) < times:
                self._more.clear()
                await self._more.wait()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.append(task)
        self._writers.add(writer)
        try:
            await self._serve_all(reader, writer)
        finally:
            self._writers.discard(writer)
            writer.close()

    async def _serve_all(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answering = None
        with suppress(ConnectionError):
            while data := await reader.read(65_536):
                words = re.findall(rb"\*\d+\r\n\$\d+\r\n(\w+)", data)
                self.came += words
                self._more.set()
                replies = b"".join(self.answers.get(word, b"+OK\r\n") for word in words)
                answering = asyncio.create_task(self._answer(writer, replies, answering))
                self._tasks.append(answering)

    async def _answer(
        self, writer: asyncio.StreamWriter, replies: bytes, earlier: asyncio.Task[Any] | None
    ) -> None:
        if earlier is not None:
            await asyncio.wait([earlier])
        await self.is_answering.wait()
        writer.write(replies)


class Flow:
    """Publishes numbers to groups, one after the other, while a block lasts."""

    def __init__(
        self, name: str, groups: Sequence[str], publish: Callable[[str, bytes], Awaitable[None]]
    ) -> None:
        self._name = name
        self._groups = groups
        self._publish = publish
        self._number = 0
        self._is_over = False
        self.errors: list[BackendError] = []

    async def __aenter__(self) -> Self:
        self._is_over = False
        self._flowing = asyncio.create_task(self._flow())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._is_over = True
        async with asyncio.timeout(60):  # a master about to be followed makes publishers wait
            await self._flowing

    async def _flow(self) -> None:
        while not self._is_over:
            await self.round()
            await asyncio.sleep(0.001)  # others want to work as well

    async def round(self) -> bytes:
        """Publish the next number to each group; return how it came."""
        self._number += 1
        body = f"{self._name} {self._number}".encode()
        for group in self._groups:
            try:
                await self._publish(group, body)
            except BackendError as error:
                self.errors.append(error)
        return body

    def check(self, came: list[bytes]) -> None:
        """Check that of what came to a group, ours came once each, and in order."""
        pairs = [body.decode().rsplit(" ", 1) for body in came]
        numbers = [int(number) for name, number in pairs if name == self._name]
        wrong = [pair for pair in pairwise(numbers) if pair[0] >= pair[1]]
        assert not wrong, f"of {self._name} came what was not after the last: {wrong}"


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


@asynccontextmanager
async def keeping(url: str | list[str], *groups: str, **options: object) -> AsyncIterator[Keeper]:
    """Do the same with one that keeps, and note which groups were resumed."""
    keeper = Keeper(RedisBackend(url, "contract", options))
    keeper.keeping.on_resumed(keeper.resumed.extend)
    await keeper.backend.start(keeper.deliver)
    try:
        await keeper.backend.subscribe(groups)
        yield keeper
    finally:
        await keeper.backend.aclose()


def lose(servers: Iterable[Redis], first: str) -> None:
    """Delete all keys that begin so."""
    script = "for _, key in ipairs(redis.call('KEYS', ARGV[1])) do redis.call('DEL', key) end"
    for server in servers:
        server.command("EVAL", script, 0, f"{first}*")
