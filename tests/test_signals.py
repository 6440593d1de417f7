"""Signals about connections: what receivers hear, when and where, and what becomes of a bad one."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth.models import User
from django.test import override_settings
from django.urls import path

from tests.fakes import CONNECT, DENIAL, Wire, disconnect, run, scope, text
from wsconsumer import WebsocketConsumer
from wsconsumer.counters import counters
from wsconsumer.handshake.dispatcher import WebsocketDispatcher
from wsconsumer.log_thread import GuestThread, aflush, guest_thread
from wsconsumer.signals import (
    settle,
    websocket_accepted,
    websocket_denied,
    websocket_disconnected,
)
from wsconsumer.test import connect

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from django.dispatch import Signal

SIGNALS = {
    "accepted": websocket_accepted,
    "denied": websocket_denied,
    "disconnected": websocket_disconnected,
}


@contextmanager
def receiving(signal: Signal, receiver: Callable[..., Any]) -> Iterator[None]:
    """Connect a receiver while the block runs."""
    signal.connect(receiver, weak=False)
    try:
        yield
    finally:
        signal.disconnect(receiver)


@pytest.fixture
def heard() -> Iterator[list[tuple[str, dict[str, Any]]]]:
    """What all signals say."""
    found: list[tuple[str, dict[str, Any]]] = []

    def receiver_for(name: str) -> Callable[..., None]:
        return lambda **named: found.append((name, named))

    receivers = {name: receiver_for(name) for name in SIGNALS}
    for name, receiver in receivers.items():
        SIGNALS[name].connect(receiver, weak=False)
    yield found
    for name, receiver in receivers.items():
        SIGNALS[name].disconnect(receiver)


@pytest.fixture
def guests(monkeypatch: pytest.MonkeyPatch) -> GuestThread:
    """A thread for receivers, which does not run them in place as in other tests."""
    thread = GuestThread()
    monkeypatch.setattr(GuestThread, "is_in_place", False)
    monkeypatch.setattr("wsconsumer.log_thread._guests", [thread])
    return thread


class Chat(WebsocketConsumer):
    """Writes down when its hooks ran."""

    heard: Any = None

    async def connect(self) -> None:
        await self.accept()
        self.heard.append(("connect", {}))

    async def disconnect(self, code: int, reason: str) -> None:
        self.heard.append(("disconnect", {}))


async def test_a_life(heard: list[tuple[str, dict[str, Any]]]) -> None:
    """Its beginning is told, and its end, after disconnect()."""
    await run(Chat.as_asgi(heard=heard), disconnect(4001, "bye"), path="/ws/")
    await settle(5)
    names = [name for name, _ in heard]
    assert sorted(names) == ["accepted", "connect", "disconnect", "disconnected"]
    assert names.index("accepted") < names.index("disconnected") == 3
    accepted, disconnected = heard[names.index("accepted")][1], heard[-1][1]
    assert accepted["sender"] is disconnected["sender"] is Chat
    assert accepted["request"].path == "/ws/"
    assert accepted["connection_id"] == disconnected["connection_id"] > 0
    assert (disconnected["code"], disconnected["reason"]) == (4001, "bye")
    assert 0 <= disconnected["duration"] < 60


async def test_accepted_by_itself(heard: list[tuple[str, dict[str, Any]]]) -> None:
    """A consumer that decides nothing is accepted once."""
    await run(WebsocketConsumer.as_asgi(), disconnect())
    await settle(5)
    assert [name for name, _ in heard] == ["accepted", "disconnected"]


async def test_a_server_that_stops(heard: list[tuple[str, dict[str, Any]]]) -> None:
    """Whatever ends a connection, also while connect() runs, its end is told."""

    class Hanging(WebsocketConsumer):
        async def connect(self) -> None:
            await self.accept()
            await asyncio.get_running_loop().create_future()

    wire = Wire(CONNECT)
    task = asyncio.ensure_future(Hanging.as_asgi()(scope(), wire.receive, wire.send))
    await wire.until_sent(1)
    wire.put(disconnect(1012))
    task.cancel()
    await asyncio.wait([task])
    await settle(5)
    assert [name for name, _ in heard] == ["accepted", "disconnected"]
    assert heard[-1][1]["code"] == 1012


async def test_nobody_answers_a_client_that_left(heard: list[tuple[str, dict[str, Any]]]) -> None:
    """A client that leaves before there is an answer is no news."""
    wire = Wire(disconnect())
    await WebsocketConsumer.as_asgi()(scope(), wire.receive, wire.send)
    await settle(5)
    assert heard == []


async def test_a_consumer_denies(heard: list[tuple[str, dict[str, Any]]]) -> None:
    """The consumer's own denial says so."""

    class Denying(WebsocketConsumer):
        async def connect(self) -> None:
            await self.reject(418)

    await run(Denying.as_asgi(), disconnect(), **DENIAL)
    await settle(5)
    ((name, named),) = heard
    assert (name, named["sender"]) == ("denied", Denying)
    assert (named["status"], named["outcome"]) == (418, "denied")


@override_settings(MIDDLEWARE=[])
@pytest.mark.parametrize(
    ("change", "status", "outcome"),
    [
        ({"path": "/nowhere/"}, 404, "denied"),
        ({"headers": [(b"host", b"evil.example")]}, 400, "host"),
        (
            {"headers": [(b"host", b"testserver"), (b"origin", b"https://evil.example")]},
            403,
            "origin",
        ),
    ],
    ids=["not-found", "host", "origin"],
)
async def test_a_handshake_is_denied(
    change: dict[str, Any], status: int, outcome: str, heard: list[tuple[str, dict[str, Any]]]
) -> None:
    """Before there is a consumer, the dispatcher is the sender."""
    application = WebsocketDispatcher([path("ws/", WebsocketConsumer.as_view())])
    await run(application, disconnect(), **{"path": "/ws/", **change})
    await settle(5)
    ((name, named),) = heard
    assert (name, named["sender"]) == ("denied", WebsocketDispatcher)
    assert (named["status"], named["outcome"]) == (status, outcome)
    assert named["request"].path == change.get("path", "/ws/")


async def test_in_a_thread(guests: GuestThread) -> None:
    """No websocket waits for a receiver: it runs in a thread, and the echo comes meanwhile."""
    gate, threads = threading.Event(), []

    def receive(**named: Any) -> None:
        threads.append(threading.current_thread().name)
        gate.wait(10)

    class Echo(WebsocketConsumer):
        async def receive(self, data: str | bytes) -> None:
            await self.send(data)

    with receiving(websocket_accepted, receive):
        sent = await run(Echo.as_asgi(), text("hello"), disconnect())
        assert [event["type"] for event in sent] == ["websocket.accept", "websocket.send"]
        gate.set()
        assert guests.flush()
    assert threads == ["wsconsumer-signals"]


async def test_a_server_waits_for_receivers(guests: GuestThread) -> None:
    """When a server stops, what waits is sent first."""
    heard: list[Any] = []
    with receiving(websocket_disconnected, lambda **named: heard.append(named)):
        await run(WebsocketConsumer.as_asgi(), disconnect())
        await aflush()
    assert len(heard) == 1


@pytest.mark.usefixtures("guests")
async def test_nothing_is_done_without_receivers() -> None:
    """Nobody listens: there is not even a thread."""
    before = set(threading.enumerate())
    await run(WebsocketConsumer.as_asgi(), disconnect())
    assert set(threading.enumerate()) == before


async def test_a_receiver_that_fails(
    heard: list[tuple[str, dict[str, Any]]], caplog: pytest.LogCaptureFixture
) -> None:
    """Django logs it, and others hear the signal all the same."""

    def fail(**named: Any) -> None:
        raise ValueError("no")

    with receiving(websocket_accepted, fail):
        await run(WebsocketConsumer.as_asgi(), disconnect())
        await settle(5)
    assert [name for name, _ in heard] == ["accepted", "disconnected"]
    (record,) = [record for record in caplog.records if record.levelname == "ERROR"]
    assert record.name == "django.dispatch"


async def test_more_than_receivers_can_take(
    guests: GuestThread, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What waits is bounded; what is lost is counted and logged."""
    monkeypatch.setattr("wsconsumer.log_thread.LIMIT", 2)
    gate, busy = threading.Event(), threading.Event()

    def receive(**named: Any) -> None:
        busy.set()
        gate.wait(10)

    with receiving(websocket_disconnected, receive):
        await run(WebsocketConsumer.as_asgi(), disconnect())
        assert busy.wait(10)
        for _ in range(5):
            await run(WebsocketConsumer.as_asgi(), disconnect())
        gate.set()
        assert guests.flush()
    assert counters["signal_dropped"] == 3
    assert "More signals came than could be emitted. Dropped: 3." in caplog.messages


@pytest.mark.usefixtures("guests")
async def test_nothing_holds_the_consumer() -> None:
    """A signal that waits for its receiver holds no connection alive."""
    gate = threading.Event()
    seen: list[weakref.ref[Any]] = []

    class Seen(WebsocketConsumer):
        async def connect(self) -> None:
            seen.extend(map(weakref.ref, (self, self._wsconsumer, self._wsconsumer.connection)))

    with receiving(websocket_disconnected, lambda **named: gate.wait(10)):
        gc.collect()
        gc.disable()
        try:
            await run(Seen.as_asgi(), disconnect())
            await asyncio.sleep(0)
            assert [ref() for ref in seen if ref() is not None] == []
        finally:
            gc.enable()
            gate.set()
        assert guest_thread().flush()


@pytest.fixture
def ada(db: None) -> None:
    """A user, who is gone with the test."""
    User.objects.create(username="ada")


@pytest.mark.usefixtures("ada")
async def test_in_a_test_of_the_project() -> None:
    """With the kit, receivers of both kinds have been called, and see the test's database."""
    found: list[Any] = []

    def count(**named: Any) -> None:
        found.append(User.objects.count())

    async def acount(**named: Any) -> None:
        found.append(await User.objects.acount())

    with receiving(websocket_accepted, count), receiving(websocket_disconnected, acount):
        async with connect(WebsocketConsumer):
            pass
    assert found == [1, 1]


async def test_an_async_receiver(guests: GuestThread) -> None:
    """One runs in the thread as well, in an event loop of its own."""
    threads = []

    async def receive(**named: Any) -> None:
        threads.append(threading.current_thread().name)

    loop = asyncio.get_running_loop()

    async def note(**named: Any) -> None:
        threads.append(str(asyncio.get_running_loop() is loop))

    with receiving(websocket_accepted, receive), receiving(websocket_accepted, note):
        await run(WebsocketConsumer.as_asgi(), disconnect())
        assert await asyncio.to_thread(guests.flush, 10)
    assert len(threads) == 2
    assert "MainThread" not in threads
    assert "True" not in threads
