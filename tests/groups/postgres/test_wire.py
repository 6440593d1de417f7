"""``groups/postgres/wire.py``: batches that are on their way at the same time."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from django.core.exceptions import ImproperlyConfigured

from tests.engines import until
from tests.groups.postgres.harness import Between, make_backend
from wsconsumer.groups.batching import Waiting
from wsconsumer.groups.postgres.connecting import Way, attempts, connect
from wsconsumer.groups.postgres.link import array
from wsconsumer.groups.postgres.publisher import PUBLISH, Publisher
from wsconsumer.groups.postgres.wire import Statement, Wire

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from tests.engines import Postgres

pytestmark = pytest.mark.usefixtures("database")


@pytest.fixture
def direct(postgres: Postgres) -> Iterator[psycopg.Connection]:
    """A connection to PostgreSQL itself that listens."""
    with psycopg.connect(
        host="127.0.0.1", port=postgres.port, dbname="postgres", user="tester", autocommit=True
    ) as connection:
        connection.execute("LISTEN test")
        yield connection


def hear(connection: psycopg.Connection, number: int) -> list[str]:
    """Return so many payloads, in the order in which they came."""
    return [one.payload for one in connection.notifies(timeout=10, stop_after=number)]


@pytest.fixture
async def between(database: dict[str, Any], postgres: Postgres) -> AsyncIterator[Between]:
    """Stand between us and PostgreSQL."""
    async with Between(postgres.port) as one:
        database["PORT"] = str(one.port)
        yield one


async def test_no_batch_waits_for_the_answer_to_another(
    between: Between, direct: psycopg.Connection
) -> None:
    """PostgreSQL has them all, in order, before a single answer came."""
    publisher = Publisher(Way("pg", 60), "test", 60)
    try:
        await publisher.publish(["0"])
        between.answers.clear()
        publishing = []
        for number in range(1, 5):
            publishing.append(asyncio.create_task(publisher.publish([str(number)])))
            heard = await asyncio.to_thread(hear, direct, 1 + (number == 1))
            assert heard[-1] == str(number)
        assert not any(one.done() for one in publishing)
        between.answers.set()
        await asyncio.gather(*publishing)
    finally:
        await publisher.aclose()


async def open_wire(seconds: float = 60) -> Wire:
    """Return a wire of its own."""
    (told,) = attempts("pg")
    return Wire(await connect(told), seconds)


async def send(
    wire: Wire, payload: str, seconds: float = 60, sql: Statement = PUBLISH
) -> asyncio.Future[None]:
    """Send a batch of one payload; return a future for its answer."""
    loop = asyncio.get_running_loop()
    waiting: Waiting[str] = Waiting(payload, 0, loop.time() + seconds, loop.create_future())
    await wire.send([waiting], sql, "test", array([payload]))
    return waiting.done


async def test_an_error_is_that_of_its_batch(direct: psycopg.Connection) -> None:
    """What goes before it and after it is taken."""
    wire = await open_wire()
    try:
        first, bad, last = [await send(wire, text) for text in ("first", "x" * 8_000, "last")]
        await first
        with pytest.raises(psycopg.OperationalError, match="payload string too long"):
            await bad
        await last
        assert await asyncio.to_thread(hear, direct, 2) == ["first", "last"]
    finally:
        wire.close(ConnectionError("the end"))


async def test_an_answer_that_only_we_are_late_to_read(direct: psycopg.Connection) -> None:
    """It counts, however long our own event loop was blocked."""
    wire = await open_wire()
    try:
        done = await send(wire, "body", seconds=0.1)
        deadline = time.monotonic() + 0.1
        assert hear(direct, 1) == ["body"]
        until(lambda: time.monotonic() > deadline, "the deadline")
        await done
        assert wire.is_open
    finally:
        wire.close(ConnectionError("the end"))


async def test_a_timer_that_comes_for_an_answer_that_was_read(between: Between) -> None:
    """It comes back for the next one that is overdue."""
    wire = await open_wire()
    try:
        await (await send(wire, "first", seconds=0.2))
        between.answers.clear()
        second = await send(wire, "second", seconds=0.4)
        with pytest.raises(TimeoutError, match=r"no answer within 60\.0 seconds"):
            await second
        assert not wire.look()
    finally:
        wire.close(ConnectionError("the end"))


async def test_the_connection_is_lost(database: dict[str, Any], postgres: Postgres) -> None:
    """Whoever waits is told, and it takes no more."""
    async with Between(postgres.port) as between:
        database["PORT"] = str(between.port)
        wire = await open_wire()
        between.answers.clear()
        lost = await send(wire, "lost")
    with pytest.raises(psycopg.OperationalError):
        await lost
    with pytest.raises(ConnectionError, match="the connection was lost"):
        await send(wire, "later")


async def test_the_server_ends_it(direct: psycopg.Connection) -> None:
    """Whoever waits is told the reason that the server gave, and so is what comes behind."""
    wire = await open_wire()
    sql = Statement("SELECT pg_terminate_backend(pg_backend_pid()), pg_sleep(60), $1, $2::text[]")
    lost = [await send(wire, "lost", sql=sql), await send(wire, "behind")]
    for one in lost:
        with pytest.raises(psycopg.OperationalError, match="terminating connection due to"):
            await one
    assert not wire.is_open
    await (await send(other := await open_wire(), "next"))
    other.close(ConnectionError("the end"))
    assert await asyncio.to_thread(hear, direct, 1) == ["next"]


async def test_what_comes_makes_no_sense(between: Between) -> None:
    """The connection is lost, and whoever waits is told."""
    wire = await open_wire()
    between.instead = b"?" + b"\x7f" * 4
    lost = await send(wire, "lost")
    with pytest.raises(psycopg.OperationalError, match="lost synchronization with server"):
        await lost
    assert not wire.is_open


async def test_a_connection_that_takes_nothing() -> None:
    """It is closed, and whoever tried is told."""
    (told,) = attempts("pg")
    pgconn = await connect(told)
    wire = Wire(pgconn, 60)
    pgconn.finish()
    with pytest.raises(psycopg.OperationalError, match="closed"):
        await (await send(wire, "lost"))
    assert not wire.is_open


def test_an_old_libpq(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who has one is told what to install."""
    monkeypatch.setattr(psycopg.Pipeline, "is_supported", lambda: False)
    with pytest.raises(ImproperlyConfigured, match=r"libpq 14 or later, got version \d+"):
        make_backend()
