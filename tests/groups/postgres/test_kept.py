"""``groups/postgres/kept.py`` and the tables: what is lost, forgotten, missing or migrated."""

from __future__ import annotations

import asyncio
import io
from contextlib import nullcontext, suppress
from functools import partial
from typing import TYPE_CHECKING

import psycopg
import pytest
from django.core.management import call_command
from django.db import connections, transaction

from tests.engines import until
from tests.groups.postgres.harness import (
    Log,
    in_thread,
    keeping,
    make_backend,
    processes,
    quick,
    terminate,
)
from wsconsumer import Group, WebsocketConsumer, broadcast, group_checks
from wsconsumer.counters import counters
from wsconsumer.exceptions import BackendError
from wsconsumer.groups import declared, envelope
from wsconsumer.groups.hub import close_hub
from wsconsumer.groups.keeping import EPOCH_SECONDS, UNSPOKEN_SECONDS, Keep
from wsconsumer.groups.postgres import backend as postgres_backend
from wsconsumer.groups.postgres import payload as postgres_payload
from wsconsumer.groups.postgres import publisher as postgres_publisher
from wsconsumer.test import connect, real_engine
from wsconsumer.test.keeping import KEEP

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from pytest_django import Settings

    from tests.engines import Postgres
    from wsconsumer.test.keeping import Keeper

pytestmark = pytest.mark.usefixtures("tables")


# Time


def age(postgres: Postgres, seconds: int) -> None:
    """Let everything be so many seconds older."""
    postgres.query(
        "UPDATE wsconsumer_history SET kept_until = kept_until - make_interval(secs => %s),"
        " forgotten_at = forgotten_at - make_interval(secs => %s)",
        seconds,
        seconds,
    )
    postgres.query("UPDATE wsconsumer_key SET until = until - make_interval(secs => %s)", seconds)


async def test_messages_go_after_the_last_one(postgres: Postgres) -> None:
    """A while after the last message all are gone, and epoch and top stay."""
    async with keeping("g") as one:
        await one.append("g", b"a")
        await asyncio.to_thread(age, postgres, 40)
        (last,) = await one.append("g", b"b")
        await asyncio.to_thread(age, postgres, 40)
        assert await one.read("g", 0) == (2, [(1, b"a"), (2, b"b")])
        await asyncio.to_thread(age, postgres, 40)
        assert await one.read("g", 0) == (2, [])
        assert await one.append("g", b"c") == [(last.epoch, 3)]
        assert await one.read("g", 0) == (3, [(3, b"c")])


async def test_a_key_counts_for_the_seconds_of_the_group(postgres: Postgres) -> None:
    """After that it is a new one; a message with another key does not make it count longer."""
    async with keeping("g") as one:
        await one.append("g", b"a", key="a")
        await asyncio.to_thread(age, postgres, 40)
        assert [at.offset for at in await one.append("g", b"a", b"b", key="a")] == [1, 1]
        await one.append("g", b"b", key="b")
        await asyncio.to_thread(age, postgres, 40)
        assert [at.offset for at in await one.append("g", b"a", b"a", key="a")] == [3, 3]
        assert await one.read("g", 0) == (3, [(1, b"a"), (2, b"b"), (3, b"a")])


async def test_what_was_never_spoken_to_stays_while_it_is_asked_for(postgres: Postgres) -> None:
    """Once nobody asks, it is forgotten after an hour; a broadcast is remembered for a day."""

    async def left() -> float:
        seconds = "SELECT extract(epoch FROM forgotten_at - clock_timestamp()) AS left"
        ((found,),) = await asyncio.to_thread(postgres.query, seconds + " FROM wsconsumer_history")
        return round(float(found), -2)

    async with keeping("g") as one:
        before = (await one.read_all({"g": None}))["g"]
        assert await left() == UNSPOKEN_SECONDS
        await asyncio.to_thread(age, postgres, 600)
        await one.read("g", None)
        assert await left() == UNSPOKEN_SECONDS - 600  # not written at each look
        await asyncio.to_thread(age, postgres, 1_800)
        await one.read("g", None)
        assert await left() == UNSPOKEN_SECONDS
        assert await one.append("g", b"a") == [(before.epoch, 1)]
        assert await left() == EPOCH_SECONDS
        await asyncio.to_thread(age, postgres, EPOCH_SECONDS - 600)
        await one.read("g", None)
        assert await left() == 600


def count(postgres: Postgres) -> list[int]:
    """Return how many histories, messages and keys there are."""
    (row,) = postgres.query(
        "SELECT (SELECT count(*) FROM wsconsumer_history),"
        " (SELECT count(*) FROM wsconsumer_message), (SELECT count(*) FROM wsconsumer_key)"
    )
    return list(row)


async def until_count(postgres: Postgres, *expected: int) -> None:
    """Wait until there are so many."""
    await asyncio.to_thread(until, lambda: count(postgres) == [*expected], f"{expected}")


async def test_what_nobody_will_read_is_removed(
    postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Messages and keys that are over, and groups that nobody spoke to for a day."""
    monkeypatch.setattr(postgres_backend, "CLEAN_EVERY", 0.02)
    monkeypatch.setattr(postgres_publisher, "CLEAN_AT_ONCE", 10)
    groups = [f"g{number}" for number in range(25)]
    async with keeping() as one:
        (before,) = await one.append("old", b"a", key="k")
        await asyncio.gather(*(one.append(group, b"a", key="k") for group in groups))
        await one.append("long", b"a", keep=Keep(5, 3600), key="k")
        assert await asyncio.to_thread(count, postgres) == [27, 27, 27]
        await asyncio.to_thread(age, postgres, 70)
        await until_count(postgres, 27, 1, 1)
        await one.append("g0", b"b", keep=Keep(2, 60))
        assert await one.read("g0", 0) == (2, [(2, b"b")])
        await asyncio.to_thread(age, postgres, 24 * 60 * 60 - 30)
        await until_count(postgres, 1, 0, 0)
        await one.append("g0", b"c")
        assert await one.read("g0", 0) == (3, [(3, b"c")])
        (after,) = await one.append("old", b"b")
        assert after.epoch != before.epoch


async def test_only_one_process_removes(
    postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While another session has the lock for that, nothing is removed here."""
    monkeypatch.setattr(postgres_backend, "CLEAN_EVERY", 0.02)
    lock = "SELECT pg_advisory_lock(2004050799, 2)"
    parameters = psycopg.conninfo.make_conninfo(
        host="127.0.0.1", port=postgres.port, dbname="postgres", user="tester"
    )
    async with keeping() as one:
        with psycopg.connect(parameters, autocommit=True) as other:
            other.execute(lock)
            await one.append("g", b"a")
            await asyncio.to_thread(age, postgres, 70)
            asked = lambda: processes(postgres, "%wsconsumer_clean%")  # noqa: E731
            await asyncio.to_thread(until, asked, "it to ask")
            assert await asyncio.to_thread(count, postgres) == [1, 1, 0]
        await until_count(postgres, 1, 0, 0)


@quick
async def test_removing_that_fails_is_logged(
    postgres: Postgres, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is tried again, except while PostgreSQL is known to be away."""
    monkeypatch.setattr(postgres_backend, "CLEAN_EVERY", 0.02)
    text = "What groups have kept long enough could not be removed."
    async with keeping("g") as one:
        await one.append("g", b"a")
        postgres.query("ALTER FUNCTION wsconsumer_clean RENAME TO wsconsumer_renamed")
        try:
            await log.until(text)
        finally:
            postgres.query("ALTER FUNCTION wsconsumer_renamed RENAME TO wsconsumer_clean")
        await asyncio.to_thread(age, postgres, 70)
        await until_count(postgres, 1, 0, 0)


# Losses


@quick
@pytest.mark.parametrize("end", ["stop", "kill"])
async def test_an_outage(
    end: str, postgres: Postgres, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Groups are looked after when it is over; only a crash empties their tables."""
    monkeypatch.setattr(postgres_backend, "CLEAN_EVERY", 0.02)
    async with keeping("g", "h") as one:
        (before,) = await one.append("g", b"before")
        await asyncio.to_thread(getattr(postgres, end))
        try:
            await log.until("is away")
            with pytest.raises(BackendError, match="did not accept a broadcast to 'g'"):
                await one.append("g", b"lost")
            with pytest.raises(BackendError, match="did not accept a broadcast to 'g'"):
                await in_thread(lambda: one.keeping.append_sync("g", b"lost", KEEP, None))
            with pytest.raises(BackendError, match="does not say what is kept of 'g', 'h'"):
                await one.keeping.read({"g": 0, "h": None})
            with pytest.raises(BackendError, match="does not say what is kept of 'g'"):
                await in_thread(lambda: one.keeping.read_sync(["g"]))
        finally:
            await asyncio.to_thread(postgres.start)
        await log.until("is back")
        assert one.resumed == ["g", "h"]
        (after,) = await one.append("g", b"after")
        await one.until("g", b"after")
        if end == "stop":
            assert after == (before.epoch, 2)
        else:
            assert after.epoch != before.epoch
            assert after.offset == 1


async def test_what_came_while_nobody_listened(postgres: Postgres, settings: Settings) -> None:
    """A connection that is lost leaves no gap: the hub reads what came meanwhile."""
    settings.WSCONSUMER = {
        "GROUPS": {
            "BACKEND": "wsconsumer.groups.postgres.PostgresBackend",
            "LOCATION": "pg",
            "PREFIX": "test",
        }
    }

    class Room(WebsocketConsumer):
        async def connect(self) -> None:
            await self.join("room.a")

    def say() -> None:
        # In a transaction no broadcast fails because nobody listens just now.
        with transaction.atomic(using="pg"):
            terminate(postgres, processes(postgres, "LISTEN%"))
            broadcast("room.a", "two")
            broadcast("room.a", "three")

    with real_engine(), declared.only():
        Group("room.{slug}", keep=5)
        async with connect(Room) as ws:
            await in_thread(lambda: broadcast("room.a", "one"))
            assert await ws.receive() == "one"
            await in_thread(say)
            assert [await ws.receive(), await ws.receive()] == ["two", "three"]
        await close_hub()


async def test_garbage(postgres: Postgres, log: Log) -> None:
    """What no body can be made of is logged, counted, and a hole; the rest is read."""
    async with keeping("g") as one:
        await one.append("g", b"a", b"b", b"c")
        await one.until("g", b"c")
        postgres.query("UPDATE wsconsumer_message SET body = 'garbage' WHERE number = 2")
        assert await one.read("g", 0) == (3, [(1, b"a"), (3, b"c")])
        envelope.refused.reset()
        postgres.query("SELECT pg_notify('test', 'x:1 1/1 g agarbage')")
        await one.append("g", b"end")
        await one.until("g", b"end")
        assert one.of("g") == [b"a", b"b", b"c", b"end"]
    assert counters["body_refused"] == 2
    assert log.count("Refused what is kept of 'g' as number 2: it is written in no known way.")
    assert log.count("b'x:1 1/1 g agarbage': its number is no position")


async def test_a_body_that_is_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is a limit."""
    monkeypatch.setattr(postgres_payload, "MAX_BODY", 10)
    async with keeping("g") as one:
        with pytest.raises(BackendError, match="a body has at most 10 bytes, got 11"):
            await one.append("g", b"x" * 11)


# The app and its tables


MISSING = (
    r"MissingTables: DATABASES\['pg'\] lacks tables or functions of groups. Put "
    "'wsconsumer.groups.postgres' in INSTALLED_APPS, and run: "
    "manage.py migrate wsconsumer_postgres --database pg"
)


@pytest.fixture
def no_tables(tables: None) -> Iterator[None]:
    """Remove the tables, as if nobody had migrated."""
    call_command("migrate", "wsconsumer_postgres", "zero", database="pg", verbosity=0)
    connections["pg"].close()
    yield
    connections["pg"].close()


@pytest.mark.usefixtures("no_tables")
async def test_tables_that_are_missing() -> None:
    """Whatever needs them says what to do; groups that keep nothing need none."""
    async with keeping("g") as one:

        def append(*, in_transaction: bool) -> None:
            with transaction.atomic(using="pg") if in_transaction else nullcontext():
                one.keeping.append_sync("g", b"body", KEEP, None)

        def read(*, in_transaction: bool) -> None:
            with transaction.atomic(using="pg") if in_transaction else nullcontext():
                one.keeping.read_sync(["g"])

        with pytest.raises(BackendError, match=MISSING):
            await one.append("g", b"body")
        with pytest.raises(BackendError, match=f"what is kept of 'g': {MISSING}"):
            await one.read("g", None)
        for in_transaction in (True, False):
            for work in (append, read):
                with pytest.raises(BackendError, match=MISSING):
                    await in_thread(partial(work, in_transaction=in_transaction))
        await one.backend.publish("g", b"body")
        await in_thread(lambda: one.backend.publish_sync("g", b"end"))
        await one.until("g", b"end")


async def test_beginning_a_history_that_fails(postgres: Postgres) -> None:
    """What is asked on a connection of our own in a transaction fails as all else does."""
    postgres.query("ALTER FUNCTION wsconsumer_read RENAME TO wsconsumer_renamed")

    def read() -> None:
        with transaction.atomic(using="pg"):
            make_backend().read_sync(["g"])

    try:
        with pytest.raises(BackendError, match=MISSING):
            await in_thread(read)
    finally:
        postgres.query("ALTER FUNCTION wsconsumer_renamed RENAME TO wsconsumer_read")


def test_other_databases_get_no_tables(sqlite: str) -> None:
    """Migrations do nothing there, forwards and backwards, and count as done."""
    for target in ([], ["zero"]):
        call_command("migrate", "wsconsumer_postgres", *target, database=sqlite, verbosity=0)
        assert connections[sqlite].introspection.table_names() == ["django_migrations"]
    connections[sqlite].close()


def test_there_is_nothing_to_migrate() -> None:
    """The app has no models, so ``makemigrations`` finds no change."""
    call_command("makemigrations", check_changes=True, dry_run=True, verbosity=0)


def test_the_sql_can_be_read() -> None:
    """``sqlmigrate`` shows what the migration does."""
    out = io.StringIO()
    call_command("sqlmigrate", "wsconsumer_postgres", "0001", database="pg", stdout=out)
    assert "CREATE UNLOGGED TABLE wsconsumer_history" in out.getvalue()
    connections["pg"].close()


def test_an_app_that_is_not_installed(settings: Settings) -> None:
    """E010: the check names the app, and the command that makes the tables."""
    settings.WSCONSUMER = {
        "GROUPS": {
            "BACKEND": "wsconsumer.groups.postgres.PostgresBackend",
            "LOCATION": "pg",
        }
    }
    with declared.only():
        Group("room.{slug}", keep=5)
        assert group_checks.check_declared_groups() == []
        settings.INSTALLED_APPS = ["wsconsumer"]
        (problem,) = group_checks.check_declared_groups()
        assert problem.id == "wsconsumer.E010"
        assert "Put 'wsconsumer.groups.postgres' in INSTALLED_APPS, and run" in problem.msg


# broadcast()


@pytest.fixture
async def news(settings: Settings) -> AsyncIterator[Keeper]:
    """Declare the group "news" and listen to it."""
    settings.DEBUG = True
    settings.WSCONSUMER = {
        "GROUPS": {
            "BACKEND": "wsconsumer.groups.postgres.PostgresBackend",
            "LOCATION": "pg",
            "PREFIX": "test",
        }
    }
    with real_engine(), declared.only():
        Group("news", keep=5)
        async with keeping("news", "plain") as one:
            yield one


@pytest.mark.parametrize("using", [None, "pg"])
async def test_a_broadcast_is_part_of_the_transaction(
    using: str | None, news: Keeper, log: Log
) -> None:
    """On the database that keeps it: nothing is left for after the commit, and nobody warned."""

    def work() -> None:
        with suppress(KeyError), transaction.atomic(using="pg"):
            broadcast("news", "rolled back", using=using)
            raise KeyError
        with transaction.atomic(using="pg"):
            broadcast("news", "committed", using=using)
            assert connections["pg"].run_on_commit == []

    await in_thread(work)
    await news.append("news", b"end")
    await news.until("news", b"end")
    assert [offset for offset, _ in news.positions_of("news")] == [1, 2]
    assert news.of("news")[0].endswith(b"committed")
    assert log.messages == []


@pytest.mark.usefixtures("default")
async def test_a_broadcast_on_the_default_database(news: Keeper) -> None:
    """It is the one that is meant unless another is named."""

    def work() -> None:
        with transaction.atomic():
            broadcast("news", "committed")
            assert connections["default"].run_on_commit == []

    await in_thread(work)
    await news.until_count(1)
    assert news.positions_of("news")[0][0] == 1


async def test_a_broadcast_in_the_transaction_of_another_database(
    news: Keeper, sqlite: str, log: Log
) -> None:
    """It waits for the commit there, and only then is said here."""

    def work() -> None:
        with suppress(KeyError), transaction.atomic(using=sqlite):
            broadcast("news", "rolled back", using=sqlite)
            raise KeyError
        with transaction.atomic(using=sqlite), transaction.atomic(using="pg"):
            broadcast("news", "committed", using=sqlite)
            assert len(connections[sqlite].run_on_commit) == 1

    await in_thread(work)
    await news.until_count(1)
    assert news.of("news")[0].endswith(b"committed")
    assert log.messages == []


async def test_a_broadcast_that_is_told_not_to_wait(news: Keeper) -> None:
    """``on_commit`` that is given counts: with ``True`` nothing is sent before the commit."""

    def work() -> None:
        with transaction.atomic(using="pg"):
            broadcast("news", "committed", on_commit=True, using="pg")
            assert len(connections["pg"].run_on_commit) == 1

    await in_thread(work)
    await news.until_count(1)
    assert news.positions_of("news")[0][0] == 1
