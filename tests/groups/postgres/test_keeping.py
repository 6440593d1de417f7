"""The postgres backend: groups that keep, on a PostgreSQL of our own."""

from __future__ import annotations

import asyncio
import random
import threading
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import django.db
import psycopg
import pytest
from django.db import connections, transaction

from tests.engines import until
from tests.groups.postgres.harness import (
    TidyBackend,
    in_thread,
    keeping,
    make_backend,
    terminate,
)
from wsconsumer.groups.keeping import Keep
from wsconsumer.test import KeepingContract
from wsconsumer.test.keeping import KEEP

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.engines import Postgres
    from wsconsumer.groups.base import Backend, Position
    from wsconsumer.test.keeping import Keeper

pytestmark = pytest.mark.usefixtures("tables")

LARGE = Keep(10_000, 60)


class TestPostgresKeeps(KeepingContract):
    """The contract."""

    @pytest.fixture(autouse=True)
    def _postgres(self, postgres: Postgres) -> None:
        self.postgres = postgres

    def make_backend(self, prefix: str = "contract") -> Backend:
        return TidyBackend("pg", prefix, {})

    async def lose(self, prefix: str, groups: Sequence[str]) -> None:
        await asyncio.to_thread(self.postgres.query, "TRUNCATE wsconsumer_history CASCADE")


# Transactions


async def test_it_is_said_at_the_commit() -> None:
    """Nothing comes before it, nobody waits meanwhile, and the position is known only then."""
    appended, commit = threading.Event(), threading.Event()

    async with keeping("g") as one:

        def work() -> None:
            with transaction.atomic(using="pg"):
                assert one.keeping.append_sync("g", b"inside", KEEP, None) is None
                appended.set()
                commit.wait(10)

        task = asyncio.create_task(in_thread(work))
        await asyncio.to_thread(appended.wait, 10)
        await one.append("g", b"meanwhile")
        await one.until("g", b"meanwhile")
        assert await one.read("g", 0) == (1, [(1, b"meanwhile")])
        commit.set()
        await task
        await one.until("g", b"inside")
        assert one.positions_of("g") == [(1, b"meanwhile"), (2, b"inside")]
        assert await one.read("g", 1) == (2, [(2, b"inside")])


async def test_a_rollback_takes_it_back() -> None:
    """What is rolled back was never said, has no number, and its key does not count."""
    async with keeping("g") as one:

        def work() -> None:
            with suppress(KeyError), transaction.atomic(using="pg"):
                one.keeping.append_sync("g", b"rolled back", KEEP, "key")
                raise KeyError
            with transaction.atomic(using="pg"):
                one.keeping.append_sync("g", b"before", KEEP, None)
                with suppress(KeyError), transaction.atomic(using="pg"):
                    one.keeping.append_sync("g", b"to the savepoint", KEEP, None)
                    raise KeyError
                with transaction.atomic(using="pg"):
                    one.keeping.append_sync("g", b"after", KEEP, "key")

        await in_thread(work)
        await one.append("g", b"end")
        await one.until("g", b"end")
        assert one.positions_of("g") == [(1, b"before"), (2, b"after"), (3, b"end")]


async def test_a_savepoint_takes_the_first_back() -> None:
    """The rest of the transaction is said, whichever of its parts was rolled back."""
    async with keeping("g") as one:

        def work() -> None:
            with transaction.atomic(using="pg"):
                with suppress(KeyError), transaction.atomic(using="pg"):
                    one.keeping.append_sync("g", b"rolled back", KEEP, None)
                    raise KeyError
                one.keeping.append_sync("g", b"first", KEEP, None)
                one.keeping.append_sync("g", b"second", KEEP, None)

        await in_thread(work)
        await one.until("g", b"second")
        assert one.positions_of("g") == [(1, b"first"), (2, b"second")]


async def test_many_in_one_transaction(postgres: Postgres) -> None:
    """To any groups and prefixes, in order, each key once, and nothing is left of them."""
    async with keeping("g", "h") as one, keeping("g", prefix="other") as other:

        def work() -> None:
            with transaction.atomic(using="pg"):
                for number in range(30):
                    for group in "gh":
                        one.keeping.append_sync(group, b"%d" % number, LARGE, None)
                    one.keeping.append_sync("g", b"once", LARGE, "once")
                other.keeping.append_sync("g", b"other", LARGE, None)
                one.keeping.append_sync("g", b"x" * 30_000, LARGE, None)

        await in_thread(work)
        await one.until("g", b"x" * 30_000)
        await other.until("g", b"other")
        numbers = [b"%d" % number for number in range(30)]
        assert one.positions_of("h") == list(enumerate(numbers, 1))
        said = [numbers[0], b"once", *numbers[1:], b"x" * 30_000]
        assert one.positions_of("g") == list(enumerate(said, 1))
        assert other.positions_of("g") == [(1, b"other")]
        assert await one.read("g", 0) == (32, one.positions_of("g"))
    assert postgres.query("SELECT * FROM wsconsumer_outbox") == []


async def test_constraints_that_are_checked_before_the_commit() -> None:
    """``SET CONSTRAINTS`` numbers what was said so far, and it is still sent at the commit."""
    async with keeping("g") as one:

        def work() -> None:
            with transaction.atomic(using="pg"):
                one.keeping.append_sync("g", b"a", KEEP, None)
                connections["pg"].check_constraints()
                one.keeping.append_sync("g", b"b", KEEP, None)
                one.keeping.append_sync("g", b"c", KEEP, None)

        await in_thread(work)
        await one.until("g", b"c")
        assert one.positions_of("g") == [(1, b"a"), (2, b"b"), (3, b"c")]


async def test_autocommit_off() -> None:
    """A transaction without ``atomic()`` is one as well."""
    async with keeping("g") as one:

        def work() -> None:
            connections["pg"].set_autocommit(False)
            assert one.keeping.append_sync("g", b"rolled back", KEEP, None) is None
            connections["pg"].rollback()
            one.keeping.append_sync("g", b"committed", KEEP, None)
            connections["pg"].commit()
            connections["pg"].set_autocommit(True)

        await in_thread(work)
        await one.until("g", b"committed")
        assert one.positions_of("g") == [(1, b"committed")]


@pytest.mark.parametrize("server_side_binding", [True, False])
async def test_bindings(server_side_binding: bool, database: dict[str, Any]) -> None:
    """Parameters may be bound on either side."""
    database["OPTIONS"] = {"server_side_binding": server_side_binding}
    odd = b"'\"\\ %s %% {,} \0\x7f"
    async with keeping("g") as one:

        def work() -> Any:
            with transaction.atomic(using="pg"):
                one.keeping.append_sync("g", odd, KEEP, "odd")
            at = one.keeping.append_sync("g", odd, KEEP, "even")
            return at, one.keeping.read_sync(["g", "h"])

        at, found = await in_thread(work)
        assert at.offset == 2
        assert found["g"] == at
        assert found["h"].offset == 0
        await one.until_count(2)
        assert one.positions_of("g") == [(1, odd), (2, odd)]


WRITERS = 8
EACH = 25


async def test_offsets_are_in_the_order_of_the_commits(postgres: Postgres) -> None:
    """Who looks at any moment sees the rows of exactly those transactions that it can read of."""
    postgres.query("CREATE TABLE IF NOT EXISTS said (body text)")
    postgres.query("TRUNCATE said")
    done = threading.Event()
    looks: list[tuple[list[str], list[str]]] = []

    def write(name: int) -> None:
        backend = make_backend()
        choices = random.Random(name)  # noqa: S311
        for number in range(EACH):
            body = f"{name}.{number}"
            with suppress(KeyError), transaction.atomic(using="pg"):
                with connections["pg"].cursor() as cursor:
                    cursor.execute("INSERT INTO said VALUES (%s)", [body])
                backend.append_sync("g", body.encode(), LARGE, None)
                if choices.random() < 0.2:
                    raise KeyError

    def look() -> None:
        with psycopg.connect(
            host="127.0.0.1", port=postgres.port, dbname="postgres", user="tester"
        ) as connection:
            connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            while not done.is_set():
                rows = connection.execute("SELECT body FROM said").fetchall()
                kept = connection.execute(
                    "SELECT substr(body, 2) FROM wsconsumer_message ORDER BY number"
                ).fetchall()
                connection.rollback()
                looks.append(([body for (body,) in rows], [body for (body,) in kept]))

    async with keeping("g") as one:
        looking = asyncio.create_task(asyncio.to_thread(look))
        try:
            await asyncio.gather(*(in_thread(partial(write, name)) for name in range(WRITERS)))
        finally:
            done.set()
            await looking
        await one.append("g", b"end", keep=LARGE)
        await one.until("g", b"end")
        top, messages = await one.read("g", 0)
        assert one.positions_of("g") == messages
        assert [offset for offset, _ in messages] == list(range(1, top + 1))
        assert sorted(body for _, body in messages[:-1]) == sorted(
            body.encode() for (body,) in postgres.query("SELECT body FROM said")
        )
    assert len(looks) > 1
    for rows, kept in looks:
        assert sorted(rows) == sorted(kept)


async def test_several_groups_in_any_order(postgres: Postgres) -> None:
    """Transactions that speak to the same groups in different orders never wait in a circle."""
    groups = [f"g{number}" for number in range(6)]

    def write(name: int) -> None:
        backend = make_backend()
        choices = random.Random(name)  # noqa: S311
        for number in range(EACH):
            with transaction.atomic(using="pg"):
                for group in choices.sample(groups, 3):
                    backend.append_sync(group, b"%d.%d" % (name, number), LARGE, f"{name}.{number}")

    async def read(one: Keeper) -> None:
        choices = random.Random(0)  # noqa: S311
        for number in range(EACH):
            shuffled = choices.sample([*groups, f"new{number}"], len(groups) + 1)
            await one.keeping.read(dict.fromkeys(shuffled, 0))
            await one.append(choices.choice(groups), b"body", keep=LARGE)

    async with keeping() as one:
        writers = (in_thread(partial(write, name)) for name in range(WRITERS))
        await asyncio.gather(read(one), *writers)
        found = await one.read_all(dict.fromkeys(groups, 0))
        assert sum(kept.top for kept in found.values()) == WRITERS * EACH * 3 + EACH
        for kept in found.values():
            assert [offset for offset, _ in kept.messages] == list(range(1, kept.top + 1))


async def test_foreign_keys_are_checked_before_the_lock(postgres: Postgres) -> None:
    """A commit that waits for another transaction's row keeps nobody from speaking."""
    postgres.query("DROP TABLE IF EXISTS child, parent")
    postgres.query("CREATE TABLE parent (id int PRIMARY KEY)")
    postgres.query(
        "CREATE TABLE child (parent int REFERENCES parent DEFERRABLE INITIALLY DEFERRED)"
    )
    postgres.query("INSERT INTO parent VALUES (1)")
    locked, waits = threading.Event(), threading.Event()

    def is_waiting() -> bool:
        return bool(postgres.query("SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'"))

    async with keeping("g") as one:

        def lock() -> None:
            with transaction.atomic(using="pg"):
                with connections["pg"].cursor() as cursor:
                    cursor.execute("SELECT * FROM parent FOR UPDATE")
                locked.set()
                waits.wait(10)
                one.keeping.append_sync("g", b"first", KEEP, None)

        def refer() -> None:
            locked.wait(10)
            with transaction.atomic(using="pg"):
                one.keeping.append_sync("g", b"second", KEEP, None)
                with connections["pg"].cursor() as cursor:
                    cursor.execute("INSERT INTO child VALUES (1)")

        tasks = [asyncio.create_task(in_thread(work)) for work in (lock, refer)]
        await asyncio.to_thread(until, is_waiting, "the commit to wait for the row")
        waits.set()
        await asyncio.gather(*tasks)
        await one.until("g", b"second")
        assert one.of("g") == [b"first", b"second"]


async def test_an_error_in_a_transaction(postgres: Postgres) -> None:
    """The transaction is broken, so the caller gets Django's error, as of any query."""

    def work() -> None:
        with transaction.atomic(using="pg"):
            with connections["pg"].cursor() as cursor:
                cursor.execute("SELECT pg_backend_pid()")
                terminate(postgres, [cursor.fetchone()[0]])
            make_backend().append_sync("g", b"body", KEEP, None)

    with pytest.raises(django.db.OperationalError):
        await in_thread(work)


async def test_repeatable_read(database: dict[str, Any]) -> None:
    """Its commit fails if others spoke to the group since it began, as for any row."""
    database["OPTIONS"] = {"isolation_level": psycopg.IsolationLevel.REPEATABLE_READ}
    async with keeping("g") as one:

        def work(*, alone: bool) -> None:
            with transaction.atomic(using="pg"):
                one.keeping.append_sync("g", b"inside", KEEP, None)
                if not alone:
                    asyncio.run_coroutine_threadsafe(one.append("g", b"other"), loop).result(10)

        loop = asyncio.get_running_loop()
        await in_thread(partial(work, alone=True))
        with pytest.raises(django.db.OperationalError, match="could not serialize access"):
            await in_thread(partial(work, alone=False))
        await in_thread(partial(work, alone=True))
        await one.until_count(3)
        assert one.positions_of("g") == [(1, b"inside"), (2, b"other"), (3, b"inside")]


async def test_reading_in_a_transaction() -> None:
    """What it begins is there at once, for everybody, and nobody has to wait for the commit."""
    async with keeping() as one:

        def work() -> dict[str, Position]:
            with transaction.atomic(using="pg"):
                found = one.keeping.read_sync(["g", "h"])
                asyncio.run_coroutine_threadsafe(one.append("g", b"a"), loop).result(10)
                assert one.keeping.read_sync(["h", "g"])["g"] == (found["g"].epoch, 1)
                return dict(found)

        loop = asyncio.get_running_loop()
        found = await in_thread(work)
        kept = await one.read_all({"g": None, "h": None})
        assert {group: kept[group].epoch for group in kept} == {
            group: position.epoch for group, position in found.items()
        }
        assert [position.offset for position in found.values()] == [0, 0]


@pytest.mark.usefixtures("default")
async def test_a_pool_of_transactions_for_threads() -> None:
    """What is said on the default connection goes through it, and is kept at the commit."""
    async with keeping("g") as one:

        def work() -> Any:
            with transaction.atomic():
                assert one.keeping.is_part_of_transaction("default")
                one.keeping.append_sync("g", b"rolled back", KEEP, None)
                transaction.set_rollback(True)
            with transaction.atomic():
                assert one.keeping.append_sync("g", b"committed", KEEP, None) is None
                one.keeping.read_sync(["new"])
            at = one.keeping.append_sync("g", b"end", KEEP, None)
            return at, one.keeping.read_sync(["g"])["g"]

        at, stands = await in_thread(work)
        assert at == stands
        await one.until("g", b"end")
        assert one.positions_of("g") == [(1, b"committed"), (2, b"end")]
