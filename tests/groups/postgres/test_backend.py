"""The postgres backend: the contract, and what is its own, on a PostgreSQL of our own."""

from __future__ import annotations

import asyncio
import gc
import importlib.util
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest
from django.core.exceptions import ImproperlyConfigured

from tests.groups.postgres.harness import (
    SECOND,
    Log,
    TidyBackend,
    in_thread,
    listening,
    make_backend,
    processes,
)
from wsconsumer.counters import counters
from wsconsumer.exceptions import BackendError
from wsconsumer.groups.postgres import payload as postgres_payload
from wsconsumer.groups.postgres.backend import PostgresBackend
from wsconsumer.test import BackendContract
from wsconsumer.test.listener import Listener

if TYPE_CHECKING:
    from tests.engines import Postgres
    from wsconsumer.groups.base import Backend

pytestmark = pytest.mark.usefixtures("database")


class TestPostgresBackend(BackendContract):
    """The contract."""

    def make_backend(self, prefix: str = "contract") -> Backend:
        return TidyBackend("pg", prefix, {})


# Ends


async def test_a_publish_that_is_cancelled_before_it_is_sent() -> None:
    """It is not sent, and others are."""
    async with listening("g") as one:
        task = asyncio.create_task(one.backend.publish("g", b"cancelled"))
        await asyncio.sleep(0)
        task.cancel()
        await one.backend.publish("g", b"end")
        await one.until("g", b"end")
        assert one.of("g") == [b"end"]


async def test_a_publish_that_is_cancelled_while_it_is_sent(postgres: Postgres) -> None:
    """Others don't suffer from it."""
    async with listening("g") as one:
        await publish_to_silence(one, postgres)
        await asyncio.to_thread(postgres.resume)
        await one.backend.publish("g", b"end")
        await one.until("g", b"end")


async def test_aclose_while_publishing(postgres: Postgres) -> None:
    """Whoever waits is told, and so is whoever comes later."""
    async with listening("g") as one:
        await publish_to_silence(one, postgres)
        task = asyncio.create_task(one.backend.publish("g", b"body"))
        await asyncio.sleep(0)
        await one.backend.aclose()
        await asyncio.to_thread(postgres.resume)
        with pytest.raises(BackendError, match="the backend was closed"):
            await task
        with pytest.raises(BackendError, match="the backend is closed"):
            await one.backend.publish("g", b"body")


@pytest.mark.parametrize("opened", [True, False], ids=["sending", "connecting"])
async def test_a_loop_ends_while_publishing_to_silence(opened: bool, postgres: Postgres) -> None:
    """It ends at once, however long PostgreSQL says nothing, and no connection is left."""

    async def serve() -> None:
        one = Listener(make_backend(TIMEOUT=60))
        await one.backend.start(one.deliver)
        await publish_to_silence(one, postgres, opened=opened)

    try:
        start = time.monotonic()
        await asyncio.to_thread(lambda: asyncio.run(serve()))
        assert time.monotonic() - start < SECOND
        gc.collect()
    finally:
        await asyncio.to_thread(postgres.resume)


async def publish_to_silence(one: Listener, postgres: Postgres, *, opened: bool = True) -> None:
    """Let PostgreSQL hang, and cancel a publish that is on its way."""
    if opened:
        await one.backend.publish("g", b"first")
    postgres.pause()
    task = asyncio.create_task(one.backend.publish("g", b"silence"))
    for _ in range(10):
        await asyncio.sleep(0)
    task.cancel()


# What comes in


async def test_garbage_on_the_channel(postgres: Postgres, log: Log) -> None:
    """It is logged, counted, and kills nothing."""
    garbage = ["garbage", "", "1 1/1 g", "1 1/1 g é", "1 1/1 g b***", "1 x/1 g a", "1 1 g a"]
    async with listening("g") as one:
        for payload in garbage:
            postgres.query("SELECT pg_notify('test', %s)", payload)
        postgres.query("SELECT pg_notify('test', '1 1/1 nobody garbage')")
        await one.backend.publish("g", b"end")
        await one.until("g", b"end")
        assert one.of("g") == [b"end"]
    assert counters["body_refused"] == len(garbage)
    assert log.count("Refused what came") == 1
    assert log.count("the channel 'test' of PostgreSQL (DATABASES['pg']): b'garbage'")


async def test_a_database_of_another_encoding(database: dict[str, Any], postgres: Postgres) -> None:
    """Bodies and names pass through one that does not know their letters, named after all else."""
    postgres.query(
        "CREATE DATABASE latin ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"
    )
    backend = make_backend(prefix="чат")
    database["NAME"] = "latin"  # as a test runner does, after the settings were read
    one = Listener(backend)
    try:
        await backend.start(one.deliver)
        await backend.subscribe(["чат 🙂"])
        await backend.publish("чат 🙂", "部屋".encode())
        await in_thread(lambda: backend.publish_sync("чат 🙂", "部屋 2".encode()))
        await one.until_count(2)
        assert one.of("чат 🙂") == ["部屋".encode(), "部屋 2".encode()]
    finally:
        await backend.aclose()
        postgres.query("DROP DATABASE latin WITH (FORCE)")


async def test_a_body_that_is_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is a limit, also for those that come in parts."""
    monkeypatch.setattr(postgres_payload, "MAX_BODY", 10)
    async with listening("g") as one:
        with pytest.raises(BackendError, match="a body has at most 10 bytes, got 11"):
            await one.backend.publish("g", b"x" * 11)
        with pytest.raises(BackendError, match="a body has at most 10 bytes, got 11"):
            one.backend.publish_sync("g", b"x" * 11)


async def test_a_body_that_postgres_is_slow_to_read(postgres: Postgres) -> None:
    """One that is larger than what the network holds goes bit by bit, and others wait."""
    large = b"0123456789abcdef" * (1 << 20)
    async with listening("g") as one:
        await one.backend.publish("g", b"before")
        postgres.pause()
        publishes = asyncio.gather(*(one.backend.publish("g", body) for body in (large, b"end")))
        for _ in range(10):
            await asyncio.sleep(0)
        await asyncio.to_thread(postgres.resume)
        await publishes
        await one.until("g", b"end")
        assert one.of("g") == [b"before", large, b"end"]


async def test_connections_of_a_process(postgres: Postgres) -> None:
    """One to listen, and one to publish as soon as anything is."""
    async with listening("g") as one:
        assert len(await asyncio.to_thread(processes, postgres)) == 1
        await asyncio.gather(*(one.backend.publish("g", b"%d" % n) for n in range(100)))
        assert len(await asyncio.to_thread(processes, postgres)) == 2


# Mistakes


@pytest.mark.parametrize(
    ("location", "options", "error"),
    [
        ("nowhere", {}, r"an alias in DATABASES, got 'nowhere'. There are 'default', 'pg'"),
        (["pg"], {}, r"an alias in DATABASES, got \['pg'\]. There are 'default', 'pg'"),
        ("postgres://me:secret@db/x", {}, r"got 'postgres://me:\*\*\*@db/x'. There are 'default'"),
        ("host=db password=secret", {}, r"got '\*\*\*'. There are 'default'"),
        ("", {}, r"DATABASES\['default'\] is 'django.db.backends.sqlite3'. Name the alias"),
        (
            "pg",
            {"TIMOUT": 1},
            r"has 'TIMOUT', which the PostgreSQL .* There are PUBLISH_USING, TIMEOUT",
        ),
        ("pg", {"TIMEOUT": 0}, r"expects a number of seconds above 0, got 0"),
        ("pg", {"TIMEOUT": True}, "got True"),
        ("pg", {"TIMEOUT": "5"}, "got '5'"),
        ("pg", {"TIMEOUT": float("nan")}, "got nan"),
    ],
)
def test_mistakes_in_settings(location: Any, options: dict[str, Any], error: str) -> None:
    """What is wrong with the settings is told when the backend is made."""
    with pytest.raises(ImproperlyConfigured, match=error):
        PostgresBackend(location, "test", options)


def test_without_psycopg(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who lacks psycopg is told what to install."""
    spec = importlib.util.find_spec("wsconsumer.groups.postgres.connecting")
    assert spec is not None
    assert spec.loader is not None
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(ImproperlyConfigured, match=r"pip install 'wsconsumer\[postgres\]'"):
        spec.loader.exec_module(importlib.util.module_from_spec(spec))
