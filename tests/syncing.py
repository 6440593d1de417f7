"""Websockets through the dispatcher whose consumer does sync work, for tests of threads."""

from __future__ import annotations

import asyncio
import threading
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any

from asgiref.sync import sync_to_async
from django.db import OperationalError, connections
from django.urls import path

from tests.engines import drop_threads
from tests.fakes import CONNECT, DENIAL, Wire, disconnect, scope, text
from wsconsumer import WebsocketConsumer
from wsconsumer.handshake.dispatcher import WebsocketDispatcher

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator


class Client:
    """One connection through the dispatcher."""

    def __init__(
        self,
        consumer: type[WebsocketConsumer],
        *,
        query: str = "",
        cookie: str = "",
        **initkwargs: Any,
    ) -> None:
        self.wire = Wire(CONNECT)
        dispatcher = WebsocketDispatcher([path("ws/", consumer.as_view(**initkwargs))])
        headers = [(b"host", b"testserver"), (b"cookie", cookie.encode())]
        asked = scope(path="/ws/", query_string=query.encode(), headers=headers, **DENIAL)
        application = dispatcher(asked, self.wire.receive, self.wire.send)
        self.task = asyncio.create_task(application)
        self.read = 1

    async def ask(self, data: str) -> str:
        """Send a text, and return the answer."""
        self.wire.put(text(data))
        self.read += 1
        await self.wire.until_sent(self.read)
        answer: str = self.wire.sent[self.read - 1]["text"]
        return answer

    async def fail(self, data: str) -> int:
        """Send a text that makes the consumer fail, and return the close code."""
        self.wire.put(text(data))
        await self.wire.until_sent(self.read + 1)
        code: int = self.wire.sent[self.read]["code"]
        await self.leave()
        return code

    async def denied(self) -> int:
        """Return the status with which the handshake was denied."""
        async with asyncio.timeout(5):
            await self.task
        status: int = self.wire.sent[0]["status"]
        return status

    async def leave(self) -> None:
        """Leave, and wait for the consumer's end."""
        self.wire.put(disconnect())
        await self.task


@asynccontextmanager
async def clients(
    number: int, consumer: type[WebsocketConsumer], **initkwargs: Any
) -> AsyncIterator[list[Client]]:
    """Open connections, and close them in the end."""
    opened = [Client(consumer, **initkwargs) for _ in range(number)]
    for client in opened:
        await client.wire.until_sent(1)
    yield opened
    await asyncio.gather(*(client.leave() for client in opened))


class Syncing(WebsocketConsumer):
    """Answers with what ``work(data)`` returns, called in the lane."""

    work: Any = staticmethod(lambda data: threading.current_thread().name)

    async def receive(self, data: str | bytes) -> None:
        if data == "echo":
            await self.send("echo")
        else:
            await self.send(str(await sync_to_async(self.work)(data)))


def query(alias: str) -> Callable[[str], str]:
    """Return what runs SQL on a database and returns the one value, or the error's name."""

    def work(sql: str) -> str:
        try:
            with connections[alias].cursor() as cursor:
                cursor.execute(sql)
                return str(cursor.fetchone()[0])
        except OperationalError as error:
            return type(error).__name__

    return staticmethod(work)


@contextmanager
def database(alias: str, settings: dict[str, Any]) -> Iterator[str]:
    """Add a database to the project while the block runs."""
    configured = connections.configure_settings({"default": {}, alias: settings})
    connections.settings[alias] = configured[alias]
    try:
        yield alias
    finally:
        drop_threads()
        if alias in {used.alias for used in connections.all(initialized_only=True)}:
            del connections[alias]
        del connections.settings[alias]
