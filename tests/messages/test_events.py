"""``messages/events.py``: what groups bring to the handlers and clients of a MessageConsumer."""

from __future__ import annotations

import asyncio
import datetime as dt
import gc
import weakref
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from tests.fakes import (
    ACCEPT,
    CONNECT,
    DENIED,
    KnownServer,
    UnknownServer,
    Wire,
    close,
    disconnect,
    scope,
    sent,
    until,
)
from tests.messages.vocabulary import Kick, Number, Refresh, Said, Say
from wsconsumer import WebsocketConsumer, abroadcast
from wsconsumer.counters import counters
from wsconsumer.groups import budget, envelope, local
from wsconsumer.groups.hub import hub
from wsconsumer.messages import Event, Message, MessageConsumer, on
from wsconsumer.messages.types import known

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class Chat(MessageConsumer):
    """Joins a group, and notes the events that it handles, when the test lets it."""

    heard: list[Any] = []  # noqa: RUF012  # set for each instance

    def __init__(self, **initkwargs: Any) -> None:
        super().__init__(**{"heard": [], **initkwargs})
        self.let = asyncio.Event()
        self.let.set()
        self.began = asyncio.Event()

    async def connect(self) -> None:
        await self.join("news")

    @on
    async def refresh(self, event: Refresh) -> None:
        self.began.set()
        await self.let.wait()
        self.heard.append(event.page)

    @on
    async def kick(self, event: Kick) -> None:
        if event.reason == "fail":
            raise RuntimeError("the secret")
        await self.close(4000, event.reason)

    @on
    async def say(self, message: Say) -> None: ...


@asynccontextmanager
async def serving(cls: type[WebsocketConsumer], wire: Wire | None = None) -> AsyncIterator[Any]:
    """Serve a consumer, which has the wire as ``wire``, until the block ends."""
    made: list[Any] = []
    wire = wire or KnownServer()

    class Made(cls):  # type: ignore[valid-type,misc]  # a class that is given
        def __init__(self, **initkwargs: Any) -> None:
            super().__init__(**initkwargs)
            self.wire = wire
            made.append(self)

    wire.put(CONNECT)
    task = asyncio.create_task(Made.as_asgi()(scope(), wire.receive, wire.send))
    await wire.until_sent(1)
    yield made.pop()
    wire.put(disconnect())
    async with asyncio.timeout(10):
        await task


class Plain(WebsocketConsumer):
    """Knows nothing of messages."""

    async def connect(self) -> None:
        await self.join("news")


class Hears(Plain):
    """Handles broadcasts itself."""

    def __init__(self, **initkwargs: Any) -> None:
        super().__init__(**initkwargs)
        self.heard: list[Any] = []

    async def group_message(self, group: str, data: Any) -> None:
        self.heard.append(data)


class Packed(Chat):
    """The same as Chat, in MessagePack."""

    codec = "msgpack"


class Mute(MessageConsumer):
    """Joins, and handles nothing."""

    async def connect(self) -> None:
        await self.join("news")


SERVERS = [Wire, KnownServer, UnknownServer]


@pytest.mark.parametrize("server", SERVERS)
async def test_an_event_reaches_handlers_and_no_client(server: type[Wire]) -> None:
    """Whoever has a handler for it handles it; no client sees anything of it."""
    async with (
        serving(Chat, server()) as chat,
        serving(Packed, server()) as packed,
        serving(Plain, server()) as plain,
        serving(Hears, server()) as hears,
        serving(Mute, server()) as mute,
    ):
        await abroadcast("news", Refresh(7))
        await until(lambda: chat.heard and packed.heard)
        await abroadcast("news", "text")
        for consumer in (chat, packed, plain, mute):
            await consumer.wire.until_sent(2)
            assert consumer.wire.sent == [ACCEPT, sent("text")]
        await until(lambda: hears.heard)
        assert hears.heard == ["text"]
        assert chat.heard == packed.heard == [7]


async def test_events_in_order() -> None:
    """Events are handled one after the other, beside the messages of the client."""
    async with serving(Chat) as chat:
        chat.let.clear()
        for page in range(5):
            await abroadcast("news", Refresh(page))
        await chat.began.wait()
        chat.wire.put({"type": "websocket.receive", "text": '{"type":"say","text":"x","ref":1}'})
        await chat.wire.until_sent(2)
        assert chat.heard == []
        chat.let.set()
        await until(lambda: len(chat.heard) == 5)
        assert chat.heard == list(range(5))


async def test_an_event_for_one_that_does_not_handle_it() -> None:
    """An event of another type is nothing to a class, and no error."""

    class Other(Event):
        page: int

    async with serving(Chat) as chat:
        await abroadcast("news", Other(1))
        await abroadcast("news", Refresh(2))
        await until(lambda: chat.heard)
        assert chat.heard == [2]


async def test_a_handler_that_closes_and_one_that_fails(caplog: pytest.LogCaptureFixture) -> None:
    """What an event's handler raises ends the connection with 1011, as in any hook."""
    async with serving(Chat) as chat:
        await abroadcast("news", Kick("you were told"))
        await chat.wire.until_sent(2)
        assert chat.wire.sent == [ACCEPT, close(4000, "you were told")]
    async with serving(Chat) as chat:
        await abroadcast("news", Kick("fail"))
        await chat.wire.until_sent(2)
        assert chat.wire.sent == [ACCEPT, close(1011)]
    assert caplog.messages == ["Made.kick() failed on / for no user"]


@pytest.mark.parametrize("cls", [Chat, Packed])
async def test_what_comes_before_accept_waits(cls: type[Chat]) -> None:
    """Events and messages that come while connect() runs are handled once it has accepted."""

    class Slow(cls):  # type: ignore[valid-type,misc]  # a class that is given
        async def connect(self) -> None:
            await super().connect()
            await abroadcast("news", Refresh(1))
            await abroadcast("news", Number(2))
            assert self.heard == []

    async with serving(Slow) as slow:
        await slow.wire.until_sent(2)
        await until(lambda: slow.heard)
        assert slow.heard == [1]


async def test_events_of_a_connection_that_is_refused() -> None:
    """What waits for a connection that connect() then rejects is forgotten."""

    class Refusing(Chat):
        async def connect(self) -> None:
            await super().connect()
            await abroadcast("news", Refresh(1))
            await self.reject(403)

    wire = KnownServer(CONNECT)
    consumer = Refusing()
    await Refusing.as_asgi(heard=consumer.heard)(scope(), wire.receive, wire.send)
    assert wire.sent == [DENIED]
    assert consumer.heard == []


async def test_events_that_come_too_late() -> None:
    """What waits when the connection closes is dropped."""
    async with serving(Chat) as chat:
        chat.let.clear()
        for page in range(3):
            await abroadcast("news", Refresh(page))
        await chat.began.wait()
        await chat.close()
        chat.let.set()
        await until(lambda: chat.heard)
    assert chat.heard == [0]


async def test_the_sender_can_be_left_out() -> None:
    """``include_self=False`` counts for events too."""
    async with serving(Chat) as one, serving(Chat) as other:
        await one.broadcast("news", Refresh(1), include_self=False)
        await one.broadcast("news", Refresh(2))
        await until(lambda: one.heard and len(other.heard) == 2)
        assert (one.heard, other.heard) == ([2], [1, 2])


async def test_leave_waits_for_a_handler_that_runs() -> None:
    """Once ``leave()`` has returned no handler runs for an event of the group, or begins."""
    async with serving(Chat) as chat:
        chat.let.clear()
        for page in range(5):
            await abroadcast("news", Refresh(page))
        await chat.began.wait()
        leaving = asyncio.create_task(chat.leave("news"))
        await asyncio.sleep(0)
        assert not leaving.done()
        chat.let.set()
        await leaving
        assert chat.heard == [0]


async def test_leave_inside_of_a_handler() -> None:
    """It does not wait for itself."""

    class Leaves(Chat):
        @on
        async def refresh(self, event: Refresh) -> None:
            self.heard.append(event.page)
            await self.leave("news")

    async with serving(Leaves) as chat:
        await abroadcast("news", Refresh(1))
        await abroadcast("news", Refresh(2))
        await until(lambda: chat.heard and not chat.groups)
        assert chat.heard == [1]


async def test_a_handler_that_broadcasts_waits_for_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would wait for itself: its own events have no room until it returns."""
    monkeypatch.setattr(local, "PATIENCE", 1000)
    monkeypatch.setattr("wsconsumer.groups.hub.PATIENCE", 1000)
    monkeypatch.setattr("wsconsumer.groups.memory.PATIENCE", 1000)
    count = budget.BACKLOG * 4

    class Relays(Chat):
        outbox_limit = 2000

        @on
        async def refresh(self, event: Refresh) -> None:
            self.heard.append(event.page)
            if event.page == -1:
                for page in range(count):
                    await abroadcast("news", Refresh(page))

    async with serving(Relays) as chat:
        await abroadcast("news", Refresh(-1))
        await until(lambda: len(chat.heard) == count + 1)
        assert chat.heard[1:] == list(range(count))


async def test_publishers_wait_for_handlers() -> None:
    """However fast one publishes, a handler that is quick enough loses no event."""
    count = 2000

    class Slow(Chat):
        outbox_limit = 2000

        @on
        async def refresh(self, event: Refresh) -> None:
            await asyncio.sleep(0)
            self.heard.append(event.page)

    async with serving(Slow) as slow, serving(Chat) as quick:
        for page in range(count):
            await abroadcast("news", Refresh(page))
            await abroadcast("news", Number(page))
        await until(lambda: len(slow.heard) == len(quick.heard) == count)
        assert slow.heard == quick.heard == list(range(count))
        await slow.wire.until_sent(count + 1)
        assert [event["text"] for event in slow.wire.sent[1:]] == [
            f'{{"type":"number","value":{page}}}' for page in range(count)
        ]


async def test_a_handler_that_is_stuck(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is waited for a bounded time; then the outbox is full, and the connection is closed."""
    monkeypatch.setattr(local, "PATIENCE", 0.01)

    class Stuck(Chat):
        outbox_limit = 1000

    async with serving(Stuck) as chat:
        chat.let.clear()
        for page in range(20):
            await abroadcast("news", Refresh(page))
        await chat.wire.until_sent(2)
        assert chat.wire.sent == [ACCEPT, close(1013, "too slow")]


async def test_a_slow_client_is_no_matter_to_events() -> None:
    """A client that takes nothing holds up its broadcasts, and not the events behind them."""
    wire = KnownServer()
    async with serving(Chat, wire) as chat:
        wire.shut()
        for page in range(3):
            await abroadcast("news", Number(page))
            await abroadcast("news", Refresh(page))
        await until(lambda: len(chat.heard) == 3)
        assert wire.sent == [ACCEPT]
        wire.open()
        await wire.until_sent(4)


# Messages to clients


class Rich(Message):
    """What JSON and MessagePack say in different ways."""

    when: dt.datetime
    blob: bytes


RICH = Rich(dt.datetime(2026, 1, 2, tzinfo=dt.UTC), b"\xff\0")


def unpacked(event: dict[str, Any]) -> Any:
    """Return what is in a binary message."""
    return msgspec.msgpack.decode(event["bytes"])


@pytest.mark.parametrize("server", SERVERS)
async def test_each_client_in_its_codec(server: type[Wire]) -> None:
    """A message goes out as JSON or MessagePack, with the types that each of them has."""
    async with (
        serving(Chat, server()) as chat,
        serving(Packed, server()) as packed,
        serving(Plain, server()) as plain,
    ):
        for data in (RICH, {"a": [1, None]}, "text", b"bytes"):
            await abroadcast("news", data)
        for consumer in (chat, packed, plain):
            await consumer.wire.until_sent(5)
        text = '{"type":"rich","when":"2026-01-02T00:00:00Z","blob":"/wA="}'
        assert chat.wire.sent == plain.wire.sent
        assert chat.wire.sent[1:] == [
            sent(text),
            sent('{"a":[1,null]}'),
            sent("text"),
            sent(b"bytes"),
        ]
        rich, mapping, *rest = packed.wire.sent[1:]
        assert unpacked(rich) == {"type": "rich", "when": RICH.when, "blob": RICH.blob}
        assert unpacked(mapping) == {"a": [1, None]}
        assert rest == [sent("text"), sent(b"bytes")]


async def test_encoded_once_for_each_codec(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many members there are, a broadcast is encoded anew once for the other codec."""
    recoded: list[Any] = []
    recode = envelope.Broadcast.recoded

    def counting(self: Any, function: Any) -> Any:
        def noting(broadcast: Any) -> Any:
            recoded.append(broadcast)
            return function(broadcast)

        return recode(self, noting)

    monkeypatch.setattr(envelope.Broadcast, "recoded", counting)
    async with serving(Packed) as one, serving(Packed) as two, serving(Chat):
        await abroadcast("news", RICH)
        assert len(recoded) == 1
        assert one.wire.sent[1] is two.wire.sent[1]


async def test_a_class_that_is_not_known_here() -> None:
    """A process that has not imported a message's class sends what JSON says of it."""
    body = envelope.encode(RICH)
    name = next(name for name, cls in known.items() if cls is Rich)
    del known[name]
    try:
        async with serving(Packed) as packed:
            await hub().deliver("news", body)
            assert unpacked(packed.wire.sent[1])["when"] == "2026-01-02T00:00:00Z"
    finally:
        known[name] = Rich


MALFORMED = {
    "an event without a name": b"\x41\x00\xff",
    "an event that is no JSON": b"\x41\x00\x00\x0crefresh.page{",
    "an event that does not fit": b"\x41\x00\x00\x0crefresh.page{}",
    "a message without a name": b"\x14\x00\x00",
    "a message that does not fit": None,
    "a message that is no JSON": b"\x14\x00\x00\x01x{",
    "JSON that is none": b"\x13\x00{",
    "a number that is too big": b"\x13\x00" + b"9" * 30,
}


@pytest.mark.parametrize("body", MALFORMED.values(), ids=MALFORMED)
async def test_what_the_bus_brings_is_not_trusted(
    body: bytes | None, caplog: pytest.LogCaptureFixture
) -> None:
    """What can't be read is logged, and the members are as good as before."""
    if body is None:
        body = envelope.encode(RICH).replace(b"2026", b"soon")
    async with serving(Packed) as packed:
        await hub().deliver("news", body)
        await abroadcast("news", Refresh(1))
        await until(lambda: packed.heard)
        assert packed.wire.sent == [ACCEPT]
        (message,) = caplog.messages
        assert message.startswith("Refused what came for the group 'news': ")
    assert counters["body_refused"] == 1


async def test_a_kind_for_handlers_that_nobody_knows() -> None:
    """A newer process may send what this one does not know; no client is bothered with it."""
    async with serving(Plain) as plain, serving(Chat) as chat:
        await hub().deliver("news", b"\x4f\x00anything")
        await abroadcast("news", "after")
        assert plain.wire.sent == chat.wire.sent == [ACCEPT, sent("after")]
    assert counters["body_refused"] == 0


async def test_group_message_gets_instances() -> None:
    """A class that overrides group_message() gets messages as such, and its events handled."""

    class Filter(Chat):
        async def group_message(self, group: str, data: Any) -> None:
            self.heard.append(data)
            if isinstance(data, Said) and data.author != "me":
                await super().group_message(group, data)

    async with serving(Filter) as chat:
        for data in (Said("me", "x"), Said("you", "y"), Refresh(1), {"a": 1}, "text"):
            await abroadcast("news", data)
        await until(lambda: len(chat.heard) == 5)
        assert chat.heard == [Said("me", "x"), Said("you", "y"), 1, {"a": 1}, "text"]
        assert chat.wire.sent == [ACCEPT, sent('{"type":"said","author":"you","text":"y"}')]


@pytest.mark.parametrize("cls", [Chat, Packed, Mute])
async def test_a_member_that_has_ended_is_freed_at_once(cls: type[MessageConsumer]) -> None:
    """Nothing of a member, or of a session, waits for the garbage collector."""
    gc.disable()
    try:
        async with serving(cls) as consumer:
            await abroadcast("news", Refresh(1))
            for _ in range(5):
                await asyncio.sleep(0)
            alive = weakref.ref(consumer._wsconsumer.member)  # noqa: SLF001  # what is inside is what is tested
            session = weakref.ref(consumer._wsconsumer)  # noqa: SLF001  # what is inside is what is tested
            del consumer
        assert alive() is None
        assert session() is None
    finally:
        gc.enable()


async def test_a_plain_consumer_that_sends_an_event() -> None:
    """It is refused: an event never goes to a client."""

    class Telling(WebsocketConsumer):
        async def connect(self) -> None:
            await self.accept()
            with pytest.raises(TypeError, match=r"Telling.send\(\) can't send Kick, which never"):
                await self.send(Kick(reason="bye"))

    wire = Wire(CONNECT, disconnect())
    await Telling.as_asgi()(scope(), wire.receive, wire.send)
    assert wire.sent == [ACCEPT]
