"""
``servers/granian.py``: a fake of granian's protocol, which sends no close beside a ``receive()``.

The same against a whole server process is in ``tests/servers``.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any

import pytest

from tests.fakes import ACCEPT, CONNECT, close, disconnect, scope, sent, text
from wsconsumer import WebsocketConsumer, servers, session
from wsconsumer.connection import connection, monitor

if TYPE_CHECKING:
    from wsconsumer.protocol import Event
    from wsconsumer.servers.granian import GranianConnection

pytestmark = pytest.mark.timeout(10)

GONE = disconnect(1005)


class Protocol:
    """What granian gives for one websocket: two methods that return futures."""

    def __init__(self, *events: Event) -> None:
        self.inbox = deque(events)
        self.sent: list[Event] = []
        self.has_stopped = False
        self._waiting: asyncio.Future[Event] | None = None
        self._closing: tuple[Event, asyncio.Future[None]] | None = None
        self._changed = asyncio.Event()

    def receive(self) -> asyncio.Future[Event]:
        self._waiting = asyncio.get_running_loop().create_future()
        self._waiting.add_done_callback(lambda _: self._try_close())
        if self.inbox:
            self._waiting.set_result(self.inbox.popleft())
        self._changed.set()
        return self._waiting

    def send(self, event: Event) -> asyncio.Future[None]:
        done = asyncio.get_running_loop().create_future()
        if self.has_stopped:
            return done
        if event["type"] == "websocket.close":
            self._closing = event, done
            self._try_close()
        else:
            self.sent.append(event)
            done.set_result(None)
        return done

    def _try_close(self) -> None:
        if self._closing is None or self.is_waiting:
            return
        event, done = self._closing
        self._closing = None
        if not done.cancelled():
            self.sent.append(event)
            self.inbox.append(GONE)
            done.set_result(None)

    @property
    def is_waiting(self) -> bool:
        return self._waiting is not None and not self._waiting.done()

    def put(self, event: Event) -> None:
        """Let an event arrive."""
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(event)
        else:
            self.inbox.append(event)

    async def until_waiting(self) -> None:
        """Wait until the application waits for an event."""
        while not self.is_waiting:
            self._changed.clear()
            await self._changed.wait()


def granian(name: str = "ASGIWebsocketProtocol", module: str = "granian._granian") -> type[Any]:
    """Return a class that looks like one of granian's."""
    return type(name, (Protocol,), {"__module__": module})


def adapted(protocol: Protocol) -> GranianConnection:
    """Return what mends a protocol."""
    _, _, send = servers.adapt(scope(), protocol.receive, protocol.send)
    owner: GranianConnection = send.__self__  # type: ignore[attr-defined]
    return owner


def run(
    application: type[WebsocketConsumer], *events: Event
) -> tuple[Protocol, asyncio.Task[None]]:
    """Serve a consumer behind granian's protocol."""
    protocol = granian()(CONNECT, *events)
    serving = application.as_asgi()(scope(), protocol.receive, protocol.send)
    return protocol, asyncio.create_task(serving)


async def turns(count: int = 5) -> None:
    """Let everything run that can run without the outside."""
    for _ in range(count):
        await asyncio.sleep(0)


# What is adapted


@pytest.mark.parametrize(
    ("name", "module"),
    [
        ("ASGIHTTPProtocol", "granian._granian"),
        ("ASGIWebsocketProtocol", "granian.asgi"),
        ("ASGIWebsocketProtocol", "another"),
    ],
)
async def test_what_is_not_granians_is_left_alone(name: str, module: str) -> None:
    """Another class, or one of the same name from elsewhere, is not touched."""
    protocol = granian(name, module)()
    given = scope(), protocol.receive, protocol.send
    assert servers.adapt(*given) == given


async def test_mending_twice_is_mending_once() -> None:
    """The dispatcher mends, and so does the consumer; the second finds nothing to do."""
    owner = adapted(granian()())
    given = scope(), owner.receive, owner.send
    assert servers.adapt(*given) == given


async def test_a_task_that_cannot_be_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Granian's own tasks never wake up from a future that was cancelled, so nothing is adapted."""
    stand_in = type("_CBSchedulerTask", (), {"__module__": "granian._futures"})()
    protocol = granian()()
    given = scope(), protocol.receive, protocol.send
    with monkeypatch.context() as patch:
        patch.setattr(asyncio, "current_task", lambda: stand_in)
        task, found = servers.current_task(), servers.adapt(*given)
    assert task is None
    assert found == given


async def test_messages_go_the_direct_way() -> None:
    """What granian's own send returns is what the application awaits."""
    protocol = granian()(text("in"))
    owner = adapted(protocol)
    assert await owner.receive() == text("in")
    done: Any = owner.send(sent("out"))
    assert isinstance(done, asyncio.Future)
    assert protocol.sent == [sent("out")]


# A close beside a receive()


async def test_a_close_calls_the_receive_off() -> None:
    """The close goes out while a receive() waits, and that goes on to the disconnect event."""
    protocol = granian()()
    owner = adapted(protocol)
    receiving = asyncio.create_task(owner.receive())
    await protocol.until_waiting()
    await owner.send(close(4002))
    assert protocol.sent == [close(4002)]
    assert await receiving == GONE
    assert receiving.cancelling() == 0


async def test_a_close_when_nobody_waits() -> None:
    """With no receive() ever begun, a close is just sent."""
    protocol = granian()()
    owner = adapted(protocol)
    await owner.send(close())
    assert protocol.sent == [close()]
    assert await owner.receive() == GONE


async def test_an_event_in_the_same_turn_as_the_close() -> None:
    """An event that came just before the close is delivered, and the next is behind the close."""
    protocol = granian()()
    owner = adapted(protocol)
    receiving = asyncio.create_task(owner.receive())
    await protocol.until_waiting()
    protocol.put(text("last"))
    await owner.send(close())
    assert await receiving == text("last")
    assert await owner.receive() == GONE


async def test_a_receive_that_begins_during_the_close() -> None:
    """It must not get to the socket first, so it waits until the close was sent."""
    protocol = granian()()
    owner = adapted(protocol)
    protocol.has_stopped = True
    closing = asyncio.ensure_future(owner.send(close()))
    await turns()
    receiving = asyncio.create_task(owner.receive())
    await turns()
    assert not protocol.is_waiting
    closing.cancel()
    await protocol.until_waiting()
    protocol.put(GONE)
    assert await receiving == GONE


async def test_a_closer_that_is_cancelled() -> None:
    """A close that never got out leaves the receive() as it found it."""
    protocol = granian()()
    owner = adapted(protocol)
    receiving = asyncio.create_task(owner.receive())
    await protocol.until_waiting()
    protocol.has_stopped = True
    closing = asyncio.ensure_future(owner.send(close()))
    await turns()
    closing.cancel()
    await turns()
    protocol.put(text("still here"))
    assert await receiving == text("still here")


async def test_two_closes_in_one_turn() -> None:
    """The second changes nothing for the receive() that the first has called off."""
    protocol = granian()()
    owner = adapted(protocol)
    receiving = asyncio.create_task(owner.receive())
    await protocol.until_waiting()
    await asyncio.gather(owner.send(close(1001)), owner.send(close(1000)))
    assert await receiving == GONE


@pytest.mark.parametrize("first", ["task", "close"])
async def test_a_cancellation_in_the_same_turn_as_the_close(first: str) -> None:
    """Whoever cancels the task that waits wins, also when the close was there first."""
    protocol = granian()()
    owner = adapted(protocol)
    receiving = asyncio.create_task(owner.receive())
    await protocol.until_waiting()
    if first == "task":
        receiving.cancel()
    closing = asyncio.ensure_future(owner.send(close()))
    if first == "close":
        asyncio.get_running_loop().call_soon(receiving.cancel)
    with pytest.raises(asyncio.CancelledError):
        await receiving
    await closing
    assert protocol.sent == [close()]


async def test_a_cancellation_alone() -> None:
    """A receive() that is cancelled, as by a timeout, ends, and the next one waits as usual."""
    protocol = granian()()
    owner = adapted(protocol)
    receiving = asyncio.create_task(owner.receive())
    await protocol.until_waiting()
    receiving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await receiving
    again = asyncio.create_task(owner.receive())
    await protocol.until_waiting()
    protocol.put(text("next"))
    assert await again == text("next")


# Consumers


async def test_a_consumer_closed_by_its_task() -> None:
    """A spawned task closes while the consumer waits, and disconnect() gets what it said."""
    codes = []

    class Closing(WebsocketConsumer):
        async def connect(self) -> None:
            await self.accept()
            self.spawn(self.walk_out())

        async def walk_out(self) -> None:
            await protocol.until_waiting()
            await self.close(4002, "time is up")

        async def disconnect(self, code: int, reason: str) -> None:
            codes.append((code, reason))

    protocol, task = run(Closing)
    await task
    assert protocol.sent == [ACCEPT, close(4002, "time is up")]
    assert codes == [(4002, "time is up")]


async def test_a_close_while_the_watchman_reads() -> None:
    """A slow hook may close although the monitor is reading ahead of it."""
    codes: list[Any] = []

    class Slow(WebsocketConsumer):
        async def receive(self, data: str | bytes) -> None:
            for _ in range(2):
                monitor.monitor().tick()
            await protocol.until_waiting()
            await self.close(4000)
            codes.append("hook")

        async def disconnect(self, code: int, reason: str) -> None:
            codes.append((code, reason))

    protocol, task = run(Slow, text("go"))
    await task
    assert protocol.sent == [ACCEPT, close(4000)]
    assert codes == ["hook", (4000, "")]


async def test_a_server_that_has_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    """A send() that never ends again holds no disconnect() up."""
    monkeypatch.setattr(session, "STOP_TIMEOUT", 0)
    monkeypatch.setattr(connection, "STOP_TIMEOUT", 0)
    codes = []

    class Waiting(WebsocketConsumer):
        async def disconnect(self, code: int, reason: str) -> None:
            codes.append((code, reason))

    protocol, task = run(Waiting)
    await protocol.until_waiting()
    protocol.has_stopped = True
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert protocol.sent == [ACCEPT]
    assert codes == [(1012, "")]
