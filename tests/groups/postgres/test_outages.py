"""The postgres backend: a server that stops, hangs or is not there."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from tests.engines import until
from tests.groups.postgres.harness import (
    SECOND,
    SHORT,
    Log,
    in_thread,
    listening,
    processes,
    quick,
    terminate,
)
from wsconsumer.counters import counters
from wsconsumer.exceptions import BackendError
from wsconsumer.groups.postgres import backend as postgres_backend
from wsconsumer.groups.postgres import payload as postgres_payload
from wsconsumer.groups.postgres import publisher as postgres_publisher

if TYPE_CHECKING:
    from tests.engines import Postgres

pytestmark = pytest.mark.usefixtures("database")


@quick
@pytest.mark.parametrize("end", ["stop", "kill"])
async def test_an_outage(end: str, postgres: Postgres, log: Log) -> None:
    """Publishing fails while PostgreSQL is away, and goes on when it is back; two log lines."""
    async with listening("g") as one:
        await one.backend.publish("g", b"before")
        await one.until("g", b"before")
        await asyncio.to_thread(getattr(postgres, end))
        try:
            await log.until("is away")
            start = time.monotonic()
            with pytest.raises(BackendError, match=r"DATABASES\['pg'\].* did not accept"):
                await one.backend.publish("g", b"lost")
            with pytest.raises(BackendError, match="did not accept a broadcast to 'g'"):
                await in_thread(lambda: one.backend.publish_sync("g", b"lost"))
            await one.backend.unsubscribe(["g"])
            await one.backend.subscribe(["h"])
            assert time.monotonic() - start < SECOND
        finally:
            await asyncio.to_thread(postgres.start)
        await log.until("is back")
        await one.backend.publish("g", b"end")
        await one.backend.publish("h", b"end")
        await one.until("h", b"end")
        assert one.came == [("g", b"before"), ("h", b"end")]
    assert (log.count("is away"), log.count("is back"), counters["engine_lost"]) == (1, 1, 1)


@quick
async def test_its_connections_are_terminated(postgres: Postgres, log: Log) -> None:
    """It connects again."""
    async with listening("g") as one:
        await one.backend.publish("g", b"before")
        await one.until("g", b"before")
        await asyncio.to_thread(terminate, postgres, processes(postgres))
        await log.until("is back")
        await one.backend.publish("g", b"after")
        await one.until("g", b"after")


async def test_an_idle_publishing_connection_is_terminated(postgres: Postgres, log: Log) -> None:
    """The next publish finds out by itself, and does not fail."""
    async with listening("g") as one:
        for body in (b"1", b"2", b"3"):
            await one.backend.publish("g", body)
            await one.until("g", body)
            await asyncio.to_thread(terminate, postgres, processes(postgres, "%pg_notify%"))
    assert log.messages == []


@quick
async def test_postgres_hangs(postgres: Postgres, log: Log) -> None:
    """A server that accepts and does not answer is away, and publishing takes no longer for it."""
    async with listening("g", **SHORT) as one:
        await one.backend.publish("g", b"before")
        await asyncio.to_thread(postgres.pause)
        try:
            start = time.monotonic()
            publishes = [one.backend.publish("g", b"%d" % number) for number in range(3)]
            failures = await asyncio.gather(*publishes, return_exceptions=True)
            assert time.monotonic() - start < SECOND
            assert all(isinstance(failure, BackendError) for failure in failures)
            await log.until("is away: TimeoutError: no answer within 1.0 seconds")
        finally:
            await asyncio.to_thread(postgres.resume)
        await log.until("is back")
        await one.backend.publish("g", b"after")
        await one.until("g", b"after")
    assert (log.count("is away"), log.count("is back")) == (1, 1)


@quick
async def test_the_process_that_listens_hangs(postgres: Postgres, log: Log) -> None:
    """It connects again, to another one."""
    async with listening("g", **SHORT) as one:
        (pid,) = await asyncio.to_thread(processes, postgres)
        os.kill(pid, signal.SIGSTOP)
        try:
            await log.until("is back")
            await one.backend.publish("g", b"body")
            await one.until("g", b"body")
        finally:
            os.kill(pid, signal.SIGCONT)


@quick
async def test_an_idle_connection_is_kept(postgres: Postgres, log: Log) -> None:
    """A connection that is asked whether it lives, and answers, goes on."""
    async with listening("g") as one:
        before = await asyncio.to_thread(processes, postgres)
        checked = partial(processes, postgres, "SELECT 1")
        await asyncio.to_thread(until, checked, "the connection to be asked")
        await one.backend.publish("g", b"end")
        await one.until("g", b"end")
        assert set(before) < set(await asyncio.to_thread(processes, postgres))
    assert log.messages == []


async def test_nothing_is_lost_while_it_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """What comes in together with the answer is delivered, in its order."""
    monkeypatch.setattr(postgres_backend, "CHECK_EVERY", 0)
    bodies = [b"%d" % number for number in range(300)]
    async with listening("g") as one:
        for body in bodies:
            await one.backend.publish("g", body)
        await one.until("g", bodies[-1])
        assert one.of("g") == bodies


@quick
async def test_away_at_the_start(database: dict[str, Any], postgres: Postgres, log: Log) -> None:
    """``start()`` returns with the password wrong, and all is well when it is right."""
    database |= {"USER": "guarded", "PASSWORD": "top secret"}
    postgres.query("CREATE ROLE guarded LOGIN PASSWORD 'theirs'")
    try:
        async with listening("g") as one:
            assert log.count("is away: OperationalError")
            assert log.count("password authentication failed")
            assert not log.count("top secret")
            with pytest.raises(BackendError, match="password authentication failed"):
                await one.backend.publish("g", b"lost")
            postgres.query("ALTER ROLE guarded PASSWORD 'top secret'")
            await log.until("is back")
            await one.backend.publish("g", b"body")
            await one.until("g", b"body")
    finally:
        postgres.query("DROP ROLE guarded")


async def test_too_many_connections(
    database: dict[str, Any], postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Publishing fails while there is no connection left, without attempts in a row."""
    postgres.query("CREATE ROLE limited LOGIN CONNECTION LIMIT 1")
    database["USER"] = "limited"
    try:
        async with listening("g") as one:
            with pytest.raises(BackendError, match="too many connections") as first:
                await one.backend.publish("g", b"lost")
            postgres.query("ALTER ROLE limited CONNECTION LIMIT 2")
            with pytest.raises(BackendError, match=r"too many connections.*\(moments ago\)"):
                await one.backend.publish("g", b"lost")
            assert "OperationalError" in str(first.value)
            monkeypatch.setattr(postgres_publisher, "PAUSE", 0)
            async with asyncio.timeout(10):
                while True:
                    try:
                        await one.backend.publish("g", b"body")
                    except BackendError:
                        continue
                    break
            await one.until("g", b"body")
            assert one.of("g") == [b"body"]
    finally:
        postgres.query("DROP ROLE limited")


async def test_what_postgres_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    """An error of PostgreSQL is the publisher's, and the next publish is well."""
    async with listening("g") as one:
        monkeypatch.setattr(postgres_payload, "MAX_PAYLOAD", 8_100)
        with pytest.raises(
            BackendError, match=r"OperationalError: ERROR: +payload string too long"
        ):
            await one.backend.publish("g", b"x" * 10_000)
        monkeypatch.undo()
        await one.backend.publish("g", b"x" * 10_000)
        await one.until("g", b"x" * 10_000)
