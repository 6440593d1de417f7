"""``connection/monitor.py``: what happens while a hook runs long; the tests tick, nobody waits."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, Any

import pytest

from tests.fakes import ACCEPT, CONNECT, Wire, close, disconnect, scope, sent, text
from wsconsumer import ConnectionClosed, WebsocketConsumer
from wsconsumer.connection import connection, monitor
from wsconsumer.connection.read_ahead import READ_AHEAD_EVENTS
from wsconsumer.counters import counters
from wsconsumer.test import advance, connect

if TYPE_CHECKING:
    from collections.abc import Callable


class Slow(WebsocketConsumer):
    """Says "started" in receive(), and goes on when it is told to."""

    log: list[Any] = []  # noqa: RUF012  # each test gives its own
    go_on: Any = None

    async def receive(self, data: str | bytes) -> None:
        self.log.append(data)
        if data == "slow":
            await self.send("started")
            await self.go_on.wait()
            await self.send("finished")

    async def disconnect(self, code: int, reason: str) -> None:
        self.log.append((code, reason))


class Run:
    """A consumer at work, and what it noted."""

    def __init__(self, consumer: type[Slow], *events: dict[str, Any], wire: Wire | None = None):
        self.wire = wire or Wire()
        self.wire.put(CONNECT, *events)
        self.log: list[Any] = []
        self.go_on = asyncio.Event()
        application = consumer.as_asgi(log=self.log, go_on=self.go_on)
        self.task = asyncio.create_task(application(scope(), self.wire.receive, self.wire.send))

    async def started(self) -> None:
        """Wait until the slow hook runs."""
        await self.wire.until_sent(2)

    async def finished(self) -> None:
        async with asyncio.timeout(5):
            await self.task


async def tick(times: int = 2) -> None:
    """Let the monitor look, and let what he starts run."""
    for _ in range(times):
        monitor.monitor().tick()
        for _ in range(5):
            await asyncio.sleep(0)


async def test_a_client_that_leaves_during_a_hook(caplog: pytest.LogCaptureFixture) -> None:
    """The hook is cancelled, disconnect() gets the client's code, and the log says so."""
    caplog.set_level(logging.INFO, "wsconsumer")
    run = Run(Slow, text("slow"))
    await run.started()
    run.wire.put(disconnect(1001, "away"))
    await tick()
    await run.finished()
    assert run.log == ["slow", (1001, "away")]
    assert run.wire.sent == [ACCEPT, sent("started")]
    assert counters["hook_interrupted"] == 1
    assert caplog.messages == ["receive on / was cancelled: the client has left."]
    assert run.task.cancelling() == 0


def test_two_looks_take_less_than_a_second() -> None:
    """What the documents promise: a client that leaves is noticed within a second."""
    assert 2 * monitor.TICK < 1


@pytest.fixture
def _no_other_ticks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nobody tick but the test, however slow the machine is."""
    monkeypatch.setattr(monitor, "TICK", 3600)


@pytest.mark.usefixtures("_no_other_ticks")
async def test_one_look_is_not_enough() -> None:
    """A hook that was not yet running at the last tick is left alone."""
    run = Run(Slow, text("slow"), disconnect())
    await run.started()
    await tick(1)
    assert len(run.wire.inbox) == 1
    run.go_on.set()
    await run.finished()
    assert run.wire.sent == [ACCEPT, sent("started"), sent("finished")]


async def test_quick_hooks_are_never_watched() -> None:
    """While the loop waits for a message, a tick changes nothing."""
    run = Run(Slow, text("quick"))
    await tick(3)
    run.wire.put(text("quick too"))
    await tick(3)
    run.wire.put(disconnect())
    await run.finished()
    assert run.log == ["quick", "quick too", (1001, "")]


async def test_a_client_that_leaves_after_a_watched_hook(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Once the hook has ended there is nothing to cancel: the connection ends as any other."""
    caplog.set_level(logging.INFO, "wsconsumer")
    run = Run(Slow, text("slow"))
    await run.started()
    await tick()
    run.go_on.set()
    await run.wire.until_sent(3)
    run.wire.put(disconnect(1001, "away"))
    await run.finished()
    assert run.log == ["slow", (1001, "away")]
    assert run.wire.sent == [ACCEPT, sent("started"), sent("finished")]
    assert (counters["hook_interrupted"], caplog.messages) == (0, [])


@pytest.mark.usefixtures("_no_other_ticks")
async def test_a_hook_of_each_tick() -> None:
    """Another hook at the next tick is another hook."""
    run = Run(Slow, text("slow"))
    await run.started()
    await tick(1)
    run.go_on.set()
    await run.wire.until_sent(3)
    run.go_on.clear()
    run.wire.put(text("slow"))
    await run.wire.until_sent(4)
    await tick(1)
    run.wire.put(disconnect())
    assert len(run.wire.inbox) == 1
    run.go_on.set()
    await run.finished()
    assert counters["hook_interrupted"] == 0


async def test_messages_read_ahead_are_handled_in_order() -> None:
    """What is read while a hook runs waits for its turn, and what comes later waits behind it."""
    run = Run(Slow, text("slow"), text("a"), text("b"))
    await run.started()
    await tick()
    assert len(run.wire.inbox) == 0
    run.wire.put(text("c"))
    await tick()
    run.go_on.set()
    await run.wire.until_sent(3)
    run.wire.put(text("d"), {"type": "websocket.receive", "bytes": b"e"}, disconnect())
    await run.finished()
    assert run.log == ["slow", "a", "b", "c", "d", b"e", (1001, "")]


async def test_a_second_slow_hook_is_watched_again() -> None:
    """After what was read ahead is handed out, the next long hook is watched like the first."""
    run = Run(Slow, text("slow"))
    await run.started()
    await tick()
    run.go_on.set()
    await run.wire.until_sent(3)
    run.go_on.clear()
    run.wire.put(text("quick"), text("slow"))
    await run.wire.until_sent(4)
    run.wire.put(disconnect())
    await tick()
    await run.finished()
    assert run.log == ["slow", "quick", "slow", (1001, "")]
    assert counters["hook_interrupted"] == 1


@pytest.mark.parametrize(
    ("message", "read"),
    [
        ({"text": "x"}, READ_AHEAD_EVENTS),
        ({"bytes": b"x"}, READ_AHEAD_EVENTS),
        ({"text": "x" * 32 * 1024}, 2),
        ({"bytes": b"x" * 32 * 1024}, 2),
        ({"text": None, "bytes": b"x" * 32 * 1024}, 2),
    ],
    ids=["texts", "binaries", "characters", "bytes", "bytes-beside-none"],
)
async def test_reading_ahead_is_bounded(message: dict[str, Any], read: int) -> None:
    """A client that floods a slow hook is not read without limit, in number or in size."""
    run = Run(Slow, text("slow"), *[{"type": "websocket.receive", **message}] * 200)
    await run.started()
    await tick(200)
    assert 200 - len(run.wire.inbox) == read
    run.go_on.set()
    run.wire.put(disconnect())
    await run.finished()
    assert len(run.log) == 202


async def test_messages_behind_a_cancelled_hook_are_counted() -> None:
    """Messages of a client that has left are dropped with a count, like those after a close."""
    run = Run(Slow, text("slow"), text("a"), text("b"), disconnect())
    await run.started()
    await tick()
    await run.finished()
    assert run.log == ["slow", (1001, "")]
    assert counters["message_dropped"] == 2


async def test_a_client_that_leaves_during_connect() -> None:
    """A slow connect() is cancelled too; nothing was accepted, so there is no disconnect()."""
    entered = asyncio.Event()

    class SlowConnect(Slow):
        async def connect(self) -> None:
            entered.set()
            await self.go_on.wait()

    run = Run(SlowConnect)
    await entered.wait()
    run.wire.put(disconnect())
    await tick()
    await run.finished()
    assert (run.wire.sent, run.log) == ([], [])
    assert counters["hook_interrupted"] == 1


async def test_a_hook_that_swallows_its_cancellation() -> None:
    """It may finish, its sends raise ConnectionClosed, and the task counts as not cancelled."""

    class Swallowing(Slow):
        async def receive(self, data: str | bytes) -> None:
            with contextlib.suppress(asyncio.CancelledError):
                await super().receive(data)
            with pytest.raises(ConnectionClosed):
                await self.send("anyone?")
            self.log.append("finished")

    run = Run(Swallowing, text("slow"))
    await run.started()
    run.wire.put(disconnect())
    await tick()
    await run.finished()
    assert run.log == ["slow", "finished", (1001, "")]
    assert run.task.cancelling() == 0


async def test_a_hook_that_closed_is_not_cancelled() -> None:
    """After our own close() the client's answer is no news, and the hook may go on."""

    class Closing(Slow):
        async def receive(self, data: str | bytes) -> None:
            await self.close(4000)
            await self.go_on.wait()
            self.log.append("finished")

    run = Run(Closing, text("slow"))
    await run.wire.until_sent(2)
    run.wire.put(disconnect(4000))
    await tick()
    run.go_on.set()
    await run.finished()
    assert run.wire.sent == [ACCEPT, close(4000)]
    assert run.log == ["finished", (4000, "")]


async def test_cancellation_of_a_watched_hook(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that stops while a hook is watched gets its cancellation, and nothing is left."""
    monkeypatch.setattr(connection, "STOP_TIMEOUT", 0)
    run = Run(Slow, text("slow"))
    await run.started()
    await tick()
    run.task.cancel()
    await asyncio.wait([run.task])
    assert run.task.cancelled()
    assert run.log == ["slow", (1012, "")]


async def test_cancellation_and_a_client_that_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    """When the server stops in the moment in which the client leaves, the server's word counts."""
    monkeypatch.setattr(connection, "STOP_TIMEOUT", 0)
    run = Run(Slow, text("slow"))
    await run.started()
    monitor.monitor().tick()
    run.wire.put(disconnect())
    monitor.monitor().tick()
    asyncio.get_running_loop().call_soon(run.task.cancel)
    await asyncio.wait([run.task])
    assert run.task.cancelled()
    assert run.log[-1][0] in {1006, 1001}


async def test_a_server_whose_receive_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """An error of the server's receive is raised where it would have been without us."""
    monkeypatch.setattr(connection, "STOP_TIMEOUT", 0)

    class Broken(Wire):
        async def receive(self) -> dict[str, Any]:
            event = await super().receive()
            if event["type"] == "broken":
                raise RuntimeError("the server broke")
            return event

    run = Run(Slow, text("slow"), {"type": "broken"}, wire=Broken())
    await run.started()
    await tick()
    run.go_on.set()
    with pytest.raises(RuntimeError, match="the server broke"):
        await run.finished()
    assert run.log == ["slow", (1011, "")]


class Timers:
    """The timers that a test's event loop is asked for."""

    def __init__(self) -> None:
        self._call_at = asyncio.get_running_loop().call_at
        self._made: list[asyncio.TimerHandle] = []

    def call_at(
        self, when: float, callback: Callable[..., Any], *args: Any, **kwargs: Any
    ) -> asyncio.TimerHandle:
        def come(*args: Any) -> None:
            self._made.remove(timer)
            callback(*args)

        timer = self._call_at(when, come, *args, **kwargs)
        self._made.append(timer)
        return timer

    @property
    def to_come(self) -> int:
        """How many of them have neither come nor been cancelled."""
        return sum(not timer.cancelled() for timer in self._made)


@pytest.fixture
async def timers(monkeypatch: pytest.MonkeyPatch) -> Timers:
    """Count the timers of this test."""
    timers = Timers()
    monkeypatch.setattr(asyncio.get_running_loop(), "call_at", timers.call_at)
    return timers


async def test_the_monitor_rests(timers: Timers) -> None:
    """The ticker runs by itself while there are connections; without any, no timer is left."""
    for _ in range(2):
        run = Run(Slow, text("slow"))
        await run.started()
        assert timers.to_come == 1
        run.wire.put(disconnect())
        await advance(1)
        await run.finished()
        assert run.log == ["slow", (1001, "")]
        assert timers.to_come == 0


async def test_one_monitor_for_all(timers: Timers) -> None:
    """Connections of one loop share the monitor; one that ends leaves the others watched."""
    first, second = Run(Slow, text("slow")), Run(Slow, text("slow"))
    await first.started()
    await second.started()
    assert timers.to_come == 1
    second.go_on.set()
    second.wire.put(disconnect())
    await second.finished()
    first.wire.put(disconnect())
    await advance(1)
    await first.finished()
    assert first.log == ["slow", (1001, "")]
    assert counters["hook_interrupted"] == 1


async def test_the_sessions_of_a_loop_are_known() -> None:
    """Whoever looks for a connection finds all that are open here, and their consumers."""
    async with connect(WebsocketConsumer), connect(WebsocketConsumer):
        consumers = [session.consumer for session in monitor.monitor().sessions]
    assert [type(consumer) for consumer in consumers] == [WebsocketConsumer, WebsocketConsumer]
    assert monitor.monitor().sessions == ()
