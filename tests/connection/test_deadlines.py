"""``connection/deadlines.py``: connections that are closed at a time."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any

import pytest

from tests.connection.test_monitor import Run, Slow
from tests.fakes import ACCEPT, KnownServer, close, disconnect, scope
from tests.recording import Recorder
from wsconsumer.connection.connection import Connection
from wsconsumer.connection.deadlines import Deadlines
from wsconsumer.connection.monitor import monitor
from wsconsumer.counters import counters
from wsconsumer.protocol import CLOSE_TIMEOUT
from wsconsumer.test import advance, connect
from wsconsumer.test.clock import turns


class Server(KnownServer):
    """A connection that is open, and what was sent on it."""

    async def connection(self) -> Connection:
        """Return the connection."""
        opened = Connection("Chat", scope(), self.receive, self.send)
        await opened.accept()
        self.sent.clear()
        return opened


async def test_the_time_comes(caplog: pytest.LogCaptureFixture) -> None:
    """What is due is closed once, with its code and reason, and the log says so."""
    caplog.set_level(logging.INFO, "wsconsumer")
    server, deadlines = Server(), Deadlines()
    connection = await server.connection()
    deadlines.add(connection, 10, 4408, "idle", "idle_closed")
    deadlines.look_after(9.9)
    await turns()
    assert server.sent == []
    for now in (10, 11):
        deadlines.look_after(now)
        await turns()
    assert server.sent == [close(4408, "idle")]
    assert caplog.messages == ["Chat: closing with 4408, idle."]
    assert counters["idle_closed"] == 1


@pytest.mark.parametrize("order", [1, -1], ids=["earlier-first", "later-first"])
async def test_of_two_times_the_earlier_counts(order: int) -> None:
    """A connection is closed but once."""
    server, deadlines = Server(), Deadlines()
    connection = await server.connection()
    for when, code, reason in [(10, 4401, "expired"), (20, 4408, "over")][::order]:
        deadlines.add(connection, when, code, reason, "idle_closed")
    for now in (10, 20):
        deadlines.look_after(now)
        await turns()
    assert server.sent == [close(4401, "expired")]


async def test_each_at_its_own_time() -> None:
    """What is closed leaves the others where they are, and years are only far away."""
    deadlines = Deadlines()
    servers = [Server() for _ in range(3)]
    for server, when in zip(servers, (30, 10, 1e12), strict=True):
        deadlines.add(await server.connection(), when, 4408, "", "idle_closed")
    closed = []
    for now in (5, 10, 20, 30, 1e9):
        deadlines.look_after(now)
        await turns()
        closed.append(sum(bool(server.sent) for server in servers))
    assert closed == [0, 1, 1, 2, 2]


async def test_a_connection_that_has_ended() -> None:
    """What is forgotten is not closed, nor is what closes already."""
    forgotten, closing, deadlines = Server(), Server(), Deadlines()
    connection = await forgotten.connection()
    deadlines.add(connection, 10, 4408, "", "idle_closed")
    deadlines.forget(connection)
    other = await closing.connection()
    deadlines.add(other, 10, 4408, "", "idle_closed")
    await other.close(1000)
    deadlines.look_after(10)
    await turns()
    assert (forgotten.sent, closing.sent) == ([], [close(1000)])


async def test_a_client_that_takes_nothing() -> None:
    """The close of a connection that ends meanwhile is given up, and holds nobody up."""
    server, deadlines = Server(), Deadlines()
    connection = await server.connection()
    server.shut()
    deadlines.add(connection, 10, 4408, "", "idle_closed")
    deadlines.look_after(10)
    await turns()
    (task,) = (task for task in asyncio.all_tasks() if "finish_close" in repr(task))
    deadlines.forget(connection)
    await asyncio.wait([task])
    assert (task.cancelled(), server.sent) == (True, [])


async def test_the_wall_clock_may_be_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is left is measured when the connection begins; later the loop's clock counts."""
    server, deadlines = Server(), Deadlines()
    connection = await server.connection()
    deadlines.expire(connection, time.time() + 60)
    monkeypatch.setattr(time, "time", lambda: 0.0)
    now = connection.loop.time()
    deadlines.look_after(now + 59)
    await turns()
    assert server.sent == []
    deadlines.look_after(now + 61)
    await turns()
    assert server.sent == [close(4401, "the token has expired")]


# In a session, by the ticker


class Expiring(Slow):
    """Has a token that ends in a minute."""

    seconds = 60.0

    def setup(self, request: Any, *args: Any, **kwargs: Any) -> None:
        super().setup(request, *args, **kwargs)
        self._wsconsumer.expire_at(time.time() + self.seconds)


async def test_the_ticker_closes() -> None:
    """An idle connection is closed at its time, and disconnect() is told why."""
    log: list[Any] = []
    async with connect(Expiring.as_asgi(log=log)) as ws:
        await advance(59)
        await ws.expect_nothing()
        await advance(1.5)
        assert await ws.receive_close() == 4401
    assert log == [(4401, "the token has expired")]


async def test_while_a_hook_runs() -> None:
    """The close goes out at once; the hook can send nothing more, and is cancelled."""
    log: list[Any] = []
    async with connect(Expiring.as_asgi(log=log, go_on=asyncio.Event())) as ws:
        await ws.send("slow")
        assert await ws.receive() == "started"
        await advance(61)
        assert await ws.receive_close() == 4401
        await advance(CLOSE_TIMEOUT + 1)
    assert log == ["slow", (4401, "the token has expired")]


async def test_before_accept() -> None:
    """A time that comes while connect() runs closes as soon as the connection is accepted."""

    class Deciding(Expiring):
        connect_timeout = None

        async def connect(self) -> None:
            await self.go_on.wait()

    run = Run(Deciding)
    await advance(61)
    assert run.wire.sent == []
    run.go_on.set()
    await advance(1)
    assert run.wire.sent == [ACCEPT, close(4401, "the token has expired")]
    run.wire.put(disconnect(4401))
    await run.finished()


async def test_the_first_of_several_times() -> None:
    """Who is asked for two tokens is let in until the first ends."""

    class Twice(Expiring):
        def setup(self, request: Any, *args: Any, **kwargs: Any) -> None:
            super().setup(request, *args, **kwargs)
            self._wsconsumer.expire_at(time.time() + 3600)

    async with connect(Twice.as_asgi(log=[])) as ws:
        await advance(61)
        assert await ws.receive_close() == 4401


async def test_a_time_far_ahead() -> None:
    """A token of the year 9999 needs no timer, and so none that could be too long."""

    class Forever(Expiring):
        seconds = 253402300799.0 - time.time()

    async with connect(Forever.as_asgi(log=[])) as ws:
        await advance(3600)
        await ws.expect_nothing()


async def test_nothing_is_left() -> None:
    """A connection that ends before its time is forgotten."""
    async with connect(Expiring.as_asgi(log=[])):
        pass
    assert not vars(monitor().deadlines)["_to_come"]


async def test_those_without_a_time_cost_nothing() -> None:
    """A consumer without a token is in no list of deadlines."""
    async with connect(Recorder.as_asgi(log=[])):
        assert not vars(monitor().deadlines)["_to_come"]
