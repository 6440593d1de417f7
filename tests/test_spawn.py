"""``session.py`` and ``spawned.py``: tasks that belong to a connection."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from tests.fakes import ACCEPT, CONNECT, DENIAL, Wire, close, disconnect, run, scope, sent, text
from tests.recording import Recorder
from wsconsumer import WebsocketConsumer
from wsconsumer.counters import counters

if TYPE_CHECKING:
    import pytest


async def test_spawned_tasks_end_before_disconnect() -> None:
    """What was spawned runs beside the hooks, and is cancelled and awaited before disconnect()."""
    log: list[Any] = []

    class Clock(Recorder):
        async def connect(self) -> None:
            self.spawn(self.tick())

        async def tick(self) -> None:
            try:
                await self.send("tick")
                await asyncio.get_running_loop().create_future()
            finally:
                await asyncio.sleep(0)
                self.log.append("stopped")

    wire = Wire(CONNECT)
    task = asyncio.create_task(Clock.as_asgi(log=log)(scope(), wire.receive, wire.send))
    await wire.until_sent(2)
    wire.put(disconnect(1000))
    await task
    assert wire.sent == [ACCEPT, sent("tick")]
    assert log == ["stopped", (1000, "")]


async def test_an_error_in_a_task_spawned_before_accept() -> None:
    """A spawned task that fails while connect() still runs denies the connection with a 500."""

    class Hasty(Recorder):
        async def connect(self) -> None:
            await asyncio.wait([self.spawn(self.fail())])

        async def fail(self) -> None:
            raise RuntimeError("the secret")

    log: list[Any] = []
    start, _ = await run(Hasty.as_asgi(log=log), **DENIAL)
    assert (start["status"], log) == (500, [])


async def test_a_spawned_task_may_be_cancelled() -> None:
    """Cancelling the task that spawn() returns ends it alone."""

    class Fickle(Recorder):
        async def receive(self, data: str | bytes) -> None:
            task = self.spawn(self.wait())
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
            await self.send("still here")

        async def wait(self) -> None:
            await asyncio.get_running_loop().create_future()

    messages = await run(Fickle.as_asgi(log=[]), text("a"), disconnect())
    assert messages == [ACCEPT, sent("still here")]
    assert counters["hook_failed"] == 0


async def test_an_error_in_a_spawned_task(caplog: pytest.LogCaptureFixture) -> None:
    """It is handled like a hook's: logged by the coroutine's name, and closed with 1011."""

    class Ticking(Recorder):
        async def receive(self, data: str | bytes) -> None:
            self.spawn(self.tick())

        async def tick(self) -> None:
            raise RuntimeError("the secret")

    log: list[Any] = []
    wire = Wire(CONNECT, text("a"))
    task = asyncio.create_task(Ticking.as_asgi(log=log)(scope(), wire.receive, wire.send))
    await wire.until_sent(2)
    wire.put(disconnect(1011))
    await task
    assert wire.sent == [ACCEPT, close(1011)]
    assert log == ["connect", (1011, "")]
    assert caplog.messages == ["Ticking.tick() failed on / for no user"]


async def test_spawn_wants_a_coroutine(caplog: pytest.LogCaptureFixture) -> None:
    """The function itself, not called, is refused with how to call it."""

    class Spawning(WebsocketConsumer):
        async def connect(self) -> None:
            self.spawn(self.tick)  # type: ignore[arg-type]  # the mistake in question

        async def tick(self) -> None: ...

    await run(Spawning.as_asgi())
    assert caplog.records[0].exc_info is not None
    assert "expects a coroutine, got <bound method" in str(caplog.records[0].exc_info[1])


async def test_spawn_after_the_end(caplog: pytest.LogCaptureFixture) -> None:
    """In disconnect() it is too late to spawn, and the coroutine is closed, not forgotten."""

    class Spawning(WebsocketConsumer):
        async def disconnect(self, code: int, reason: str) -> None:
            self.spawn(self.tick())

        async def tick(self) -> None: ...

    await run(Spawning.as_asgi(), disconnect())
    assert caplog.records[0].exc_info is not None
    assert str(caplog.records[0].exc_info[1]) == (
        "Spawning.spawn() comes too late: the connection is CLOSED."
    )
