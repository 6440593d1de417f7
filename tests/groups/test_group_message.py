"""``groups/member.py``: deliveries to a class that overrides ``group_message()``."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from tests.fakes import ACCEPT, KnownServer, close, sent, text
from tests.groups.listening import Listener, serving
from wsconsumer import abroadcast
from wsconsumer.counters import counters
from wsconsumer.test import advance

if TYPE_CHECKING:
    import pytest


class Hears(Listener):
    """Handles broadcasts itself, when the test lets it."""

    outbox_limit = 1000

    def __init__(self, **initkwargs: Any) -> None:
        super().__init__(**initkwargs)
        self.heard: list[Any] = []
        self.let = asyncio.Event()
        self.told = asyncio.Event()

    async def group_message(self, group: str, data: Any) -> None:
        self.told.set()
        await self.let.wait()
        if data == "fail":
            raise RuntimeError("deliberate")
        self.heard.append((group, data))
        await super().group_message(group, data)


async def test_group_message_gets_each_in_order() -> None:
    """An override gets group and data, one after the other, and not the client by itself."""
    wire = KnownServer()
    async with serving(wire, Hears()) as consumer:
        assert isinstance(consumer, Hears)
        for data in ("text", b"bytes", {"json": [1, None]}, "", b""):
            await abroadcast("news", data)
        assert wire.sent == [ACCEPT]
        consumer.let.set()
        await wire.until_sent(6)
        assert consumer.heard == [
            ("news", "text"),
            ("news", b"bytes"),
            ("news", {"json": [1, None]}),
            ("news", ""),
            ("news", b""),
        ]
        assert wire.sent[1:] == [
            sent("text"),
            sent(b"bytes"),
            sent('{"json":[1,null]}'),
            sent(""),
            sent(b""),
        ]


async def test_group_message_does_not_wait_for_receive() -> None:
    """It runs beside a ``receive()`` that is busy, and the other way round."""

    class Busy(Hears):
        async def receive(self, data: str | bytes) -> None:
            await self.told.wait()
            await self.send("received")

    wire = KnownServer()
    async with serving(wire, Busy()) as consumer:
        assert isinstance(consumer, Busy)
        wire.put(text("hello"))
        await abroadcast("news", "x")
        await wire.until_sent(2)
        consumer.let.set()
        await wire.until_sent(3)
        assert wire.sent[1:] == [sent("received"), sent("x")]


async def test_group_message_may_close() -> None:
    """``close()`` in it does not wait for itself."""

    class Closes(Listener):
        async def group_message(self, group: str, data: Any) -> None:
            await self.close(4001)

    wire = KnownServer()
    async with serving(wire, Closes()) as consumer:
        await abroadcast("news", "one")
        await abroadcast("news", "two")
        await wire.until_sent(2)
        assert wire.sent[1:] == [close(4001)]
    assert consumer.ended == (4001, "")


async def test_a_failing_group_message_is_a_failing_hook(caplog: pytest.LogCaptureFixture) -> None:
    """Its exception is logged, the client gets 1011, and what is left is not handled."""
    wire = KnownServer()
    before = counters["hook_failed"]
    async with serving(wire, Hears()) as consumer:
        assert isinstance(consumer, Hears)
        consumer.let.set()
        await abroadcast("news", "fail")
        await abroadcast("news", "after")
        await wire.until_sent(2)
        assert wire.sent[1:] == [close(1011)]
    assert consumer.heard == []
    assert counters["hook_failed"] == before + 1
    assert "group_message() failed" in caplog.text


async def test_a_slow_group_message_is_bounded() -> None:
    """Broadcasts that wait for a slow hook are bounded as those that wait for a slow client."""
    wire = KnownServer()
    async with serving(wire, Hears()) as consumer:
        assert isinstance(consumer, Hears)
        for _ in range(5):
            await abroadcast("news", "x" * 200)
        await wire.until_sent(2)
        assert wire.sent[1:] == [close(1013, "too slow")]
    assert consumer.heard == []


async def test_a_group_message_may_take_its_time() -> None:
    """``send_timeout`` is for clients, and not for hooks."""
    wire = KnownServer()
    async with serving(wire, Hears()) as consumer:
        assert isinstance(consumer, Hears)
        await abroadcast("news", "x")
        await advance(1000)
        consumer.let.set()
        await wire.until_sent(2)
        assert wire.sent[1:] == [sent("x")]
    assert consumer.ended == (1001, "")


async def test_the_end_cancels_a_group_message() -> None:
    """A client that leaves ends what still runs for it, before ``disconnect()``."""

    class Late(Hears):
        cancelled = False

        async def group_message(self, group: str, data: Any) -> None:
            try:
                await super().group_message(group, data)
            except asyncio.CancelledError:
                assert self.ended is None
                self.cancelled = True
                raise

    wire = KnownServer()
    async with serving(wire, Late()) as consumer:
        assert isinstance(consumer, Late)
        await abroadcast("news", "x")
        await consumer.told.wait()
    assert (consumer.cancelled, consumer.ended) == (True, (1001, ""))


async def test_group_message_runs_in_the_context_of_its_connection() -> None:
    """Context variables, and so the lane, are those of the first join, whoever broadcasts."""
    whose: ContextVar[str] = ContextVar("whose")

    class Own(Listener):
        async def connect(self) -> None:
            whose.set("connection")
            await super().connect()
            whose.set("after the first join")
            await self.join("news")

        async def group_message(self, group: str, data: Any) -> None:
            await self.send(whose.get())

    wire = KnownServer()
    async with serving(wire, Own()):
        whose.set("publisher")
        await abroadcast("news", "x")
        await wire.until_sent(2)
        assert wire.sent[1:] == [sent("connection")]
