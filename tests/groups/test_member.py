"""``groups/member.py``: deliveries to one connection, and the outbox that they wait in."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

import pytest

from tests.fakes import ACCEPT, KnownServer, UnknownServer, Wire, close, sent, text, until
from tests.groups.listening import Listener, serving
from wsconsumer import ConnectionClosed, abroadcast
from wsconsumer.counters import counters
from wsconsumer.test import advance

if TYPE_CHECKING:
    from wsconsumer.protocol import Event


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


@pytest.mark.parametrize("server", [KnownServer, UnknownServer])
@pytest.mark.parametrize("data", ["", b""], ids=["text", "binary"])
async def test_an_empty_broadcast_arrives(server: type[KnownServer], data: str | bytes) -> None:
    """A message with nothing in it is a message."""
    wire = server()
    async with serving(wire):
        await abroadcast("news", data)
        await wire.until_sent(2)
        wire.shut()
        await abroadcast("news", data)
        await abroadcast("news", data)
        wire.open()
        await wire.until_sent(4)
        assert wire.sent == [ACCEPT, *[sent(data)] * 3]


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


@pytest.mark.parametrize("server", [KnownServer, UnknownServer])
async def test_a_consumers_own_send_waits_its_turn(server: type[KnownServer]) -> None:
    """What the consumer sends goes behind what waits for its client, and not behind the rest."""
    wire = server()
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
        await until(lambda: consumer.state.name == "CLOSING")
        wire.open()
        await wire.until_sent(3)
        assert wire.sent == [ACCEPT, sent("x" * 200), close(1013, "too slow")]
    assert consumer.ended == (1013, "too slow")
    assert (counters["outbox_closed"], counters["outbox_dropped"]) == (before[0] + 1, before[1] + 2)
    assert caplog.messages == [
        "Made: closing with 1013, the client is slow: its outbox is full.",
        "Made is closing. Broadcasts not sent: 2.",
    ]


@pytest.mark.parametrize(("policy", "kept"), [("drop_oldest", "034"), ("drop_newest", "012")])
async def test_a_full_outbox_drops(policy: str, kept: str) -> None:
    """With another policy the connection stays, and some messages go."""
    wire = KnownServer()
    before = counters["outbox_dropped"]
    async with serving(wire, overflow(outbox_policy=policy)):
        wire.shut()
        for number in range(5):
            await abroadcast("news", f"{number}" * 200)
        await until(lambda: counters["outbox_dropped"] == before + 2)
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
        await until(lambda: consumer.error)
        assert isinstance(consumer.error, ConnectionClosed)
        assert consumer.error.code == 1013
        wire.open()


@pytest.mark.parametrize("server", [KnownServer, UnknownServer])
async def test_a_client_that_is_stuck_is_given_up(
    server: type[KnownServer], caplog: pytest.LogCaptureFixture
) -> None:
    """One that takes nothing for longer than send_timeout is closed with 1013, and not before."""
    wire = server()
    async with serving(wire, overflow(send_timeout=30.0)) as consumer:
        await advance(100)
        wire.shut()
        await abroadcast("news", "x")
        await advance(29)
        assert consumer.state.name == "OPEN"
        await advance(2)
        assert consumer.state.name == "CLOSING"
        wire.open()
        await wire.until_sent(3)
        assert wire.sent == [ACCEPT, sent("x"), close(1013, "too slow")]
    assert consumer.ended == (1013, "too slow")
    assert caplog.messages == [
        "Made: closing with 1013, the client is slow: it has not taken a message for too long."
    ]


@pytest.mark.parametrize("server", [KnownServer, UnknownServer])
async def test_a_healthy_client_is_never_given_up(server: type[KnownServer]) -> None:
    """``send_timeout`` does not count while nothing waits, nor add up over several messages."""
    wire = server()
    async with serving(wire, overflow(send_timeout=30.0)) as consumer:
        for number in range(5):
            await advance(100)
            wire.shut()
            await abroadcast("news", f"{number}")
            await advance(20)
            wire.open()
            await wire.until_sent(number + 2)
        await advance(100)
        assert consumer.state.name == "OPEN"
    assert consumer.ended == (1001, "")


class OneByOne(KnownServer):
    """Takes one message, and the next when it is opened again."""

    __module__ = KnownServer.__module__

    async def send(self, message: Event) -> None:
        await super().send(message)
        if message["type"] == "websocket.send":
            self.shut()


async def test_a_client_that_is_always_behind_is_not_given_up() -> None:
    """Each message has ``send_timeout``: one that takes them slowly, but takes them, stays."""
    wire = OneByOne()
    async with serving(wire, overflow(send_timeout=30.0)) as consumer:
        for number in range(6):
            await abroadcast("news", f"{number}")
        for count in range(2, 7):
            assert len(wire.sent) == count
            await advance(20)
            wire.open()
            await wire.until_sent(count + 1)
        assert consumer.state.name == "OPEN"


async def test_one_that_is_closing_is_not_given_up(caplog: pytest.LogCaptureFixture) -> None:
    """Who has closed before is the one who closed."""
    wire = KnownServer()
    async with serving(wire, overflow(send_timeout=2.0)) as consumer:
        wire.shut()
        await abroadcast("news", "x")
        wire.put(text("close"))
        await until(lambda: consumer.state.name == "CLOSING")
        await advance(5)
        wire.open()
        await wire.until_sent(3)
        assert wire.sent == [ACCEPT, sent("x"), close(4000)]
    assert consumer.ended == (4000, "")
    assert caplog.messages == []


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


async def test_a_close_does_not_wait_for_ever() -> None:
    """A client that takes nothing does not keep a connection that is closed."""
    wire = KnownServer()
    async with serving(wire) as consumer:
        wire.shut()
        await abroadcast("news", "one")
        await abroadcast("news", "two")
        wire.put(text("close"))
        await until(lambda: consumer.state.name == "CLOSING")
        await advance(60)
        assert consumer.ended == (4000, "")


async def test_a_client_that_is_never_told_goodbye() -> None:
    """A stalled client's connection ends, though its close frame never got out."""
    wire = KnownServer()
    before = len(asyncio.all_tasks())
    async with serving(wire, overflow()) as consumer:
        wire.shut()
        for _ in range(5):
            await abroadcast("news", "x" * 200)
        await until(lambda: consumer.state.name != "OPEN")
        await advance(60)
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
    """Joins, and takes a second over its decision."""

    async def connect(self) -> None:
        await self.join("news")
        await abroadcast("news", "one")
        await advance(1)
        await abroadcast("news", "two")
        await self.decide()

    async def decide(self) -> None:
        """Accept by returning."""


class Greeter(Undecided):
    """Sends at once when it has accepted."""

    async def decide(self) -> None:
        await self.accept()
        await self.send("hello")


@pytest.mark.parametrize("server", [KnownServer, UnknownServer])
@pytest.mark.parametrize(("consumer", "own"), [(Undecided, []), (Greeter, ["hello"])])
async def test_what_comes_before_accept_is_sent_right_after_it(
    server: type[Wire], consumer: type[Listener], own: list[str]
) -> None:
    """A broadcast between join and accept waits for the accept, and all that is sent for it."""
    wire = server()
    words = ["one", "two", *own]
    async with serving(wire, consumer()):
        await wire.until_sent(1 + len(words))
        assert wire.sent == [ACCEPT, *map(sent, words)]


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
