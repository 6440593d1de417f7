"""``session.py``: how a connection ends: a close, a cancellation, a server that breaks ASGI."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import pytest

from tests.fakes import ACCEPT, CONNECT, Wire, close, disconnect, run, scope, text
from tests.recording import Chat, Recorder
from wsconsumer import InvalidEvent
from wsconsumer.connection import connection
from wsconsumer.counters import counters
from wsconsumer.test import advance

if TYPE_CHECKING:
    from wsconsumer.protocol import Event


# close() and the code that disconnect() gets


async def test_messages_after_close_are_dropped() -> None:
    """After our close frame nothing reaches receive() any more (RFC 6455 section 1.4)."""

    class Closing(Recorder):
        async def receive(self, data: str | bytes) -> None:
            await super().receive(data)
            await self.close(4000, "enough")

    log: list[Any] = []
    await run(Closing.as_asgi(log=log), text("a"), text("b"), disconnect(1000))
    assert log == ["connect", "a", (4000, "enough")]
    assert counters["message_dropped"] == 1


# Cancellation


async def cancelled(application: Any, wire: Wire, after: int) -> asyncio.Task[None]:
    """Run an application, cancel it once it has sent some messages, and wait for its end."""
    task = asyncio.create_task(application(scope(), wire.receive, wire.send))
    await wire.until_sent(after)
    task.cancel()
    await asyncio.wait([task])
    return task


async def test_cancellation_says_goodbye() -> None:
    """A server that cancels gets a close frame 1012 and a disconnect(), then its cancellation."""
    log: list[Any] = []

    class Answering(Wire):
        async def send(self, message: Event) -> None:
            await super().send(message)
            if message["type"] == "websocket.close":
                self.put(text("late"), disconnect(1012))

    wire = Answering(CONNECT)
    task = await cancelled(Recorder.as_asgi(log=log), wire, after=1)
    assert task.cancelled()
    assert wire.sent == [ACCEPT, close(1012)]
    assert log == ["connect", (1012, "")]


async def test_a_stopping_server_may_say_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that never reports the close holds the cancellation no longer than STOP_TIMEOUT."""
    monkeypatch.setattr(connection, "STOP_TIMEOUT", 0)
    log: list[Any] = []
    task = await cancelled(Recorder.as_asgi(log=log), Wire(CONNECT), after=1)
    assert task.cancelled()
    assert log == ["connect", (1012, "")]


async def test_cancellation_in_a_hook(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hook is cancelled where it waits, and disconnect() still runs once."""
    monkeypatch.setattr(connection, "STOP_TIMEOUT", 0)

    class Waiting(Recorder):
        async def receive(self, data: str | bytes) -> None:
            await self.send("in receive")
            try:
                await asyncio.get_running_loop().create_future()
            finally:
                self.log.append("interrupted")

    log: list[Any] = []
    task = await cancelled(Waiting.as_asgi(log=log), Wire(CONNECT, text("a")), after=2)
    assert task.cancelled()
    assert log == ["connect", "interrupted", (1012, "")]


async def test_cancellation_before_accept() -> None:
    """A connection that was not accepted is cancelled without a disconnect()."""
    entered = asyncio.Event()

    class Waiting(Recorder):
        async def connect(self) -> None:
            entered.set()
            await asyncio.get_running_loop().create_future()

    log: list[Any] = []
    wire = Wire(CONNECT)
    task = asyncio.create_task(Waiting.as_asgi(log=log)(scope(), wire.receive, wire.send))
    await entered.wait()
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    assert (log, wire.sent) == ([], [])


class CancelledByBoth(asyncio.Task[None]):
    """A task that its server cancels in the very moment in which somebody else does."""

    def cancel(self, msg: Any = None) -> bool:
        super().cancel(msg)
        return super().cancel(msg)


async def test_cancellation_while_waiting_for_the_close() -> None:
    """A server that cancels just when we give up on it gets its cancellation."""
    log: list[Any] = []

    class Closing(Recorder):
        async def receive(self, data: str | bytes) -> None:
            await self.close(4000)

    wire = Wire(CONNECT, text("a"))
    task = CancelledByBoth(Closing.as_asgi(log=log)(scope(), wire.receive, wire.send))
    await wire.until_sent(2)
    await advance(13)
    await asyncio.wait([task])
    assert task.cancelled()
    assert log == ["connect", (4000, "")]


async def test_a_second_cancellation_does_not_skip_disconnect() -> None:
    """disconnect() runs even when the server loses patience with a task that won't end."""
    log: list[Any] = []
    stuck = asyncio.Event()
    release = asyncio.Event()

    class Stubborn(Recorder):
        async def connect(self) -> None:
            await super().connect()
            self.spawn(self.refuse_to_end())

        async def refuse_to_end(self) -> None:
            while not release.is_set():
                with contextlib.suppress(asyncio.CancelledError):
                    await release.wait()
                stuck.set()

    wire = Wire(CONNECT)
    task = asyncio.create_task(Stubborn.as_asgi(log=log)(scope(), wire.receive, wire.send))
    await wire.until_sent(1)
    task.cancel()
    await stuck.wait()
    task.cancel()
    await asyncio.wait([task])
    release.set()
    assert task.cancelled()
    assert log == ["connect", (1012, "")]


async def test_a_server_that_breaks_asgi(monkeypatch: pytest.MonkeyPatch) -> None:
    """An event of no known type ends the connection with 1011, and the server gets the error."""
    monkeypatch.setattr(connection, "STOP_TIMEOUT", 0)
    log: list[Any] = []
    wire = Wire(CONNECT, {"type": "websocket.ping"})
    with pytest.raises(InvalidEvent, match=r"got 'websocket\.ping'"):
        await Recorder.as_asgi(log=log)(scope(), wire.receive, wire.send)
    assert wire.sent == [ACCEPT, close(1011)]
    assert log == ["connect", (1011, "")]


async def test_a_server_that_starts_wrong() -> None:
    """The first event must be websocket.connect."""
    wire = Wire(text("early"))
    with pytest.raises(InvalidEvent, match=r"Expected websocket\.connect first"):
        await Chat.as_asgi()(scope(), wire.receive, wire.send)
    assert wire.sent == []


async def test_a_coroutine_that_is_thrown_away() -> None:
    """Without a loop to run it, nothing more is awaited, and nothing complains."""
    log: list[Any] = []
    wire = Wire(CONNECT)
    coroutine = Recorder.as_asgi(log=log)(scope(), wire.receive, wire.send)
    assert asyncio.iscoroutine(coroutine)
    coroutine.send(None)  # until it waits for a message
    coroutine.close()
    assert (log, wire.sent) == (["connect"], [ACCEPT])
