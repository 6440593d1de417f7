"""What tests of the postgres backend have in common."""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any, Self

import pytest
from django.db import connections

from tests.engines import Postgres
from wsconsumer.groups.postgres.backend import PostgresBackend
from wsconsumer.test.keeping import Keeper
from wsconsumer.test.listener import Listener

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from wsconsumer.groups.base import Position
    from wsconsumer.groups.keeping import Keep


SHORT = {"TIMEOUT": 1.0}
SECOND = 5.0
"""Seconds within which all must be over that does not wait for anything."""


class TidyBackend(PostgresBackend):
    """Closes Django's connection after each use, as the end of a request does."""

    def publish_sync(self, group: str, body: bytes) -> None:
        try:
            super().publish_sync(group, body)
        finally:
            connections["pg"].close()

    def append_sync(self, group: str, body: bytes, keep: Keep, key: str | None) -> Position | None:
        try:
            return super().append_sync(group, body, keep, key)
        finally:
            connections["pg"].close()

    def read_sync(self, groups: Sequence[str]) -> Mapping[str, Position]:
        try:
            return super().read_sync(groups)
        finally:
            connections["pg"].close()


class Standby(Postgres):
    """A PostgreSQL cluster that waits for changes of another one, which never come."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.stop()
        (directory / "standby.signal").touch()
        self.start()


class Between:
    """
    Stands between.

    ``silent``: it passes nothing on, and forgets it. ``answers``: those of PostgreSQL pass while
    this is set, and wait otherwise. ``instead``: what comes in their place. ``to``: the port to
    which new connections lead.
    """

    def __init__(self, port: int) -> None:
        self.silent = False
        self.answers = asyncio.Event()
        self.answers.set()
        self.instead = b""
        self.to = port
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *error: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream, to_upstream = await asyncio.open_connection("127.0.0.1", self.to)
        for source, sink in ((reader, to_upstream), (upstream, writer)):
            pumping = self._pump(source, sink, are_answers=source is upstream)
            self._tasks.add(asyncio.create_task(pumping))

    async def _pump(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, are_answers: bool
    ) -> None:
        try:
            while data := await source.read(65536):
                if are_answers:
                    await self.answers.wait()
                    data = self.instead or data
                if not self.silent:
                    sink.write(data)
        finally:
            sink.close()


class Log(logging.Handler):
    """What is logged as a warning or worse."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.messages: list[str] = []
        self._came = asyncio.Event()

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())
        self._came.set()

    def count(self, text: str) -> int:
        """Return how many messages have this in them."""
        return sum(text in message for message in self.messages)

    async def until(self, text: str) -> None:
        """Wait for a message that has this in it."""
        async with asyncio.timeout(10):
            while not self.count(text):
                self._came.clear()
                await self._came.wait()


quick = pytest.mark.usefixtures("_quick")


@contextmanager
def alias_of(alias: str, settings: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Let an alias be a database; give its settings, as Django completes them."""
    configured = connections.configure_settings({"default": {}, alias: settings})
    before = connections.settings.get(alias)
    connections.settings[alias] = configured[alias]
    try:
        yield connections.settings[alias]
    finally:
        if before is None:
            del connections.settings[alias]
        else:
            connections.settings[alias] = before


def make_backend(prefix: str = "test", location: str = "pg", **options: Any) -> PostgresBackend:
    """Return one that is not started."""
    return PostgresBackend(location, prefix, options)


@asynccontextmanager
async def listening(*groups: str, **options: Any) -> AsyncIterator[Listener]:
    """Start a backend that is subscribed to these groups, and close it in the end."""
    listener = Listener(make_backend(**options))
    await listener.backend.start(listener.deliver)
    try:
        await listener.backend.subscribe(groups)
        yield listener
    finally:
        await listener.backend.aclose()


@asynccontextmanager
async def keeping(*groups: str, **options: Any) -> AsyncIterator[Keeper]:
    """Do the same for one that keeps."""
    keeper = Keeper(make_backend(**options))
    keeper.keeping.on_resumed(keeper.resumed.extend)
    await keeper.backend.start(keeper.deliver)
    try:
        await keeper.backend.subscribe(groups)
        yield keeper
    finally:
        await keeper.backend.aclose()


async def in_thread(work: Callable[[], Any]) -> Any:
    """Run sync code as Django does, and close its connections."""

    def run() -> Any:
        try:
            return work()
        finally:
            connections.close_all()

    return await asyncio.to_thread(run)


def processes(postgres: Postgres, query: str = "%") -> list[int]:
    """Return the processes that serve our connections, by their last query."""
    rows = postgres.query(
        "SELECT pid FROM pg_stat_activity WHERE application_name = 'wsconsumer' AND query LIKE %s",
        query,
    )
    return [pid for (pid,) in rows]


def terminate(postgres: Postgres, pids: list[int]) -> None:
    """End processes, and wait until they are gone."""
    postgres.query("SELECT pg_terminate_backend(pid, 5000) FROM unnest(%s) AS pid", pids)
