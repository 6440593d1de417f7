"""``connection/watchdog.py``: a hook that blocks the event loop is named, and so is the line."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Any

import pytest

from wsconsumer import JsonWebsocketConsumer, WebsocketConsumer
from wsconsumer.connection import watchdog
from wsconsumer.connection.monitor import monitor
from wsconsumer.connection.watchdog import Pulse, Watchdog
from wsconsumer.counters import counters
from wsconsumer.test import connect

if TYPE_CHECKING:
    from collections.abc import Iterator

PATIENCE = 10.0


class Told(logging.Handler):
    """Notes what the watchdog says, and wakes who waits for it, in whichever thread."""

    def __init__(self) -> None:
        super().__init__()
        self.messages: list[str] = []
        self.event = threading.Event()

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())
        self.event.set()


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Iterator[Told]:
    """A watchdog of the test's own, which has said nothing yet, and what it says."""
    monkeypatch.setattr(watchdog, "_watchdogs", [Watchdog()])
    handler = Told()
    watchdog.logger.addHandler(handler)
    yield handler
    watchdog.logger.removeHandler(handler)


class Blocking(WebsocketConsumer):
    """Waits for a threading event, as time.sleep() would wait, in its hook."""

    told: Any = None

    async def receive(self, data: str | bytes) -> None:
        await self.send(str(self.wait_in_vain()))

    def wait_in_vain(self) -> bool:
        return bool(self.told.event.wait(PATIENCE))


class BlockingTask(Blocking):
    """The same in what it spawns."""

    async def receive(self, data: str | bytes) -> None:
        self.spawn(self.block())

    async def block(self) -> None:
        await self.send(str(self.wait_in_vain()))


class BlockingMember(Blocking):
    """The same with what its group brings."""

    async def receive(self, data: str | bytes) -> None:
        await self.join("room")
        await self.broadcast("room", data)

    async def group_message(self, group: str, data: Any) -> None:
        await self.send(str(self.wait_in_vain()))


class BlockingJson(JsonWebsocketConsumer):
    """The same behind a hook of ours."""

    told: Any = None

    async def receive_json(self, content: Any) -> None:
        await self.send(str(self.wait_in_vain()))

    def wait_in_vain(self) -> bool:
        return bool(self.told.event.wait(PATIENCE))


@pytest.mark.parametrize(
    ("consumer", "hook"),
    [
        (Blocking, "Blocking.receive"),
        (BlockingJson, "BlockingJson.receive_json"),
        (BlockingTask, "BlockingTask.block"),
        (BlockingMember, "BlockingMember.group_message"),
    ],
    ids=["receive", "receive_json", "spawned", "group_message"],
)
async def test_a_hook_that_blocks(told: Told, consumer: Any, hook: str) -> None:
    """The line names the hook, and the place in it, while it still blocks."""
    async with connect(consumer.as_asgi(told=told)) as ws:
        await ws.advance(0.5)  # a tick
        await ws.send("1")
        assert await ws.receive(timeout=PATIENCE) == "True"
    [message] = told.messages
    assert message.startswith(f"{hook} blocks the event loop for more than a second, and ")
    assert "call it with sync_to_async(). It is here:\n" in message
    assert "return bool(self.told.event.wait(PATIENCE))" in message
    assert "session.py" not in message
    assert counters["loop_blocked"] == 1


class Noticing(Watchdog):
    """Tells when it has looked at a loop that stands still."""

    def __init__(self) -> None:
        super().__init__()
        self.looked = threading.Semaphore(0)

    def _name(self, thread: int) -> None:
        super()._name(thread)
        self.looked.release()

    def wait(self) -> None:
        """Block until it has looked once more."""
        assert self.looked.acquire(timeout=PATIENCE)


@pytest.fixture
def noticing(monkeypatch: pytest.MonkeyPatch, told: Told) -> Noticing:
    """A watchdog that tells when it has looked."""
    noticing = Noticing()
    monkeypatch.setattr(watchdog, "_watchdogs", [noticing])
    return noticing


async def test_a_hook_that_blocks_again(noticing: Noticing, told: Told) -> None:
    """It is named once in a minute, and counted each time."""

    class Twice(WebsocketConsumer):
        async def receive(self, data: str | bytes) -> None:
            noticing.wait()

    async with connect(Twice) as ws:
        for _ in range(2):
            await ws.advance(0.5)
            await ws.send("go")
            await ws.settle()
    assert len(told.messages) == 1
    assert counters["loop_blocked"] == 2


async def test_a_loop_that_stands_still_elsewhere(noticing: Noticing, told: Told) -> None:
    """What is not in a hook, such as this test, is not named."""
    async with connect(WebsocketConsumer) as ws:
        await ws.advance(0.5)
        noticing.wait()
    assert told.messages == []


async def test_a_debugger(noticing: Noticing, told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who stops in a debugger knows that the loop stands still."""
    monkeypatch.setattr(watchdog, "DEBUGGERS", {__name__.partition(".")[0]})

    class Stopped(WebsocketConsumer):
        async def receive(self, data: str | bytes) -> None:
            noticing.wait()

    async with connect(Stopped) as ws:
        await ws.advance(0.5)
        await ws.send("go")
        await ws.settle()
    assert told.messages == []


def test_a_thread_that_has_gone(noticing: Noticing, told: Told) -> None:
    """A loop whose thread has ended without a word is not named either."""
    pulse = Pulse()
    thread = threading.Thread(target=pulse.beat)
    thread.start()
    thread.join()
    noticing.wait()
    pulse.stop()
    assert told.messages == []


def test_a_pulse_that_never_beat() -> None:
    """It can be stopped all the same."""
    Pulse().stop()


async def test_nothing_is_watched_when_nobody_is_there(told: Told) -> None:
    """The pulse stops with the last connection, and begins again with the next."""
    for _ in range(2):
        async with connect(WebsocketConsumer) as ws:
            await ws.advance(0.5)
            assert len(watchdog.watchdog()._pulses) == 1  # noqa: SLF001  # it says so to nobody
        assert len(watchdog.watchdog()._pulses) == 0  # noqa: SLF001  # what is inside is what is tested
    monitor().tick()
    assert len(watchdog.watchdog()._pulses) == 0  # noqa: SLF001  # what is inside is what is tested
