"""The postgres backend: broadcasts inside a transaction."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import django.db
import pytest
from django.db import connections, transaction

from tests.groups.postgres.harness import in_thread, listening, make_backend, terminate
from wsconsumer.exceptions import BackendError

if TYPE_CHECKING:
    from tests.engines import Postgres

pytestmark = pytest.mark.usefixtures("database")


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
