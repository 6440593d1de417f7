"""``monitor.py``: hooks that go on although their connection is closing or closed."""

from __future__ import annotations

import asyncio
import logging
from types import SimpleNamespace
from typing import Any

import pytest

from tests.fakes import ACCEPT, CONNECT, Wire, close, disconnect, scope, text
from tests.recording import Recorder
from wsconsumer import ConnectionClosed, session
from wsconsumer.connection.monitor import monitor
from wsconsumer.counters import counters
from wsconsumer.protocol import CLOSE_TIMEOUT
from wsconsumer.servers.departure import LINGER
from wsconsumer.test import advance


class Busy(Recorder):
    """Works in receive() until it is cancelled."""

    async def receive(self, data: str | bytes) -> None:
        self.log.append("begins")
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            self.log.append("ends")


class Ticking(Busy):
    """Sends beside its hook, and is told that the client has gone."""

    async def connect(self) -> None:
        await self.accept()
        self.spawn(self.tick())

    async def tick(self) -> None:
        try:
            while True:
                await self.send("tick")
        except ConnectionClosed:
            self.log.append("gone")


class FailingBeside(Busy):
    """Has a task that fails, so that we close with 1011."""

    async def connect(self) -> None:
        await self.accept()
        self.spawn(self.fail())

    async def fail(self) -> None:
        raise ValueError


class ClosingBeside(Busy):
    """Has a task that closes."""

    async def connect(self) -> None:
        await self.accept()
        self.spawn(self.close(4000))


class Closing(Recorder):
    """Closes, and goes on."""

    async def receive(self, data: str | bytes) -> None:
        await self.close(4000)
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            self.log.append("ends")


async def tick(times: int = 3) -> None:
    """Let the monitor look, and let what it starts run."""
    for _ in range(times):
        monitor().tick()
        for _ in range(5):
            await asyncio.sleep(0)


@pytest.mark.parametrize(
    ("kind", "code"),
    [(Ticking, 1006), (FailingBeside, 1011), (ClosingBeside, 4000)],
    ids=["a-send-that-failed", "our-1011", "another-tasks-close"],
)
async def test_a_hook_ends_when_the_disconnect_was_read(kind: type[Busy], code: int) -> None:
    """Whatever moved the connection to CLOSING, the hook is cancelled and disconnect() runs."""
    log: list[Any] = []
    wire = Wire(CONNECT, text("go"))
    wire.fail_on = "websocket.send"
    task = asyncio.create_task(kind.as_asgi(log=log)(scope(), wire.receive, wire.send))
    await tick()
    assert "ends" not in log
    wire.put(disconnect(code))
    await tick()
    async with asyncio.timeout(5):
        await task
    assert log[-2:] == ["ends", (code, "")]
    assert counters["hook_interrupted"] == 1


async def test_a_hook_that_closed_has_time_to_finish(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client's answer does not cancel it; the end of ``CLOSE_TIMEOUT`` does, with a line."""
    log: list[Any] = []
    wire = Wire(CONNECT, text("go"))
    loop = asyncio.get_running_loop()
    task = asyncio.create_task(Closing.as_asgi(log=log)(scope(), wire.receive, wire.send))
    await wire.until_sent(2)
    wire.put(disconnect(4000))
    await tick()
    assert log == ["connect"]
    now = loop.time()
    monkeypatch.setattr(loop, "time", lambda: now + CLOSE_TIMEOUT)
    await tick(1)
    async with asyncio.timeout(5):
        await task
    assert log == ["connect", "ends", (4000, "")]
    assert wire.sent == [ACCEPT, close(4000)]
    assert caplog.messages == [
        "Closing: a hook on / still runs 10 seconds after the end of its connection; cancelling "
        "it. Work that should outlive the connection belongs in a task of its own."
    ]


async def test_a_hook_that_swallows_its_cancellation(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is cancelled again after a while, with a line that says so."""
    caplog.set_level(logging.INFO, "wsconsumer")

    class Swallowing(Recorder):
        async def receive(self, data: str | bytes) -> None:
            for _ in range(2):
                try:
                    await asyncio.get_running_loop().create_future()
                except asyncio.CancelledError:
                    self.log.append("swallowed")

    log: list[Any] = []
    wire = Wire(CONNECT, text("go"))
    loop = asyncio.get_running_loop()
    task = asyncio.create_task(Swallowing.as_asgi(log=log)(scope(), wire.receive, wire.send))
    await wire.until_sent(1)
    await tick()
    wire.put(disconnect(1001))
    await tick()
    assert log == ["connect", "swallowed"]
    now = loop.time()
    monkeypatch.setattr(loop, "time", lambda: now + session.CANCEL_AGAIN_AFTER)
    await tick(1)
    async with asyncio.timeout(5):
        await task
    assert log == ["connect", "swallowed", "swallowed", (1001, "")]
    assert len(caplog.records) == 1
    assert task.cancelling() == 0


async def test_a_task_group_that_fails_as_it_is_cancelled() -> None:
    """Its error is logged, its second cancellation of the hook survived, and disconnect() runs."""

    class Grouping(Recorder):
        async def receive(self, data: str | bytes) -> None:
            async with asyncio.TaskGroup() as group:
                group.create_task(self.fail_at_the_end())

        async def fail_at_the_end(self) -> None:
            try:
                await asyncio.get_running_loop().create_future()
            finally:
                raise ValueError

    log: list[Any] = []
    wire = Wire(CONNECT, text("go"))
    task = asyncio.create_task(Grouping.as_asgi(log=log)(scope(), wire.receive, wire.send))
    await wire.until_sent(1)
    await tick()
    wire.put(disconnect(1001))
    await tick()
    async with asyncio.timeout(5):
        await task
    assert log == ["connect", (1001, "")]
    assert counters["hook_failed"] == 1
    assert not task.cancelled()


async def test_a_close_that_is_not_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    """The wait for the answer ends after ``CLOSE_TIMEOUT``, once."""
    log: list[Any] = []
    wire = Wire(CONNECT)
    loop = asyncio.get_running_loop()
    task = asyncio.create_task(ClosingBeside.as_asgi(log=log)(scope(), wire.receive, wire.send))
    await wire.until_sent(2)
    await tick(1)
    now = loop.time()
    monkeypatch.setattr(loop, "time", lambda: now + 2 * CLOSE_TIMEOUT)
    monitor().tick()
    monkeypatch.setattr(loop, "time", lambda: now + 4 * CLOSE_TIMEOUT)
    monitor().tick()
    async with asyncio.timeout(5):
        await task
    assert log == [(4000, "")]
    assert task.cancelling() == 0


async def test_a_hook_that_goes_on_for_a_client_that_never_answers() -> None:
    """Its own close has an end as well: the hook is cancelled, and then disconnect() runs."""
    log: list[Any] = []
    wire = Wire(CONNECT, text("go"))
    task = asyncio.create_task(Closing.as_asgi(log=log)(scope(), wire.receive, wire.send))
    await wire.until_sent(2)
    await advance(CLOSE_TIMEOUT + 1)
    assert log == ["connect", "ends"]
    await advance(session.CANCEL_AGAIN_AFTER + 1)
    assert log == ["connect", "ends", (4000, "")]
    assert task.done()


class AtOnce(Recorder):
    """Closes, and has nothing more to do."""

    async def receive(self, data: str | bytes) -> None:
        await self.close(4000)


class OfUvicorn(Wire):
    """A wire whose ``send`` leads to a transport, as uvicorn's does."""

    __module__ = "uvicorn.protocol"
    transport: Any = None


@pytest.mark.parametrize("answers", [False, True], ids=["silent", "answers"])
async def test_a_client_that_never_takes_our_close(answers: bool) -> None:
    """
    Some time after disconnect() its connection is reset; the server would keep it forever.

    One whose client answered is the server's.
    """
    aborted: list[bool] = []
    wire = OfUvicorn(CONNECT, text("go"))
    wire.transport = SimpleNamespace(abort=lambda: aborted.append(True))
    closing = AtOnce.as_asgi()
    task = asyncio.create_task(closing(scope(), wire.receive, wire.send))
    await wire.until_sent(2)
    if answers:
        wire.put(disconnect(4000))
    await advance(CLOSE_TIMEOUT + 1)
    assert task.done()
    assert aborted == []
    await advance(LINGER)
    assert aborted == ([] if answers else [True])
