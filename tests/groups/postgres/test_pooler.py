"""``groups/postgres/pooler.py`` and ``aliases.py``: PgBouncer in between, in each of its modes."""

from __future__ import annotations

import asyncio
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from django.db import connections, transaction

from tests.groups.postgres.harness import (
    Between,
    Log,
    Standby,
    alias_of,
    in_thread,
    listening,
    make_backend,
    quick,
)
from wsconsumer.exceptions import BackendError
from wsconsumer.groups.postgres import aliases
from wsconsumer.groups.postgres.connecting import attempts
from wsconsumer.groups.postgres.link import Link
from wsconsumer.groups.postgres.pooler import PROBE, check_session

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.engines import Postgres
    from tests.groups.postgres.pgbouncer import PgBouncer
    from wsconsumer.groups.postgres.backend import PostgresBackend

pytestmark = pytest.mark.usefixtures("database")


async def test_a_pool_of_sessions(
    database: dict[str, Any], pgbouncer: Callable[[str], PgBouncer], log: Log
) -> None:
    """It serves as well as PostgreSQL itself, and nobody is warned."""
    database |= pgbouncer("session").settings
    async with listening("g") as one:
        await one.backend.publish("g", b"body")
        await in_thread(lambda: one.backend.publish_sync("g", b"end"))
        await one.until("g", b"end")
        assert one.of("g") == [b"body", b"end"]
    assert log.messages == []


@pytest.mark.parametrize("mode", ["transaction", "statement"])
async def test_a_pool_of_transactions(
    mode: str, database: dict[str, Any], pgbouncer: Callable[[str], PgBouncer], log: Log
) -> None:
    """Nothing would come in through it, so it is an outage whose text says what to write."""
    database |= pgbouncer(mode).settings
    async with listening("g") as one:
        assert log.count("is away: NoSessionError: a pooler of transactions is in between")
        assert log.count("leads to PostgreSQL itself, or to a pool of sessions")
        with pytest.raises(BackendError, match="a pooler of transactions is in between"):
            await one.backend.publish("g", b"lost")


async def test_others_ask_at_the_same_time(postgres: Postgres) -> None:
    """What came for them is no answer for us."""
    (told,) = attempts("pg")
    link = await Link.connect(told)
    try:
        await link.execute(f'LISTEN "{PROBE}"')
        await asyncio.to_thread(postgres.query, "SELECT pg_notify(%s, 'of others')", PROBE)
        await check_session(link, told, 10)
    finally:
        link.close()


@quick
async def test_a_pool_that_is_made_one_of_sessions(
    database: dict[str, Any], pgbouncer: Callable[[str], PgBouncer], log: Log
) -> None:
    """Each attempt looks at the way anew."""
    database |= pgbouncer("transaction").settings
    async with listening("g") as one:
        database |= pgbouncer("session").settings
        await log.until("is back")
        await one.backend.publish("g", b"end")
        await one.until("g", b"end")


# Publishing past the alias that listens


@pytest.mark.parametrize("options", [{}, {"PUBLISH_USING": "default"}], ids=["found", "named"])
@pytest.mark.usefixtures("default")
async def test_a_transaction_through_the_pooler(options: dict[str, Any]) -> None:
    """What is broadcast in it comes at the commit, and never if it is rolled back."""
    async with listening("g", **options) as one:

        def work() -> None:
            with transaction.atomic():
                one.backend.publish_sync("g", b"rolled back")
                transaction.set_rollback(True)
            with transaction.atomic():
                one.backend.publish_sync("g", b"committed")
            one.backend.publish_sync("g", b"end")

        await in_thread(work)
        await one.until("g", b"end")
        assert one.of("g") == [b"committed", b"end"]


@pytest.mark.usefixtures("default")
async def test_threads_open_no_direct_connection() -> None:
    """Broadcasting goes by the default connection, which the thread has anyway."""
    async with listening("g") as one:

        def work() -> list[str]:
            one.backend.publish_sync("g", b"end")
            return [connection.alias for connection in connections.all(initialized_only=True)
                    if connection.connection is not None]  # fmt: skip

        assert await in_thread(work) == ["default"]
        await one.until("g", b"end")


async def test_autocommit_off_through_the_pooler(default: dict[str, Any]) -> None:
    """A transaction without ``atomic()`` is one as well, on whatever alias."""
    with alias_of("other", default):
        async with listening("g") as one:

            def work() -> None:
                connections["other"].set_autocommit(False)
                one.backend.publish_sync("g", b"rolled back")
                connections["other"].rollback()
                connections["other"].set_autocommit(True)
                one.backend.publish_sync("g", b"end")

            await in_thread(work)
            await one.until("g", b"end")
            assert one.of("g") == [b"end"]


@pytest.mark.usefixtures("default")
async def test_a_transaction_on_the_alias_that_listens() -> None:
    """It is taken before any other."""
    async with listening("g") as one:

        def work() -> None:
            with transaction.atomic(), transaction.atomic(using="pg"):
                one.backend.publish_sync("g", b"rolled back")
                transaction.set_rollback(True, using="pg")
            one.backend.publish_sync("g", b"end")

        await in_thread(work)
        await one.until("g", b"end")
        assert one.of("g") == [b"end"]


async def test_a_transaction_on_a_default_database_that_is_another(postgres: Postgres) -> None:
    """It is asked once, and not taken."""
    with alias_of("default", postgres.settings | {"NAME": "template1"}):
        async with listening("g") as one:

            def work() -> None:
                with transaction.atomic():
                    one.backend.publish_sync("g", b"end")
                    transaction.set_rollback(True)

            await in_thread(work)
            await one.until("g", b"end")


async def test_a_default_database_that_is_a_standby_for_now(
    postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes no part in broadcasts while it is one; some time later it is asked again."""

    def work(backend: PostgresBackend) -> None:
        with transaction.atomic():
            backend.publish_sync("g", b"rolled back")
            transaction.set_rollback(True)
        backend.publish_sync("g", b"end")

    outside = [b"rolled back", b"end"]
    with tempfile.TemporaryDirectory() as directory:
        standby = await asyncio.to_thread(Standby, Path(directory))
        async with Between(standby.port) as between, listening("g") as one:
            with alias_of("default", postgres.settings | {"PORT": str(between.port)}):
                for seconds, then in ((60, outside), (0, [b"end"])):
                    monkeypatch.setattr(aliases, "ASK_AGAIN", seconds)
                    one.came.clear()
                    backend = make_backend()
                    between.to = standby.port
                    await in_thread(partial(work, backend))
                    between.to = postgres.port
                    await in_thread(partial(work, backend))
                    await one.until_count(2 + len(then))
                    assert one.of("g") == [*outside, *then]
        await asyncio.to_thread(standby.stop)


@pytest.mark.parametrize("other", ["database", "engine"])
async def test_a_transaction_on_another_database(
    other: str, postgres: Postgres, tmp_path: Path
) -> None:
    """It has no part in broadcasts, which go at once by the alias that listens."""
    sqlite = {"ENGINE": "django.db.backends.sqlite3", "NAME": str(tmp_path / "db.sqlite3")}
    settings = sqlite if other == "engine" else postgres.settings | {"NAME": "template1"}
    with alias_of("other", settings):
        async with listening("g") as one:

            def work() -> None:
                with transaction.atomic(using="other"):
                    for body in (b"body", b"end"):
                        one.backend.publish_sync("g", body)
                    transaction.set_rollback(True, using="other")

            await in_thread(work)
            await one.until("g", b"end")
            assert one.of("g") == [b"body", b"end"]


@pytest.mark.usefixtures("default")
async def test_whether_it_is_the_same_database_is_asked_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """All further broadcasts of the process know the answer."""
    backend = make_backend()

    def work() -> None:
        backend.publish_sync("g", b"first")
        with monkeypatch.context() as patch:
            patch.delattr(psycopg, "connect")
            backend.publish_sync("g", b"second")

    await in_thread(work)


async def test_a_database_that_can_t_be_asked(
    default: dict[str, Any], database: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The broadcast fails before the transaction is touched, and says what to write."""
    database["PORT"] = "1"
    backend = make_backend()

    def work() -> None:
        with transaction.atomic(), connections["default"].cursor() as cursor:
            for _ in range(2):
                with pytest.raises(BackendError, match=r"Name the alias for .*'PUBLISH_USING'"):
                    backend.publish_sync("g", b"body")
            with pytest.raises(BackendError, match=r"Name the alias for .*'PUBLISH_USING'"):
                backend.is_part_of_transaction("default")
            cursor.execute("SELECT 1")

    await in_thread(work)
    monkeypatch.setattr(aliases, "ASK_AGAIN", 0)
    database["PORT"] = default["PORT"]
    await in_thread(lambda: backend.publish_sync("g", b"body"))
