"""What is counted of connections, and that nothing is where it is off."""

from __future__ import annotations

import asyncio
import gc
import logging
import weakref
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from django.test import override_settings
from django.urls import path

from tests.fakes import (
    CONNECT,
    KnownServer,
    UnknownServer,
    Wire,
    disconnect,
    run,
    scope,
    text,
    until,
)
from wsconsumer import WebsocketConsumer, abroadcast, broadcast, metrics
from wsconsumer.connection.monitor import monitor
from wsconsumer.groups.hub import hub
from wsconsumer.groups.reconnecting import Outage
from wsconsumer.handshake.dispatcher import WebsocketDispatcher
from wsconsumer.metrics import BOUNDS, Histogram, add, snapshot

if TYPE_CHECKING:
    from collections.abc import Iterator

on = override_settings(WSCONSUMER={"METRICS": True})


@pytest.fixture(autouse=True)
def _from_zero() -> Iterator[None]:
    metrics.forget()
    yield
    metrics.forget()


class Echo(WebsocketConsumer):
    """Sends everything back, twice."""

    async def receive(self, data: str | bytes) -> None:
        await self.send(data)
        await self.send(data)


class Member(WebsocketConsumer):
    """Is in a group, from connect() on."""

    async def connect(self) -> None:
        await self.join("room")


class Hearing(Member):
    """Hears its group itself."""

    async def group_message(self, group: str, data: Any) -> None:
        await self.send(data)


class Late(Member):
    """Is in it once it is accepted."""

    async def connect(self) -> None:
        await self.accept()
        await super().connect()


def tally(consumer: type) -> dict[str, Any]:
    """Return the numbers of a class."""
    found: dict[str, Any] = snapshot()["consumers"][f"{__name__}.{consumer.__name__}"]
    return found


def hooks_called(consumer: type) -> dict[str, int]:
    """Return how often each hook has run."""
    hooks = tally(consumer)["hooks"]
    counts = {hook: sum(each["counts"]) for hook, each in hooks.items()}
    return {hook: count for hook, count in counts.items() if count}


@on
async def test_a_connection() -> None:
    """Messages and their bytes in UTF-8, the hooks, and the close code are counted."""
    await run(Echo.as_asgi(), text("hello"), text("wörld"), text(""), disconnect())
    found = tally(Echo)
    assert (found["messages_received"], found["received_bytes"]) == (3, 11)
    assert (found["messages_sent"], found["sent_bytes"]) == (6, 22)
    assert (found["accepted"], found["ended"]) == (1, {"1001": 1})
    assert hooks_called(Echo) == {"connect": 1, "receive": 3, "disconnect": 1}
    assert snapshot()["handshakes"] == {"accepted 101": 1}


@on
async def test_bytes() -> None:
    """Binary messages count by their bytes."""
    await run(Echo.as_asgi(), {"type": "websocket.receive", "bytes": b"\xff\xfe"}, disconnect())
    assert (tally(Echo)["received_bytes"], tally(Echo)["sent_bytes"]) == (2, 4)


async def test_off() -> None:
    """By default nothing is counted, and nothing stands around a hook."""
    seen = []

    class Plain(Member):
        async def receive(self, data: str | bytes) -> None:
            seen.append(self._wsconsumer.account.hooks)
            await abroadcast("room", "hello")

    application = WebsocketDispatcher([path("ws/", Plain.as_view())])
    with override_settings(MIDDLEWARE=[]):
        await run(application, text("go"), disconnect(), path="/ws/")
        await run(application, disconnect(), path="/nowhere/")
    assert type(seen[0]) is Plain
    found = snapshot()
    assert found["consumers"] == found["handshakes"] == {}
    assert found["broadcasts"] == 0
    assert sum(found["lag"]["counts"]) == 0


@on
async def test_a_code_that_a_client_chooses() -> None:
    """It makes no name of its own: there are thousands of them."""
    for code in (4999, 3333, 4408):
        await run(Echo.as_asgi(), disconnect(code))
    assert tally(Echo)["ended"] == {"other": 2, "4408": 1}


@on
@pytest.mark.parametrize("server", [KnownServer, UnknownServer])
@pytest.mark.parametrize("kind", [Member, Late, Hearing])
async def test_deliveries(server: type[KnownServer], kind: type[Member]) -> None:
    """A broadcast counts once where it is made, and once for each connection that gets it."""
    wires = [server(CONNECT) for _ in range(3)]
    tasks = [
        asyncio.ensure_future(kind.as_asgi()(scope(), wire.receive, wire.send)) for wire in wires
    ]
    for wire in wires:
        await wire.until_sent(1)
    await until(lambda: hub().size("room") == len(wires))
    await abroadcast("room", "hello")
    await asyncio.to_thread(broadcast, "room", "again")
    for wire in wires:
        await wire.until_sent(3)
        wire.put(disconnect())
    await asyncio.gather(*tasks)
    found = tally(kind)
    assert snapshot()["broadcasts"] == 2
    assert (found["deliveries"], found["delivered_bytes"]) == (6, 30)
    assert found["messages_sent"] == (6 if kind is Hearing else 0)
    assert hooks_called(kind).get("group_message", 0) == (6 if kind is Hearing else 0)


@on
async def test_a_slow_client() -> None:
    """What waits in outboxes is known at each tick, and forgotten with the connection."""
    wire = KnownServer(CONNECT)
    task = asyncio.ensure_future(Member.as_asgi()(scope(), wire.receive, wire.send))
    await wire.until_sent(1)
    monitor().tick()
    assert snapshot()["gauges"]["outbox_waiting"] == 0
    wire.shut()
    for _ in range(3):
        await abroadcast("room", "x" * 1000)
    monitor().tick()
    gauges = snapshot()["gauges"]
    assert gauges["outbox_waiting"] == 1
    assert 3000 <= gauges["outbox_bytes"] < 4000
    wire.open()
    wire.put(disconnect())
    await task
    assert snapshot()["gauges"]["outbox_bytes"] == 0
    assert tally(Member)["deliveries"] == 3


@on
async def test_the_lag_of_the_event_loop() -> None:
    """Each tick says how late it was."""
    wire = Wire(CONNECT)
    task = asyncio.ensure_future(Echo.as_asgi()(scope(), wire.receive, wire.send))
    await wire.until_sent(1)
    await until(lambda: sum(snapshot()["lag"]["counts"]))
    wire.put(disconnect())
    await task


@on
@override_settings(MIDDLEWARE=[])
async def test_handshakes() -> None:
    """Each handshake counts once, by what became of it."""

    class Denying(WebsocketConsumer):
        async def connect(self) -> None:
            await self.reject(418)

    application = WebsocketDispatcher([path("ws/", Echo.as_view()), path("no/", Denying.as_view())])
    origin = [(b"host", b"testserver"), (b"origin", b"https://evil.example")]
    for change in (
        {"path": "/ws/"},
        {"path": "/no/"},
        {"path": "/nowhere/"},
        {"headers": [(b"host", b"evil.example")]},
        {"headers": origin},
        {"query_string": b"\xff"},
    ):
        await run(application, disconnect(), **change)
    left = Wire(disconnect())
    await application(scope(path="/ws/"), left.receive, left.send)
    assert snapshot()["handshakes"] == {
        "accepted 101": 1,
        "denied 418": 1,
        "denied 404": 1,
        "host 400": 1,
        "origin 403": 1,
        "malformed 400": 1,
        "gone 0": 1,
    }


@on
@override_settings(MIDDLEWARE=[])
async def test_a_handshake_before_a_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that comes before the server stops has an outcome of its own."""
    monkeypatch.setattr("wsconsumer.serving._draining", True)
    await run(WebsocketDispatcher([path("ws/", Echo.as_view())]), disconnect(), path="/ws/")
    assert snapshot()["handshakes"] == {"draining 503": 1}


@on
async def test_counts_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """The record of the end has the connection's own numbers."""
    caplog.set_level(logging.INFO, "wsconsumer.access")
    await run(Echo.as_asgi(), text("hello"), disconnect())
    await run(Echo.as_asgi(), disconnect())
    first, second = ({**vars(record)} for record in caplog.records)
    assert (first["messages_received"], first["messages_sent"], first["deliveries"]) == (1, 2, 0)
    assert (second["messages_received"], second["messages_sent"]) == (0, 0)


class Failing(WebsocketConsumer):
    """Fails, once its group has begun anew."""

    async def receive(self, data: str | bytes) -> None:
        await self._wsconsumer.account.hooks.group_reset("room")
        raise ValueError


@on
async def test_a_hook_that_fails() -> None:
    """Its time counts all the same."""
    await run(Failing.as_asgi(), text("go"), disconnect())
    assert hooks_called(Failing) == {"connect": 1, "receive": 1, "group_reset": 1, "disconnect": 1}


def test_an_engine_that_is_away() -> None:
    """It is known how many connections to the engine are lost."""
    outage = Outage("Redis")
    assert snapshot()["gauges"]["engine_away"] == 0
    outage.failed(OSError())
    outage.failed(OSError())
    assert snapshot()["gauges"]["engine_away"] == 1
    outage.over()
    assert snapshot()["gauges"]["engine_away"] == 0


def test_buckets() -> None:
    """A duration is in the first bucket whose bound it does not exceed."""
    histogram = Histogram()
    for seconds in (0, BOUNDS[0], BOUNDS[-1], 100):
        histogram.observe(seconds)
    assert histogram.counts == [2, *[0] * (len(BOUNDS) - 2), 1, 1]
    assert histogram.seconds == 100 + BOUNDS[0] + BOUNDS[-1]


def test_sums() -> None:
    """Snapshots add up part by part; a part that one of them lacks is as the other has it."""
    one = {"a": 1, "only": {"x": 1}, "h": {"counts": [1, 2]}}
    other = {"a": 2, "h": {"counts": [3, 4]}, "more": 5}
    assert add(one, other) == {"a": 3, "only": {"x": 1}, "h": {"counts": [4, 6]}, "more": 5}


def test_a_delivery_that_found_no_room() -> None:
    """A broadcast counts once it is taken, however often it is tried."""
    measure = metrics.Measure(metrics.Tally())
    answers = [True, True, False]
    message = SimpleNamespace(size=5)
    deliver = measure.counting_delivery(lambda _: answers.pop(0))
    assert [deliver(message) for _ in range(3)] == [True, True, False]
    assert (measure.deliveries, measure.tally.delivered_bytes) == (1, 5)


@on
@pytest.mark.parametrize("server", [Wire, KnownServer])
async def test_nothing_holds_a_connection(server: type[Wire]) -> None:
    """A connection that has ended is gone, counted or not."""
    seen: list[weakref.ref[Any]] = []

    class Seen(Member):
        async def connect(self) -> None:
            await super().connect()
            session = self._wsconsumer
            seen.extend(map(weakref.ref, (self, session, session.connection, session.member)))

    gc.collect()
    gc.disable()
    try:
        wire = server(CONNECT, text("hello"))
        task = asyncio.create_task(Seen.as_asgi()(scope(), wire.receive, wire.send))
        await wire.until_sent(1)
        await abroadcast("room", "hello")
        wire.put(disconnect())
        await task
        del task, wire
        await asyncio.sleep(0)
        assert [ref() for ref in seen if ref() is not None] == []
    finally:
        gc.enable()
