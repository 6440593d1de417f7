"""``groups/postgres/link.py``: what our sessions are protected from, and the server from them."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from tests.engines import until
from tests.groups.postgres.harness import Log, listening, make_backend, processes, quick
from wsconsumer.groups.postgres import backend as postgres_backend
from wsconsumer.groups.postgres.connecting import Way
from wsconsumer.groups.postgres.link import Link, settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.engines import Postgres
    from wsconsumer.test.listener import Listener

pytestmark = pytest.mark.usefixtures("database")


@pytest.fixture
def limited(database: dict[str, Any], postgres: Postgres) -> Iterator[str]:
    """Let us be a role with limits; return its name."""
    postgres.query("CREATE ROLE limited LOGIN")
    for name in ("idle_session_timeout", "statement_timeout", "lock_timeout"):
        postgres.query(f"ALTER ROLE limited SET {name} = '250ms'")
    database["USER"] = "limited"
    yield "limited"
    postgres.query("DROP ROLE limited")


async def test_an_idle_session_is_not_ended(limited: str, postgres: Postgres, log: Log) -> None:
    """A limit of the role for idle sessions ends others, and neither connection of ours."""
    async with listening("g") as one:
        await one.backend.publish("g", b"before")
        await one.until("g", b"before")
        before = await asyncio.to_thread(processes, postgres)
        with psycopg.connect(
            host="127.0.0.1", port=postgres.port, dbname="postgres", user=limited
        ) as other:
            await asyncio.to_thread(until, partial(_is_ended, other), "it to be ended")
        await one.backend.publish("g", b"end")
        await one.until("g", b"end")
        assert set(await asyncio.to_thread(processes, postgres)) == set(before)
    assert log.messages == []


def _is_ended(connection: psycopg.Connection) -> bool:
    try:
        connection.pgconn.consume_input()
    except psycopg.OperationalError:
        return True
    return False


@pytest.mark.usefixtures("limited")
async def test_limits_are_our_own() -> None:
    """What the role limits is limited by TIMEOUT here, and only what this server knows is set."""

    async def prepare(link: Link, _: dict[str, str]) -> None:
        await link.configure(settings(2.5) | {"none_of_postgresql": "1", "max_connections": "1"})

    link = await Link.open(Way("pg", 5), prepare)
    try:
        names = ("idle_session_timeout", "statement_timeout", "lock_timeout")
        shown = [await link.execute(f"SHOW {name}") for name in names]
    finally:
        link.close()
    assert shown == [["0"], ["2500ms"], ["2500ms"]]


@quick
async def test_a_process_that_stops_reading_is_cut_off(
    monkeypatch: pytest.MonkeyPatch, postgres: Postgres, log: Log
) -> None:
    """The server's queue is not kept for it, and it connects anew when it goes on."""
    monkeypatch.setattr(postgres_backend, "STUCK_AFTER", 0.5)
    stands, goes_on = asyncio.Event(), asyncio.Event()

    async def deliver(group: str, body: bytes, _: object = None) -> None:
        stands.set()
        await goes_on.wait()

    backend = make_backend()
    await backend.start(deliver)
    try:
        await backend.subscribe(["g"])
        (pid,) = await asyncio.to_thread(processes, postgres)
        await backend.publish("g", b"body")
        await stands.wait()
        await asyncio.to_thread(
            until, partial(_flood, postgres, pid), "the process to be cut off", 30
        )
        assert postgres.query("SELECT pg_notification_queue_usage()") == [(0.0,)]
        goes_on.set()
        await log.until("is back")
    finally:
        await backend.aclose()


def _flood(postgres: Postgres, pid: int) -> bool:
    """Send 4 MB to those who listen; return whether a process is gone."""
    postgres.query(
        "SELECT count(pg_notify('test', x || ' 1/1 nobody a' || repeat('z', 7900)))"
        " FROM generate_series(1, 500) AS x"
    )
    return pid not in processes(postgres)


@quick
async def test_a_busy_connection_is_asked_as_well(postgres: Postgres, log: Log) -> None:
    """The clock says when to ask whether it lives, not how quiet it is."""
    async with listening("g") as one:
        busy = asyncio.create_task(_publish_always(one))
        asked = partial(processes, postgres, "SELECT 1")
        await asyncio.to_thread(until, asked, "the connection to be asked")
        busy.cancel()
    assert log.messages == []


async def _publish_always(one: Listener) -> None:
    while True:
        await one.backend.publish("g", b"body")
