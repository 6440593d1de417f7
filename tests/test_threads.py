"""``threads.py``: the lanes, on sqlite and on a PostgreSQL of our own."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import User
from django.db import connections
from django.db.backends.signals import connection_created
from django.test import TestCase, TransactionTestCase, override_settings
from django.urls import path

from tests.fakes import ACCEPT, disconnect, run, sent, text, until
from tests.syncing import Client, Syncing, clients, query
from wsconsumer import WebsocketConsumer, databases, threads
from wsconsumer.connection.connection import Connection
from wsconsumer.handshake.dispatcher import WebsocketDispatcher

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.engines import Postgres

LANES = 4


@pytest.fixture(autouse=True)
def _settings() -> Iterator[None]:
    with override_settings(WSCONSUMER={"THREADS": LANES, "HANDSHAKE_THREADS": 1}, MIDDLEWARE=[]):
        yield


# Which thread


async def test_a_connection_stays_in_its_lane() -> None:
    """All sync code of a connection runs in one thread, which is a lane's."""
    async with clients(1, Syncing) as (client,):
        names = {await client.ask("who") for _ in range(5)}
    (name,) = names
    assert name.startswith("wsconsumer-lane-")


async def test_the_least_used_lane_takes_the_next_connection() -> None:
    """Connections are spread evenly, also after some have left."""
    async with clients(LANES * 3, Syncing) as first:
        names = [await client.ask("who") for client in first]
        assert sorted(names.count(name) for name in set(names)) == [3] * LANES
    assert [lane.pinned for lane in threads.lanes().all] == [0] * LANES


async def test_spawned_tasks_are_in_the_lane_too() -> None:
    """A task of the connection has the connection's thread."""

    class Spawning(Syncing):
        async def connect(self) -> None:
            await self.accept()
            self.spawn(self.tell())

        async def tell(self) -> None:
            await self.send(await sync_to_async(self.work)(""))

    client = Client(Spawning)
    await client.wire.until_sent(2)
    client.read = 2
    assert await client.ask("who") == client.wire.sent[1]["text"]
    client.wire.put(disconnect())
    await client.task


async def test_all_lanes_work_at_once() -> None:
    """Three connections a lane: always as many work at once as there are lanes, and never more."""
    barrier = threading.Barrier(LANES, timeout=10)
    working: set[str] = set()
    most = []

    def work(_: str) -> str:
        working.add(threading.current_thread().name)
        barrier.wait()  # passes only when every lane is at work
        most.append(len(working))
        barrier.wait()
        working.discard(threading.current_thread().name)
        barrier.wait()
        return "done"

    async with clients(LANES * 3, Syncing, work=staticmethod(work)) as opened:
        answers = await asyncio.gather(*(client.ask("work") for client in opened))
    assert answers == ["done"] * LANES * 3
    assert set(most) == {LANES}
    assert len(most) == LANES * 3


async def test_blocked_lanes_delay_nobody_else() -> None:
    """With all lanes but one blocked, others echo, query in the free lane, and come and go."""
    release = threading.Event()

    def work(data: str) -> str:
        if data == "block":
            release.wait(10)
        return data

    async with clients(LANES, Syncing, work=staticmethod(work)) as opened:
        *blocked, free = opened
        waiting = [asyncio.create_task(client.ask("block")) for client in blocked]
        assert await free.ask("echo") == "echo"
        assert await free.ask("quick") == "quick"
        async with clients(1, Syncing) as (another,), clients(1, Syncing) as (more,):
            assert await another.ask("echo") == await more.ask("echo") == "echo"
            assert await another.ask("who") == await more.ask("who")
        assert not any(task.done() for task in waiting)
        release.set()
        assert await asyncio.gather(*waiting) == ["block"] * (LANES - 1)


async def test_work_that_was_cancelled_is_not_done() -> None:
    """What still waits in the lane when its connection is cancelled never begins."""
    release = threading.Event()
    begun: list[str] = []

    def work(data: str) -> str:
        begun.append(data)
        release.wait(10)
        return data

    with override_settings(WSCONSUMER={"THREADS": 1}):
        async with clients(1, Syncing, work=staticmethod(work)) as (client,):
            asking = asyncio.create_task(client.ask("first"))
            await until(lambda: begun)
            cancelled = Client(Syncing, work=staticmethod(work))
            await cancelled.wire.until_sent(1)
            cancelled.wire.put(text("never"))
            (lane,) = threads.lanes().all
            await until(lambda: lane.pending == 2)
            cancelled.task.cancel()
            await asyncio.wait([cancelled.task])
            release.set()
            assert await asking == "first"
            assert await client.ask("last") == "last"
    assert begun == ["first", "last"]
    assert lane.pending == 0


def test_work_is_done_before_the_process_ends() -> None:
    """A lane that is at work when the interpreter ends is waited for."""
    program = (
        "import threading; from django.conf import settings; settings.configure(); "
        "from wsconsumer import threads; begun = threading.Event(); "
        "work = lambda: (begun.set(), threading.Event().wait(0.2), print('done')); "
        "threads.lanes().all[0].submit(work); begun.wait(10)"
    )
    command = [sys.executable, "-W", "error", "-c", program]
    assert subprocess.check_output(command, timeout=60) == b"done\n"


# The database


async def test_database_connections_are_bounded_by_the_lanes(pg: str) -> None:
    """However many websockets query at once, PostgreSQL sees one connection a lane."""
    count = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'"
    async with clients(LANES * 5, Syncing, work=query(pg)) as opened:
        await asyncio.gather(*(client.ask("SELECT pg_sleep(0.01)") for client in opened))
        pids = [await client.ask("SELECT pg_backend_pid()") for client in opened]
        assert len(set(pids)) == LANES
        assert await opened[0].ask(count) == str(LANES)


async def test_a_lane_keeps_its_database_connection(pg: str) -> None:
    """The end of a piece of work, or of another connection, is not the end of it."""
    async with clients(LANES, Syncing, work=query(pg)) as opened:
        pids = [await client.ask("SELECT pg_backend_pid()") for client in opened]
        async with clients(LANES, Syncing):
            pass
        assert [await client.ask("SELECT pg_backend_pid()") for client in opened] == pids


async def test_a_lane_drops_an_old_connection(pg: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection past its age is replaced before the next piece of work."""
    monkeypatch.setattr(databases, "MIN_CONNECTION_AGE", 0)
    async with clients(1, Syncing, work=query(pg)) as (client,):
        pid = await client.ask("SELECT pg_backend_pid()")
        assert await client.ask("SELECT pg_backend_pid()") != pid


@pytest.mark.parametrize(
    ("pool", "in_lane", "close_at", "kept"),
    [
        (False, True, 0.0, True),
        (True, True, 0.0, False),
        (False, False, 0.0, False),
        (False, True, None, False),
    ],
    ids=["lane", "pool", "other-thread", "unlimited"],
)
def test_whose_connections_are_kept(
    pool: bool, in_lane: bool, close_at: float | None, kept: bool
) -> None:
    """A lane's, but not a pool's, nor those of other threads, nor those that never grow old."""
    connection = connections.create_connection("default")
    connection.settings_dict = {**connection.settings_dict, "OPTIONS": {"pool": pool}}
    connection.close_at = close_at

    def created() -> None:
        connection_created.send(sender=None, connection=connection)

    if in_lane:
        threads.lanes().all[0].submit(created).result()
    else:
        created()
    assert (connection.close_at != close_at) is kept


async def test_a_restart_of_the_database(pg: str, postgres: Postgres) -> None:
    """Each lane fails at most once, even where the consumer catches the error itself."""
    async with clients(LANES * 2, Syncing, work=query(pg)) as opened:
        for client in opened:
            assert await client.ask("SELECT 1") == "1"
        await asyncio.to_thread(postgres.restart)
        answers = [await client.ask("SELECT 2") for client in opened]
        again = [await client.ask("SELECT 3") for client in opened]
    assert answers.count("OperationalError") <= LANES
    assert set(answers) <= {"2", "OperationalError"}
    assert again == ["3"] * LANES * 2


@pytest.mark.timeout(60)  # many connections
async def test_nothing_is_left_after_a_thousand_connections(alias: str) -> None:
    """Threads, pins, tasks and connections are as many as before."""
    before = None
    for _ in range(11):
        async with clients(100, Syncing, work=query(alias)) as opened:
            await asyncio.gather(*(client.ask("SELECT 1") for client in opened))
        del opened
        gc.collect()
        counted = threading.active_count(), len(asyncio.all_tasks()), alive()
        before = before or counted
        assert counted[:2] == before[:2]
        assert counted[2] <= before[2], "what other tests have left may be gone by now"
    assert [lane.pinned for lane in threads.lanes().all] == [0] * LANES


def alive() -> int:
    """Return how many connections there are in memory."""
    return sum(type(thing) is Connection for thing in gc.get_objects())


# Under test cases


class Counting(WebsocketConsumer):
    """Counts the users, and makes one when told to."""

    async def receive(self, data: str | bytes) -> None:
        if data == "make":
            await User.objects.acreate(username="made")
        await self.send(str(await User.objects.acount()))


def counting() -> WebsocketDispatcher:
    return WebsocketDispatcher([path("ws/", Counting.as_view())])


class InTestCase(TestCase):
    """Everything in one transaction, which the consumer shares."""

    @classmethod
    def setUpTestData(cls) -> None:
        User.objects.create(username="ada")

    async def test_the_consumer_sees_the_rows_of_the_test(self) -> None:
        """Rows of the class and of the test are there, and what the consumer makes is, too."""
        await User.objects.acreate(username="grace")
        messages = await run(counting(), text("count"), text("make"), disconnect(), path="/ws/")
        assert messages == [ACCEPT, sent("2"), sent("3")]
        assert await User.objects.filter(username="made").aexists()

    async def test_nothing_was_committed(self) -> None:
        """What a consumer made in another test was rolled back."""
        messages = await run(counting(), text("count"), disconnect(), path="/ws/")
        assert messages == [ACCEPT, sent("1")]


class InTransactionTestCase(TransactionTestCase):
    """Rows are committed, and cleared afterwards."""

    async def test_the_consumer_sees_the_rows_of_the_test(self) -> None:
        """Committed rows are seen, and what the consumer makes is, too."""
        await User.objects.acreate(username="ada")
        messages = await run(counting(), text("count"), text("make"), disconnect(), path="/ws/")
        assert messages == [ACCEPT, sent("1"), sent("2")]
        assert await User.objects.acount() == 2


@pytest.mark.usefixtures("transactional_db")
async def test_under_pytest_django() -> None:
    """With transactional_db a consumer in its lane sees the rows of the test."""
    await User.objects.acreate(username="ada")
    messages = await run(counting(), text("count"), text("make"), disconnect(), path="/ws/")
    assert messages == [ACCEPT, sent("1"), sent("2")]
    assert await User.objects.acount() == 2
