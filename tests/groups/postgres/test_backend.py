"""The postgres backend: the contract, and what is its own, on a PostgreSQL of our own."""

from __future__ import annotations

import asyncio
import gc
import importlib.util
import logging
import os
import signal
import sys
import threading
import time
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Self

import django.db
import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import connections, transaction

from tests.engines import until
from wsconsumer.counters import counters
from wsconsumer.exceptions import BackendError
from wsconsumer.groups import reconnecting
from wsconsumer.groups.postgres import backend as postgres_backend
from wsconsumer.groups.postgres import payload as postgres_payload
from wsconsumer.groups.postgres import publisher as postgres_publisher
from wsconsumer.groups.postgres.backend import PostgresBackend
from wsconsumer.groups.postgres.link import parameters
from wsconsumer.test import BackendContract
from wsconsumer.test.listener import Listener

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

    from tests.engines import Postgres
    from wsconsumer.groups.base import Backend

SHORT = {"TIMEOUT": 0.3}
SECOND = 5.0
"""Seconds within which all must be over that does not wait for anything."""


class TidyBackend(PostgresBackend):
    """Closes Django's connection after each use, as the end of a request does."""

    def publish_sync(self, group: str, body: bytes) -> None:
        try:
            super().publish_sync(group, body)
        finally:
            connections["pg"].close()


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


@pytest.fixture(autouse=True)
def database(postgres: Postgres, django_db_blocker: Any) -> Iterator[dict[str, Any]]:
    """Let the alias "pg" be our PostgreSQL; return its settings."""
    configured = connections.configure_settings({"default": {}, "pg": postgres.settings})
    connections.settings["pg"] = configured["pg"]
    with django_db_blocker.unblock():
        yield connections.settings["pg"]
    del connections.settings["pg"]


@pytest.fixture
def log() -> Iterator[Log]:
    """Note what is logged."""
    handler = Log()
    logging.getLogger("wsconsumer").addHandler(handler)
    yield handler
    logging.getLogger("wsconsumer").removeHandler(handler)


@pytest.fixture
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let checks and attempts come fast one after the other."""
    monkeypatch.setattr(postgres_backend, "CHECK_EVERY", 0.05)
    monkeypatch.setattr(reconnecting, "MAX_DELAY", 0.05)
    monkeypatch.setattr(postgres_publisher, "PAUSE", 0)


quick = pytest.mark.usefixtures("_quick")


def make_backend(prefix: str = "test", **options: Any) -> PostgresBackend:
    """Return one that is not started."""
    return PostgresBackend("pg", prefix, options)


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


async def in_thread(work: Callable[[], Any]) -> Any:
    """Run sync code as Django does, and close its connection."""

    def run() -> Any:
        try:
            return work()
        finally:
            connections["pg"].close()

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


class TestPostgresBackend(BackendContract):
    """The contract."""

    def make_backend(self, prefix: str = "contract") -> Backend:
        return TidyBackend("pg", prefix, {})


# Transactions


async def test_commit() -> None:
    """What is published in a transaction comes when that is committed, and not before."""
    published, commit = threading.Event(), threading.Event()

    async with listening("g") as one:

        def work() -> None:
            with transaction.atomic(using="pg"):
                one.backend.publish_sync("g", b"inside")
                published.set()
                commit.wait(10)

        task = asyncio.create_task(in_thread(work))
        await asyncio.to_thread(published.wait, 10)
        await one.backend.publish("g", b"meanwhile")
        await one.until("g", b"meanwhile")
        commit.set()
        await task
        await one.until("g", b"inside")
        assert one.of("g") == [b"meanwhile", b"inside"]


async def test_rollback() -> None:
    """What is published in a transaction that is rolled back never comes."""
    async with listening("g") as one:

        def work() -> None:
            with transaction.atomic(using="pg"):
                one.backend.publish_sync("g", b"inside")
                transaction.set_rollback(True, using="pg")
            one.backend.publish_sync("g", b"end")

        await in_thread(work)
        await one.until("g", b"end")
        assert one.of("g") == [b"end"]


async def test_savepoint() -> None:
    """A part of a transaction that is rolled back takes only its own broadcasts with it."""
    async with listening("g") as one:

        def work() -> None:
            with transaction.atomic(using="pg"):
                one.backend.publish_sync("g", b"before")
                with transaction.atomic(using="pg"):
                    one.backend.publish_sync("g", b"inside")
                    transaction.set_rollback(True, using="pg")
                one.backend.publish_sync("g", b"end")

        await in_thread(work)
        await one.until("g", b"end")
        assert one.of("g") == [b"before", b"end"]


@pytest.mark.parametrize("server_side_binding", [True, False])
async def test_equal_broadcasts_in_one_transaction(
    server_side_binding: bool, database: dict[str, Any]
) -> None:
    """PostgreSQL drops equal notifications of a transaction, but here none are equal."""
    database["OPTIONS"] = {"server_side_binding": server_side_binding}
    odd = b"'\"\\ %s %% {,} \0\x7f"
    bodies = [b"same", b"same", b"x" * 9_000, b"x" * 9_000, odd, b"same"]
    async with listening("g") as one:

        def work() -> None:
            with transaction.atomic(using="pg"):
                for body in bodies:
                    one.backend.publish_sync("g", body)

        await in_thread(work)
        await one.until_count(len(bodies))
        assert one.of("g") == bodies


async def test_large_body_in_a_transaction() -> None:
    """A megabyte comes whole and in order, whatever others publish at the same time."""
    bodies = [b"before", bytes(range(256)) * 4096, b"after"]
    async with listening("g", "other") as one:

        def work() -> None:
            with transaction.atomic(using="pg"):
                for body in bodies:
                    one.backend.publish_sync("g", body)

        large = b"y" * 100_000
        publishes = (one.backend.publish("other", large) for _ in range(20))
        await asyncio.gather(in_thread(work), *publishes)
        await one.until_count(23)
        assert one.of("g") == bodies
        assert one.of("other") == [large] * 20


@pytest.mark.parametrize("begin", ["atomic", "autocommit-off"])
async def test_an_error_in_a_transaction(begin: str, postgres: Postgres) -> None:
    """The transaction is broken, so the caller gets Django's error, as of any query."""

    def work() -> None:
        connection = connections["pg"]
        if begin == "atomic":
            with transaction.atomic(using="pg"):
                fail(connection)
        else:
            connection.set_autocommit(False)
            fail(connection)

    def fail(connection: Any) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_backend_pid()")
            terminate(postgres, [cursor.fetchone()[0]])
        make_backend().publish_sync("g", b"body")

    with pytest.raises(django.db.OperationalError):
        await in_thread(work)


async def test_an_error_outside_a_transaction(postgres: Postgres) -> None:
    """It is a BackendError, after which the thread's connection is made anew."""
    async with listening("g") as one:

        def work() -> None:
            with connections["pg"].cursor() as cursor:
                cursor.execute("SELECT pg_backend_pid()")
                pid = cursor.fetchone()[0]
            terminate(postgres, [pid])
            with pytest.raises(BackendError, match="did not take a broadcast to 'g'") as caught:
                one.backend.publish_sync("g", b"lost")
            assert isinstance(caught.value.__cause__, django.db.OperationalError)
            one.backend.publish_sync("g", b"end")

        await in_thread(work)
        await one.until("g", b"end")
        assert one.of("g") == [b"end"]


# Outages


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
            with pytest.raises(BackendError, match=r"DATABASES\['pg'\].* did not take"):
                await one.backend.publish("g", b"lost")
            with pytest.raises(BackendError, match="did not take a broadcast to 'g'"):
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
            await log.until("is away: TimeoutError: no answer within 0.3 seconds")
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
    garbage = ["", "garbage", "1 1/1 g", "1 1/1 g é", "1 1/1 g b***", "1 x/1 g a", "1 1 g a"]
    async with listening("g") as one:
        for payload in garbage:
            postgres.query("SELECT pg_notify('test', %s)", payload)
        postgres.query("SELECT pg_notify('test', '1 1/1 nobody garbage')")
        await one.backend.publish("g", b"end")
        await one.until("g", b"end")
        assert one.of("g") == [b"end"]
    assert counters["body_refused"] == log.count("Refused what came") == len(garbage)
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


# The way to PostgreSQL


class Pooler:
    """Stands between, shows processes of its own, and can fall silent."""

    def __init__(self, port: int) -> None:
        self.silent = False
        self._port = port
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
        upstream, to_upstream = await asyncio.open_connection("127.0.0.1", self._port)
        for source, sink in ((reader, to_upstream), (upstream, writer)):
            self._tasks.add(asyncio.create_task(self._pump(source, sink)))

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        try:
            while data := await source.read(65536):
                if not self.silent:
                    # BackendKeyData: the process, and a secret
                    start = data.find(b"K\x00\x00\x00\x0c") + 5
                    if start >= 5:
                        data = data[:start] + b"\x00\x00\x00\x07" + data[start + 4 :]
                    sink.write(data)
        finally:
            sink.close()


async def test_a_pooler(database: dict[str, Any], log: Log, postgres: Postgres) -> None:
    """Who goes through a pooler is warned, because through most of them nothing comes in."""
    async with Pooler(postgres.port) as pooler:
        database["PORT"] = str(pooler.port)
        async with listening("g") as one:
            assert log.count("is reached through a pooler. If it pools transactions") == 1
            await one.backend.publish("g", b"body")
            await one.until("g", b"body")


@quick
async def test_a_way_that_falls_silent(
    database: dict[str, Any], log: Log, postgres: Postgres
) -> None:
    """A connection that is half open is found out, and made anew."""
    async with Pooler(postgres.port) as pooler:
        database["PORT"] = str(pooler.port)
        async with listening("g", **SHORT) as one:
            await one.backend.publish("g", b"before")
            await one.until("g", b"before")
            pooler.silent = True
            await log.until("is away")
            pooler.silent = False
            await log.until("is back")
            await one.backend.publish("g", b"end")
            await one.until("g", b"end")


async def test_options_of_django(database: dict[str, Any]) -> None:
    """What OPTIONS say to Django or psycopg is not for libpq, and all else is."""
    database["OPTIONS"] = {
        "pool": {"min_size": 1},
        "server_side_binding": True,
        "isolation_level": 4,
        "assume_role": "somebody",
        "cursor_factory": object,
        "prepare_threshold": 5,
        "sslmode": "disable",
        "connect_timeout": 3,
        "keepalives_idle": 60,
        "passfile": None,
    }
    assert parameters("pg") == {
        "dbname": "postgres",
        "user": "tester",
        "host": "127.0.0.1",
        "port": database["PORT"],
        "client_encoding": "UTF8",
        "sslmode": "disable",
        "connect_timeout": "3",
        "fallback_application_name": "wsconsumer",
        "keepalives_idle": "60",
        "keepalives_interval": "10",
        "keepalives_count": "3",
    }
    async with listening("g") as one:
        await one.backend.publish("g", b"body")
        await one.until("g", b"body")


async def test_a_service_file(
    database: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, postgres: Postgres
) -> None:
    """Where PostgreSQL is can be in a service file."""
    file = tmp_path / "services"
    file.write_text(f"[ours]\nhost=127.0.0.1\nport={postgres.port}\nuser=tester\ndbname=postgres\n")
    monkeypatch.setenv("PGSERVICEFILE", str(file))
    database |= dict.fromkeys(("NAME", "USER", "HOST", "PORT"), "")
    database["OPTIONS"] = {"service": "ours"}
    async with listening("g") as one:
        await one.backend.publish("g", b"body")
        await one.until("g", b"body")


# Mistakes


@pytest.mark.parametrize(
    ("location", "options", "error"),
    [
        ("nowhere", {}, r"an alias in DATABASES, got 'nowhere'. There are 'default', 'pg'"),
        ("", {}, r"DATABASES\['default'\] is 'django.db.backends.sqlite3'. Name the alias"),
        ("pg", {"TIMOUT": 1}, r"has no option 'TIMOUT'. Its OPTIONS .* are 'TIMEOUT'"),
        ("pg", {"TIMEOUT": 0}, r"must be a number of seconds above 0, got 0. The default is 5"),
        ("pg", {"TIMEOUT": True}, "got True"),
        ("pg", {"TIMEOUT": "5"}, "got '5'"),
        ("pg", {"TIMEOUT": float("nan")}, "got nan"),
    ],
)
def test_mistakes_in_settings(location: str, options: dict[str, Any], error: str) -> None:
    """What is wrong with the settings is told when the backend is made."""
    with pytest.raises(ImproperlyConfigured, match=error):
        PostgresBackend(location, "test", options)


def test_without_psycopg(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who lacks psycopg is told what to install."""
    spec = importlib.util.find_spec("wsconsumer.groups.postgres.link")
    assert spec is not None
    assert spec.loader is not None
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(ImproperlyConfigured, match=r"pip install 'wsconsumer\[postgres\]'"):
        spec.loader.exec_module(importlib.util.module_from_spec(spec))
