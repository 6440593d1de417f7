"""``connection/draining.py``: connections that are closed one by one, before the server stops."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from tests.connection.test_monitor import Run, Slow
from tests.fakes import (
    ACCEPT,
    CONNECT,
    KnownServer,
    Wire,
    close,
    disconnect,
    scope,
    sent,
    text,
    until,
)
from tests.recording import Recorder
from wsconsumer import abroadcast
from wsconsumer.connection.draining import HOOK_TIMEOUT
from wsconsumer.connection.monitor import TICK, monitor
from wsconsumer.counters import counters
from wsconsumer.test import advance, connect

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest

GOODBYE = close(1012, "after=1")


class Crowd:
    """Many connections, and the numbers of those that were closed, in order."""

    def __init__(self, size: int) -> None:
        self.closed: list[int] = []
        self.runs = [Run(Slow, wire=Answering(self._note(number))) for number in range(size)]

    async def opened(self) -> None:
        """Wait until all are accepted."""
        for run in self.runs:
            await run.wire.until_sent(1)

    async def finished(self) -> None:
        """Wait until all have ended."""
        await asyncio.gather(*(run.finished() for run in self.runs))

    def _note(self, number: int) -> Callable[[], None]:
        return lambda: self.closed.append(number)


class Answering(Wire):
    """A client that answers a close."""

    def __init__(self, note: Callable[[], None]) -> None:
        super().__init__()
        self._note = note

    async def send(self, message: Any) -> None:
        await super().send(message)
        if message["type"] == "websocket.close":
            self._note()
            self.put(disconnect(message["code"]))


async def test_one_by_one_over_the_window() -> None:
    """The closes are spread evenly over the window, each disconnect() is told once."""
    crowd = Crowd(100)
    await crowd.opened()
    over = monitor().drain(10)
    counts = []
    for _ in range(10):
        await advance(1)
        counts.append(len(crowd.closed))
    assert all(abs(count - 10 * (number + 1)) <= 5 for number, count in enumerate(counts))
    await advance(1)
    await crowd.finished()
    assert over.is_set()
    assert [run.log for run in crowd.runs] == [[(1012, "after=1")]] * 100
    assert all(run.wire.sent == [ACCEPT, GOODBYE] for run in crowd.runs)
    assert counters["drained"] == 100


async def test_in_random_order() -> None:
    """Neither those who came first go first, nor the other way round."""
    crowd = Crowd(100)
    await crowd.opened()
    monitor().drain(10)
    await advance(11)
    await crowd.finished()
    assert sorted(crowd.closed) == list(range(100))
    halves = crowd.closed[:50], crowd.closed[50:]
    assert all(sum(number < 50 for number in half) not in (0, 50) for half in halves)


async def test_no_timer_for_each() -> None:
    """Ten thousand turns are one list that the ticks look at."""
    loop: Any = asyncio.get_running_loop()
    crowd = Crowd(1_000)
    await crowd.opened()
    before = len(vars(loop)["_scheduled"]), len(asyncio.all_tasks())
    monitor().drain(10)
    assert (len(vars(loop)["_scheduled"]), len(asyncio.all_tasks())) == before
    await advance(11)
    await crowd.finished()


async def test_one_connection_goes_at_once() -> None:
    """Nobody waits for the end of the window."""
    run = Run(Slow)
    await run.wire.until_sent(1)
    monitor().drain(60)
    await advance(TICK)
    assert run.wire.sent == [ACCEPT, GOODBYE]
    run.wire.put(disconnect(1012))
    await run.finished()


async def test_no_connections() -> None:
    """Nothing is left to wait for."""
    assert monitor().drain(60).is_set()


async def test_the_end_is_the_end_of_the_hooks() -> None:
    """It is over when the last disconnect() has run, and the client's answer has come."""
    run = Run(Slow)
    await run.wire.until_sent(1)
    over = monitor().drain(1)
    await advance(2)
    assert not over.is_set()
    run.wire.put(disconnect(1012))
    await run.finished()
    assert over.is_set()


async def test_a_client_that_leaves_before_its_turn() -> None:
    """It is told nothing, and not waited for."""
    runs = [Run(Slow) for _ in range(4)]
    for run in runs:
        await run.wire.until_sent(1)
    over = monitor().drain(60)
    for run in runs:
        run.wire.put(disconnect(1001))
        await run.finished()
    assert over.is_set()
    assert [run.log for run in runs] == [[(1001, "")]] * 4
    assert counters["drained"] == 0


async def test_a_hook_may_finish() -> None:
    """A connection whose hook runs is closed once that has ended."""
    run = Run(Slow, text("slow"))
    await run.started()
    monitor().drain(1)
    await advance(HOOK_TIMEOUT - 2 * TICK)
    assert run.wire.sent == [ACCEPT, sent("started")]
    run.go_on.set()
    await advance(2 * TICK)
    assert run.wire.sent == [ACCEPT, sent("started"), sent("finished"), GOODBYE]
    run.wire.put(disconnect(1012))
    await run.finished()


async def test_a_hook_that_does_not_finish(caplog: pytest.LogCaptureFixture) -> None:
    """After two seconds it is closed all the same, and the log says that we closed it."""
    caplog.set_level(logging.INFO, "wsconsumer")
    run = Run(Slow, text("slow"))
    await run.started()
    over = monitor().drain(1)
    await advance(HOOK_TIMEOUT + 2 * TICK)
    assert run.wire.sent == [ACCEPT, sent("started"), GOODBYE]
    run.wire.put(disconnect(1012))
    await advance(3 * TICK)
    await run.finished()
    assert run.log == ["slow", (1012, "after=1")]
    assert over.is_set()
    ends = "receive on / was cancelled: the connection was closed while it ran."
    assert caplog.messages == ["Slow: closing with 1012, after=1.", ends]


async def test_a_connect_that_has_not_decided() -> None:
    """What is not accepted yet can't be closed with a code, so it is once it is."""

    class Deciding(Slow):
        async def connect(self) -> None:
            await self.go_on.wait()

    run = Run(Deciding)
    await until(lambda: monitor().sessions)
    over = monitor().drain(1)
    await advance(5)
    assert run.wire.sent == []
    run.go_on.set()
    await advance(TICK)
    assert run.wire.sent == [ACCEPT, GOODBYE]
    run.wire.put(disconnect(1012))
    await run.finished()
    assert over.is_set()


async def test_a_client_that_has_not_said_a_word() -> None:
    """A connection whose first event has not come is closed once it is accepted."""
    wire, log = Wire(), list[Any]()
    task = asyncio.create_task(Slow.as_asgi(log=log)(scope(), wire.receive, wire.send))
    await until(lambda: monitor().sessions)
    monitor().drain(1)
    await advance(5)
    wire.put(CONNECT)
    await advance(TICK)
    assert wire.sent == [ACCEPT, GOODBYE]
    wire.put(disconnect(1012))
    await task
    assert log == [(1012, "after=1")]


async def test_a_connection_that_comes_late() -> None:
    """An application that is mounted without the dispatcher refuses nobody: they go at once."""
    monitor().drain(60)
    async with connect(Recorder.as_asgi(log=[])) as ws:
        await advance(TICK)
        assert await ws.receive_close() == 1012


async def test_an_outbox_is_sent_first() -> None:
    """What waits for a slow client comes before the close, once the client takes it."""

    class Member(Slow):
        async def connect(self) -> None:
            await self.join("room")

    server = KnownServer()
    run = Run(Member, wire=server)
    await server.until_sent(1)
    server.shut()
    for number in range(100):
        await abroadcast("room", f"{number}")
    over = monitor().drain(0.1)
    await advance(2 * TICK)
    assert server.sent == [ACCEPT]
    server.open()
    await server.until_sent(102)
    assert server.sent[1:] == [*(sent(f"{number}") for number in range(100)), GOODBYE]
    server.put(disconnect(1012))
    await run.finished()
    assert over.is_set()


async def test_nothing_is_left() -> None:
    """Without a drain no connection is on a list of it."""
    async with connect(Recorder.as_asgi(log=[])):
        assert not vars(monitor().draining)["_left"]
