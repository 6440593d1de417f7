"""``databases.py``: transactions left open, lost connections, and those from a pool."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.contenttypes.models import ContentType
from django.db import connections, transaction
from django.test import override_settings

from tests.engines import Postgres, until
from tests.syncing import Client, Syncing, clients, database, query
from wsconsumer import WebsocketConsumer, databases, threads
from wsconsumer.counters import counters

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture(autouse=True)
def _settings() -> Iterator[None]:
    with override_settings(WSCONSUMER={"THREADS": 1, "HANDSHAKE_THREADS": 1}, MIDDLEWARE=[]):
        yield


# Transactions


@pytest.fixture
def notes(alias: str) -> str:
    """Make a table of notes; return the alias of its database."""

    def make() -> None:
        with connections[alias].cursor() as cursor:
            cursor.execute("DROP TABLE IF EXISTS note")
            cursor.execute("CREATE TABLE note (text varchar(100))")

    threads.lanes().all[0].submit(make).result()
    return alias


def write(alias: str, text: str) -> None:
    with connections[alias].cursor() as cursor:
        cursor.execute("INSERT INTO note VALUES (%s)", [text])


def enter_atomic(alias: str) -> None:
    transaction.atomic(alias).__enter__()
    write(alias, "lost")


def enter_two(alias: str) -> None:
    transaction.atomic(alias).__enter__()
    enter_atomic(alias)


def close_inside(alias: str) -> None:
    enter_atomic(alias)
    connections[alias].close()


def autocommit_off(alias: str) -> None:
    transaction.set_autocommit(False, alias)
    write(alias, "lost")


def begin(alias: str) -> None:
    with connections[alias].cursor() as cursor:
        cursor.execute("BEGIN")
    write(alias, "lost")


def and_fail(work: Callable[[str], None]) -> Callable[[str], None]:
    """Return work that raises in the end."""

    def failing(alias: str) -> None:
        work(alias)
        raise LookupError("something else")

    failing.__name__ = f"{work.__name__}_and_fail"
    return failing


WORK = [enter_atomic, enter_two, close_inside, autocommit_off, begin]


class Writing(WebsocketConsumer):
    """Notes a text, or does the ``work`` of the test when told to; answers with what is noted."""

    alias = ""
    work: Any = staticmethod(enter_atomic)

    async def receive(self, data: str | bytes) -> None:
        if data == "leave":
            await sync_to_async(self.work)(self.alias)
        await sync_to_async(write)(self.alias, str(data))
        await self.send(await sync_to_async(self.read)())

    def read(self) -> str:
        with connections[self.alias].cursor() as cursor:
            cursor.execute("SELECT text FROM note ORDER BY text")
            return " ".join(text for (text,) in cursor.fetchall())


@pytest.mark.parametrize("work", [*WORK, *map(and_fail, WORK)], ids=lambda work: work.__name__)
async def test_a_transaction_left_open_is_ended(
    work: Callable[[str], None], notes: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The work raises, its writes are rolled back, the log has the consumer, others go on."""
    async with clients(1, Writing, alias=notes) as (other,):
        assert await other.ask("a") == "a"
        culprit = Client(Writing, alias=notes, work=staticmethod(work))
        await culprit.wire.until_sent(1)
        assert await culprit.fail("leave") == 1011
        assert await other.ask("b") == "a b"
        async with clients(1, Writing, alias=notes) as (later,):
            assert await later.ask("c") == "a b c"
    what = "autocommit off" if work.__name__.startswith("autocommit") else "a transaction open"
    mistake = (
        f"Writing left {what} on the database {notes!r}; it was rolled back and the connection was "
        "closed."
    )
    assert mistake in caplog.messages
    assert counters["transaction_left"] == 1
    # What the consumer's own error was is not hidden.
    failed = next(
        r for r in caplog.records if r.getMessage().startswith("Writing.receive() failed")
    )
    assert failed.exc_info is not None
    error = failed.exc_info[1]
    if work.__name__.endswith("_and_fail"):
        assert isinstance(error, LookupError)
        assert error.__notes__ == [mistake]
    else:
        assert isinstance(error, transaction.TransactionManagementError)
        assert str(error).startswith(mistake)


async def test_what_was_committed_stays(notes: str) -> None:
    """A whole transaction in one function is what one is asked for."""

    def work(alias: str) -> None:
        with transaction.atomic(alias):
            write(alias, "kept")

    async with clients(1, Writing, alias=notes, work=staticmethod(work)) as (client,):
        assert await client.ask("leave") == "kept leave"
    assert counters["transaction_left"] == 0


async def test_autocommit_off_by_the_settings(sqlite: str) -> None:
    """A project without autocommit commits itself, and is held to that alone."""

    def work(data: str) -> str:
        connection = connections[sqlite]
        with connection.cursor() as cursor:
            cursor.execute("CREATE TABLE IF NOT EXISTS note (text varchar(100))")
            cursor.execute("INSERT INTO note VALUES ('x')")
        if data == "commit":
            connection.commit()
        return data

    connections.settings[sqlite]["AUTOCOMMIT"] = False
    async with clients(1, Syncing, work=staticmethod(work)) as (client,):
        assert await client.ask("commit") == "commit"
    client = Client(Syncing, work=staticmethod(work))
    await client.wire.until_sent(1)
    assert await client.fail("forget") == 1011


# Connections that are lost


@pytest.fixture(params=[True, False], ids=["with health checks", "without"])
def checked(
    postgres: Postgres, django_db_blocker: Any, request: pytest.FixtureRequest
) -> Iterator[tuple[str, bool]]:
    """Return the alias of a database, and whether the project wants its connections checked."""
    settings = {**postgres.settings, "CONN_MAX_AGE": None, "CONN_HEALTH_CHECKS": request.param}
    with django_db_blocker.unblock(), database("checked", settings) as alias:
        yield alias, request.param


PID = "SELECT pg_backend_pid()"


@pytest.mark.parametrize("idle", [0.0, 3600.0], ids=["idle", "busy"])
async def test_a_connection_that_is_lost_between_two_pieces_of_work(
    checked: tuple[str, bool], idle: float, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With CONN_HEALTH_CHECKS a lane that was idle replaces it; a busy one does not look."""
    monkeypatch.setattr(databases, "IDLE", idle)
    alias, is_checked = checked
    async with clients(4, Syncing, work=query(alias)) as opened:
        pid = await opened[0].ask(PID)
        postgres.query("SELECT pg_terminate_backend(%s, 5000)", int(pid))
        told = [await client.ask(PID) for client in opened]
    assert pid not in told
    assert (told[0] == "OperationalError") == (not is_checked or idle > 0)
    assert told[1:] == [told[1]] * 3
    assert told[1] != "OperationalError"


@override_settings(WSCONSUMER={"THREADS": 4})
async def test_the_first_query_after_a_while_checks(
    checked: tuple[str, bool], postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All connections of all lanes are lost while they idle, and no socket notices."""
    monkeypatch.setattr(databases, "IDLE", 0.0)
    alias, is_checked = checked
    async with clients(12, Syncing, work=query(alias)) as opened:
        pids = [int(await client.ask(PID)) for client in opened]
        for pid in set(pids):
            postgres.query("SELECT pg_terminate_backend(%s, 5000)", pid)
        told = [await client.ask(PID) for client in opened]
    assert len(set(pids)) == 4
    assert told.count("OperationalError") == (0 if is_checked else 4)


# Pools


@pytest.fixture
def pooled(postgres: Postgres, django_db_blocker: Any) -> Iterator[str]:
    """Return the alias of a database with a pool of four connections."""
    pool = {"min_size": 1, "max_size": 4, "timeout": 5}
    settings = {**postgres.settings, "OPTIONS": {"pool": pool}}
    with django_db_blocker.unblock(), database("pooled", settings) as alias:
        try:
            yield alias
        finally:
            connections[alias].close_pool()  # type: ignore[attr-defined]


def select(alias: str) -> Callable[[str], str]:
    """Return work that runs SQL on a database, and returns the one value."""

    def work(sql: str) -> str:
        with connections[alias].cursor() as cursor:
            cursor.execute(sql)
            return str(cursor.fetchone()[0])

    return staticmethod(work)


def stats(alias: str) -> dict[str, int]:
    """Return what the pool says of itself; it leaves out what is 0."""
    found: dict[str, int] = connections[alias].pool.get_stats()  # type: ignore[attr-defined]
    return found


def is_unused(alias: str) -> bool:
    """Return whether all connections are in the pool."""
    found = stats(alias)
    return found["pool_available"] == found["pool_size"]


@override_settings(WSCONSUMER={"THREADS": 4})
async def test_idle_lanes_give_their_connections_back(
    pooled: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four sockets that have used the whole pool leave it to others once they are idle."""
    monkeypatch.setattr(threads, "POOL_TIMEOUT", 0.05)
    together = threading.Barrier(4, timeout=10)

    def work(sql: str) -> str:
        answer = select(pooled)(sql)
        together.wait()
        return answer

    async with clients(4, Syncing, work=staticmethod(work)) as opened:
        for number in ("1", "2"):
            asking = [client.ask(f"SELECT {number}") for client in opened]
            assert await asyncio.gather(*asking) == [number] * 4
            await wait_for(
                lambda: stats(pooled)["pool_available"] == 4, "the connections to go back"
            )


async def test_a_transaction_left_on_a_connection_from_a_pool(pooled: str) -> None:
    """Closed or not, it is ended, and what comes after works."""

    def work(data: str) -> str:
        if data != "select":
            transaction.atomic(pooled).__enter__()
        if data == "close":
            connections[pooled].close()
        return select(pooled)("SELECT 1") if data != "close" else ""

    for leaving in ("leave", "close"):
        client = Client(Syncing, work=staticmethod(work))
        await client.wire.until_sent(1)
        assert await client.fail(leaving) == 1011
        async with clients(1, Syncing, work=staticmethod(work)) as (other,):
            assert await other.ask("select") == "1"


async def test_a_busy_lane_keeps_its_connection(
    pooled: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pieces of work that follow each other find the same connection."""
    monkeypatch.setattr(threads, "POOL_TIMEOUT", 60)
    async with clients(2, Syncing, work=select(pooled)) as opened:
        pids = {await client.ask("SELECT pg_backend_pid()") for client in opened * 5}
    assert len(pids) == 1


@pytest.fixture
def rows(pooled: str) -> Iterator[Any]:
    """Make a table with three rows; return the manager."""
    manager = ContentType.objects.using(pooled)
    (lane,) = threads.lanes().all

    def make() -> None:
        with connections[pooled].schema_editor() as editor:
            editor.create_model(ContentType)
        manager.bulk_create(ContentType(app_label="a", model=f"model{n}") for n in range(3))

    def drop() -> None:
        with connections[pooled].schema_editor() as editor:
            editor.delete_model(ContentType)

    lane.submit(make).result()
    yield manager
    lane.submit(drop).result()


class Reading(WebsocketConsumer):
    """Answers with the next row, by way of a cursor on the server."""

    manager: Any = None

    async def connect(self) -> None:
        await self.accept()
        self.rows = self.manager.order_by("pk").aiterator(chunk_size=1)

    async def receive(self, data: str | bytes) -> None:
        row = await anext(self.rows, None)
        await self.send(row.model if row else "done")


async def wait_for(condition: Callable[[], object], what: str) -> None:
    """Wait for something outside of the event loop."""
    await sync_to_async(until, thread_sensitive=False)(condition, what)


LOOKED = "SELECT pid FROM pg_stat_activity WHERE query LIKE 'SELECT 1 FROM pg_cursors%%'"


async def test_a_cursor_on_the_server_keeps_the_connection(
    pooled: str, rows: Any, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    """aiterator() goes on after an idle while; when it is done, the connection goes back."""
    monkeypatch.setattr(threads, "POOL_TIMEOUT", 0.05)
    async with clients(1, Reading, manager=rows) as (client,):
        assert await client.ask("next") == "model0"
        await wait_for(lambda: postgres.query(LOOKED), "the lane to look for cursors")
        assert await client.ask("next") == "model1"
        assert await client.ask("next") == "model2"
        assert await client.ask("next") == "done"
        await wait_for(lambda: is_unused(pooled), "the connection to go back")


async def test_a_connection_that_breaks_while_it_is_idle(
    pooled: str, rows: Any, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pool gets it back, and replaces it."""
    monkeypatch.setattr(threads, "POOL_TIMEOUT", 0.05)
    client = Client(Reading, manager=rows)
    await client.wire.until_sent(1)
    assert await client.ask("next") == "model0"
    await wait_for(lambda: postgres.query(LOOKED), "the lane to look for cursors")
    (pid,) = postgres.query(LOOKED)[0]
    postgres.query("SELECT pg_terminate_backend(%s)", pid)
    await wait_for(lambda: stats(pooled).get("returns_bad"), "the connection to be replaced")
    assert await client.fail("next") == 1011


# The end of the process


def test_connections_of_threads_that_have_ended(sqlite: str) -> None:
    """What our threads left open is closed at the end, and what they closed is forgotten."""
    used = []

    def use() -> None:
        databases.prepare()
        write_one(sqlite)
        used.append(connections[sqlite])

    def use_and_close() -> None:
        use()
        connections[sqlite].close()

    for work in (use_and_close, use):
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    closed, left = used
    assert left.connection is not None
    databases.close_opened()
    assert left.connection is None
    assert closed.connection is None


def write_one(alias: str) -> None:
    with connections[alias].cursor() as cursor:
        cursor.execute("SELECT 1")
