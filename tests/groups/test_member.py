"""``groups/member.py``: deliveries to one connection, and the outbox that they wait in."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from tests.fakes import ACCEPT, KnownServer, Wire, close, sent, text, until
from tests.groups.listening import Listener, serving
from wsconsumer import ConnectionClosed, abroadcast
from wsconsumer.connection.monitor import monitor
from wsconsumer.counters import counters


def overflow(**attributes: Any) -> Listener:
    """Return a consumer with a small outbox."""
    small: type[Listener] = type("Small", (Listener,), {"outbox_limit": 1000, **attributes})
    return small()


async def test_a_ready_server_is_done_at_once() -> None:
    """A broadcast to a server that takes it makes no task, and is out before it returns."""
    wire = KnownServer()
    async with serving(wire):
        before = asyncio.all_tasks()
        await abroadcast("news", "hello")
        assert wire.sent == [ACCEPT, sent("hello")]
        assert asyncio.all_tasks() == before


async def test_an_unknown_send_runs_in_a_task() -> None:
    """What may bind something to its task is never begun by hand."""
    wire = Wire()
    async with serving(wire):
        await abroadcast("news", "hello")
        assert wire.sent == [ACCEPT]
        await wire.until_sent(2)
        await abroadcast("news", "again")
        await wire.until_sent(3)
        assert wire.sent == [ACCEPT, sent("hello"), sent("again")]


async def test_a_slow_client_costs_the_others_nothing() -> None:
    """Broadcasts go on while one client takes none; it gets all of them in order later."""
    slow, quick = KnownServer(), KnownServer()
    async with serving(slow), serving(quick):
        slow.shut()
        for number in range(20):
            await abroadcast("news", f"{number}")
        assert quick.sent[1:] == [sent(f"{number}") for number in range(20)]
        assert slow.begun == 2
        slow.open()
        await slow.until_sent(21)
        assert slow.sent == quick.sent
        await abroadcast("news", "direct")
        assert slow.sent[-1] == sent("direct")


async def test_a_consumers_own_send_waits_its_turn() -> None:
    """What the consumer sends goes behind what waits for its client, and not behind the rest."""
    wire = KnownServer()
    async with serving(wire):
        wire.shut()
        await abroadcast("news", "one")
        await abroadcast("news", "two")
        wire.put(text("mine"))
        await until(lambda: not wire.inbox)
        await asyncio.sleep(0)
        await abroadcast("news", "three")
        wire.open()
        await wire.until_sent(5)
        assert wire.sent[1:] == [sent(word) for word in ("one", "two", "mine", "three")]


async def test_a_full_outbox_closes_with_1013(caplog: pytest.LogCaptureFixture) -> None:
    """By default a client that is too slow is told to try again later, once what waits is gone."""
    caplog.set_level(logging.INFO, "wsconsumer")
    wire = KnownServer()
    before = counters["outbox_closed"], counters["outbox_dropped"]
    async with serving(wire, overflow()) as consumer:
        wire.shut()
        for _ in range(5):
            await abroadcast("news", "x" * 200)
        assert consumer.state.name == "CLOSING"
        wire.open()
        await wire.until_sent(3)
        assert wire.sent == [ACCEPT, sent("x" * 200), close(1013, "too slow")]
    assert consumer.ended == (1013, "too slow")
    assert (counters["outbox_closed"], counters["outbox_dropped"]) == (before[0] + 1, before[1] + 2)
    assert caplog.messages == [
        "Made: closing with 1013, the client is slow: its outbox is full.",
        "Made: 2 broadcasts were not sent, it closes.",
    ]


@pytest.mark.parametrize(("policy", "kept"), [("drop_oldest", "034"), ("drop_newest", "012")])
async def test_a_full_outbox_drops(policy: str, kept: str) -> None:
    """With another policy the connection stays, and some messages go."""
    wire = KnownServer()
    async with serving(wire, overflow(outbox_policy=policy)):
        wire.shut()
        for number in range(5):
            await abroadcast("news", f"{number}" * 200)
        wire.open()
        await wire.until_sent(4)
        assert wire.sent[1:] == [sent(number * 200) for number in kept]


async def test_a_message_that_waits_when_the_outbox_is_full_fails() -> None:
    """The consumer's own message that waited behind gets ConnectionClosed with 1013."""
    wire = KnownServer()
    async with serving(wire, overflow()) as consumer:
        wire.shut()
        await abroadcast("news", "x" * 200)
        wire.put(text("mine"))
        await until(lambda: not wire.inbox)
        await asyncio.sleep(0)
        for _ in range(4):
            await abroadcast("news", "x" * 200)
        await asyncio.sleep(0)
        assert isinstance(consumer.error, ConnectionClosed)
        assert consumer.error.code == 1013
        wire.open()


def is_given_up(consumer: Listener) -> bool:
    """Look, after the monitor has."""
    monitor().tick()
    return consumer.state.name != "OPEN"


async def test_a_client_that_is_stuck_is_given_up() -> None:
    """One that takes nothing for longer than send_timeout is closed with 1013."""
    wire = KnownServer()
    async with serving(wire, overflow(send_timeout=0.001)) as consumer:
        monitor().tick()
        wire.shut()
        await abroadcast("news", "x")
        await until(lambda: is_given_up(consumer))
        wire.open()
    assert consumer.ended == (1013, "too slow")


async def test_one_that_is_closing_is_not_given_up() -> None:
    """Who has closed before is the one who closed."""
    wire = KnownServer()
    async with serving(wire, overflow(send_timeout=0.001)) as consumer:
        wire.shut()
        await abroadcast("news", "x")
        wire.put(text("close"))
        await until(lambda: consumer.state.name == "CLOSING")
        now = asyncio.get_running_loop().time()
        for later in (0, 100):
            consumer._wsconsumer.member.look_after(now + later)  # type: ignore[union-attr]  # noqa: SLF001  # the clock of the test
        wire.open()
        await wire.until_sent(3)
        assert wire.sent[2] == close(4000)


async def test_a_close_goes_behind_what_waits() -> None:
    """What was broadcast before ``close()`` arrives before the close."""
    wire = KnownServer()
    async with serving(wire) as consumer:
        wire.shut()
        await abroadcast("news", "one")
        await abroadcast("news", "two")
        wire.put(text("close"))
        await until(lambda: consumer.state.name != "OPEN")
        await abroadcast("news", "too late")
        wire.open()
        await wire.until_sent(4)
        assert wire.sent[1:] == [sent("one"), sent("two"), close(4000)]


async def test_a_close_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that takes nothing holds up a close no longer than CLOSE_TIMEOUT."""
    monkeypatch.setattr("wsconsumer.connection.connection.CLOSE_TIMEOUT", 0.01)
    wire = KnownServer()
    async with serving(wire) as consumer:
        wire.shut()
        await abroadcast("news", "one")
        await abroadcast("news", "two")
        wire.put(text("close"))
        await until(lambda: consumer.ended)
    assert consumer.ended == (4000, "")


async def test_a_client_that_is_never_told_goodbye(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stalled client's connection ends, though its close frame never got out."""
    monkeypatch.setattr("wsconsumer.connection.connection.CLOSE_TIMEOUT", 0.01)
    wire = KnownServer()
    before = len(asyncio.all_tasks())
    async with serving(wire, overflow()) as consumer:
        wire.shut()
        for _ in range(5):
            await abroadcast("news", "x" * 200)
    assert consumer.ended == (1013, "too slow")
    assert len(asyncio.all_tasks()) == before


@pytest.mark.parametrize("shut", [False, True], ids=["at once", "later"])
async def test_a_client_that_has_gone_is_not_waited_for(
    shut: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """A server that refuses a broadcast ends the connection; nobody gets the error."""
    caplog.set_level(logging.DEBUG, "wsconsumer")
    wire = KnownServer()
    async with serving(wire) as consumer:
        if shut:
            wire.shut()
        wire.fail_on = "websocket.send"
        await abroadcast("news", "one")
        await abroadcast("news", "two")
        wire.open()
        await until(lambda: consumer.state.name != "OPEN")
        assert consumer.state.name == "CLOSING"
    assert consumer.ended == (1001, "")
    assert "a broadcast was not sent" in caplog.text


class Undecided(Listener):
    """Joins, and waits with its decision."""

    decision = asyncio.Event

    async def connect(self) -> None:
        await self.join("news")
        await abroadcast("news", "one")
        await abroadcast("news", "two")
        await self.decide()

    async def decide(self) -> None: ...


@pytest.mark.parametrize("server", [Wire, KnownServer])
async def test_what_comes_before_accept_is_sent_after_it(server: type[Wire]) -> None:
    """A broadcast between join and accept is not lost, and the first ``send`` goes behind it."""

    class Greeter(Undecided):
        async def decide(self) -> None:
            await self.accept()
            await self.send("hello")

    wire = server()
    async with serving(wire, Greeter()):
        await wire.until_sent(4)
        assert wire.sent == [ACCEPT, sent("one"), sent("two"), sent("hello")]


async def test_what_comes_before_a_rejection_is_nobodys(caplog: pytest.LogCaptureFixture) -> None:
    """A connection that was never accepted loses nothing."""
    caplog.set_level(logging.DEBUG, "wsconsumer")
    before = counters["outbox_dropped"]

    class Refuser(Undecided):
        async def decide(self) -> None:
            await self.reject(403)

    wire = KnownServer()
    async with serving(wire, Refuser()) as consumer:
        assert wire.sent == [{"type": "websocket.close"}]
    assert consumer.ended is None
    assert counters["outbox_dropped"] == before
    assert caplog.messages == []
