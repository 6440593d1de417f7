"""Groups that keep: what a member missed, gaps that are closed, and histories that are lost."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import random
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from tests.fakes import CONNECT, KnownServer, disconnect, scope, sent, until
from tests.groups.lossy import LossyBackend
from wsconsumer import Group, WebsocketConsumer, abroadcast
from wsconsumer.counters import counters
from wsconsumer.groups import declared, kept, readings, reconnecting, reloads
from wsconsumer.groups.envelope import encode
from wsconsumer.groups.hub import close_hub, hub
from wsconsumer.groups.keeping import Keep
from wsconsumer.messages import Event, Message, MessageConsumer, on
from wsconsumer.test import connect, real_engine

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from pytest_django import Settings

    from wsconsumer.test import Websocket

KEEP = 5


class Room(WebsocketConsumer):
    """Is in the room; its client speaks through it."""

    async def connect(self) -> None:
        await self.join("room.a")

    async def receive(self, data: str | bytes) -> None:
        await self.broadcast("room.a", data, include_self=False)


@pytest.fixture(autouse=True)
async def _lossy(settings: Settings) -> AsyncIterator[None]:
    settings.WSCONSUMER = {"GROUPS": {"BACKEND": "tests.groups.lossy.LossyBackend"}}
    LossyBackend.begin()
    with real_engine(), declared.only():
        Group("room.{slug}", keep=KEEP)
        yield
        await close_hub()


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Try again at once, so that no test waits for a delay that is random."""
    monkeypatch.setattr(reconnecting, "FIRST_DELAY", 0)


def backend() -> LossyBackend:
    return LossyBackend.made


@asynccontextmanager
async def page(
    consumer: type[WebsocketConsumer] = Room,
    at: dict[str, tuple[str, int]] | None = None,
    page_id: str = "",
    **options: Any,
) -> AsyncIterator[Websocket]:
    """Connect a client that speaks our subprotocol, and says where it was."""
    wsc = json.dumps({"id": page_id, "at": at or {}}).encode()
    path = "/?wsc=" + base64.urlsafe_b64encode(wsc).decode().rstrip("=")
    options.setdefault("allow_unread", True)
    async with connect(consumer, path=path, subprotocols=["wsconsumer.v1"], **options) as ws:
        assert ws.subprotocol == "wsconsumer.v1"
        yield ws


async def frame(ws: Websocket) -> Any:
    """Receive a frame; return its header, and the payload if it has one."""
    data = await ws.receive()
    parts: Any = data[1:].partition("\n") if isinstance(data, str) else data[1:].partition(b"\n")
    header, newline, payload = parts
    assert data[:1] in ("\x1e", b"\x1e")
    return (json.loads(header), payload) if newline else json.loads(header)


async def joined(ws: Websocket) -> tuple[str, int]:
    """Receive the frame of a join that had nothing to resume; return the position."""
    header = await frame(ws)
    assert header.keys() == {"joined", "epoch", "offset"}
    return header["epoch"], header["offset"]


def said(offset: int, text: str | bytes) -> Any:
    """Return the frame of a broadcast."""
    return {"group": "room.a", "offset": offset}, text


async def test_a_client_is_told_where_it_is() -> None:
    """After the join come broadcasts with the next offsets."""
    async with page() as ws:
        epoch, offset = await joined(ws)
        assert epoch
        assert offset == 0
        await abroadcast("room.a", "one")
        await abroadcast("room.a", b"\x00two")
        assert await frame(ws) == said(1, "one")
        assert await frame(ws) == said(2, b"\x00two")


async def test_a_plain_client_gets_what_it_always_got() -> None:
    """Without the subprotocol nothing is framed, and a gap is closed all the same."""
    async with connect(Room) as ws:
        await abroadcast("room.a", "one")
        assert await ws.receive() == "one"
        backend().losing = 1
        await abroadcast("room.a", "lost")
        await abroadcast("room.a", "three")
        assert await ws.receive() == "lost"
        assert await ws.receive() == "three"


async def test_what_was_missed_comes_first() -> None:
    """Who comes back gets what was said meanwhile, then what is said from now on."""
    async with page() as ws:
        epoch, _ = await joined(ws)
        await abroadcast("room.a", "one")
        await abroadcast("room.a", "two")
        async with page(at={"room.a": (epoch, 1)}) as back:
            assert await frame(back) == {"joined": "room.a", "epoch": epoch, "offset": 1}
            assert await frame(back) == said(2, "two")
            await abroadcast("room.a", "three")
            assert await frame(back) == said(3, "three")


async def test_who_missed_nothing_is_told_so() -> None:
    """A position at the top is resumed, with nothing before what comes next."""
    async with page() as ws:
        epoch, _ = await joined(ws)
        await abroadcast("room.a", "one")
        async with page(at={"room.a": (epoch, 1)}) as back:
            assert await frame(back) == {"joined": "room.a", "epoch": epoch, "offset": 1}
            await abroadcast("room.a", "two")
            assert await frame(back) == said(2, "two")


async def test_one_read_for_all_who_come_back() -> None:
    """The process reads a history once; nobody else's return costs another."""
    async with page() as ws:
        epoch, _ = await joined(ws)
        for number in range(3):
            await abroadcast("room.a", f"{number}")
    assert hub().size("room.a") == 0
    reads = backend().reads
    reads.clear()
    async with (
        page(at={"room.a": (epoch, 0)}) as one,
        page(at={"room.a": (epoch, 2)}) as two,
        page(at={"room.a": (epoch, 1)}) as three,
        page() as four,
    ):
        assert reads == [{"room.a": 0}]
        for back, first in ((one, 0), (two, 2), (three, 1)):
            assert (await frame(back))["offset"] == first
            for number in range(first, 3):
                assert await frame(back) == said(number + 1, f"{number}")
        assert await joined(four) == (epoch, 3)


async def test_a_history_that_was_not_read_whole_is_read_once_more() -> None:
    """A member that begins reads only where the group stands; one that resumes, all of it."""
    async with page() as ws:
        epoch, _ = await joined(ws)
        await abroadcast("room.a", "one")
        await abroadcast("room.a", "two")
    async with page() as new:
        assert await joined(new) == (epoch, 2)
        await abroadcast("room.a", "three")
        async with page(at={"room.a": (epoch, 1)}) as back:
            assert await frame(back) == {"joined": "room.a", "epoch": epoch, "offset": 1}
            assert await frame(back) == said(2, "two")
            assert await frame(back) == said(3, "three")
        async with page(at={"room.a": (epoch, 0)}) as back:
            assert (await frame(back))["offset"] == 0
            assert await frame(back) == said(1, "one")
    assert backend().reads[-2:] == [{"room.a": None}, {"room.a": 0}]


async def test_who_comes_back_while_it_is_read_where_the_group_stands() -> None:
    """That says nothing of what was missed, so there is another read, and no reload."""
    async with page() as ws:
        epoch, _ = await joined(ws)
        await abroadcast("room.a", "one")
    LossyBackend.answers.clear()
    LossyBackend.asked.clear()
    async with page(Quitter) as new:
        await backend().asked.wait()
        async with page(Quitter, at={"room.a": (epoch, 0)}) as back:
            await back.settle()
            LossyBackend.answers.set()
            assert await joined(new) == (epoch, 1)
            assert await frame(back) == {"joined": "room.a", "epoch": epoch, "offset": 0}
            assert await frame(back) == said(1, "one")
    assert backend().reads[-2:] == [{"room.a": None}, {"room.a": 0}]


async def test_who_comes_back_together_with_a_new_one() -> None:
    """One read is enough for both, and it is that of the one who missed something."""
    go = asyncio.Event()

    class Late(WebsocketConsumer):
        async def connect(self) -> None:
            self.spawn(self.join_later())

        async def join_later(self) -> None:
            await go.wait()
            await self.join("room.a")

    async with page() as ws:
        epoch, _ = await joined(ws)
        await abroadcast("room.a", "one")
    async with page(Late, at={"room.a": (epoch, 0)}) as back, page(Late) as new:
        go.set()
        assert await joined(new) == (epoch, 1)
        assert await frame(back) == {"joined": "room.a", "epoch": epoch, "offset": 0}
        assert await frame(back) == said(1, "one")
    assert backend().reads[-1:] == [{"room.a": 0}]


@pytest.mark.parametrize(
    ("epoch", "offset"), [("other", 3), ("", 3), (None, 0), (None, 99), ("other", 0)]
)
async def test_what_can_not_be_resumed(epoch: str | None, offset: int) -> None:
    """Another history, what is no longer kept, or an offset that never was: reload."""
    async with page() as ws:
        own, _ = await joined(ws)
        for number in range(KEEP + 1):
            await abroadcast("room.a", f"{number}")
        before = counters["recovery_failed"]
        async with page(at={"room.a": (own if epoch is None else epoch, offset)}) as back:
            told = {"joined": "room.a", "epoch": own, "offset": KEEP + 1, "reload": True}
            assert await frame(back) == told
            await abroadcast("room.a", "next")
            assert await frame(back) == said(KEEP + 2, "next")
        assert counters["recovery_failed"] == before + 1


@pytest.mark.parametrize("lost", [1, KEEP - 1])
async def test_a_gap_is_closed_for_all(lost: int) -> None:
    """What was lost on the way is read once, and goes to every member in its place."""
    async with page() as one, connect(Room) as two:
        await joined(one)
        backend().losing = lost
        for number in range(lost + 1):
            await abroadcast("room.a", f"{number}")
        for number in range(lost + 1):
            assert await frame(one) == said(number + 1, f"{number}")
            assert await two.receive() == f"{number}"
        assert backend().reads[1:] == [{"room.a": 0}]


async def test_a_gap_that_can_not_be_closed() -> None:
    """Where too much was lost, members are told to reload, and go on from there."""
    async with page() as ws:
        epoch, _ = await joined(ws)
        await abroadcast("room.a", "one")
        assert await frame(ws) == said(1, "one")
        backend().losing = KEEP + 1
        for number in range(KEEP + 2):
            await abroadcast("room.a", f"{number}")
        told = {"joined": "room.a", "epoch": epoch, "offset": KEEP + 3, "reload": True}
        assert await frame(ws) == told
        await abroadcast("room.a", "next")
        assert await frame(ws) == said(KEEP + 4, "next")


async def test_a_history_that_was_lost() -> None:
    """An engine that lost everything has another epoch: members are told to reload."""
    async with page() as ws:
        epoch, _ = await joined(ws)
        await abroadcast("room.a", "one")
        await frame(ws)
        backend().histories.clear()
        await abroadcast("room.a", "two")
        told = await frame(ws)
        assert told.pop("epoch") != epoch
        assert told == {"joined": "room.a", "offset": 1, "reload": True}
        await abroadcast("room.a", "three")
        assert await frame(ws) == said(2, "three")


async def test_nothing_comes_twice() -> None:
    """What an engine says again, or too late, is passed over."""
    async with page() as ws:
        await joined(ws)
        await abroadcast("room.a", "one")
        position = await backend().append("room.a", b"\x11\x00two", Keep(KEEP, 60), None)
        await backend().redeliver("room.a", b"\x11\x00two", position)
        await backend().redeliver("room.a", b"\x11\x00one", position._replace(offset=1))
        await abroadcast("room.a", "three")
        assert [await frame(ws) for _ in range(3)] == [
            said(1, "one"),
            said(2, "two"),
            said(3, "three"),
        ]


async def test_a_last_broadcast_that_was_lost() -> None:
    """It shows no gap; a look at where the group stands finds it."""
    async with page() as ws:
        await joined(ws)
        backend().losing = 1
        await abroadcast("room.a", "lost")
        readings = hub()._readings  # noqa: SLF001  # what is inside is what is tested
        assert readings is not None
        readings.look()
        assert await frame(ws) == said(1, "lost")


async def test_the_look_comes_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is made now and then while somebody is in a group that keeps."""
    monkeypatch.setattr(readings, "LOOK_EVERY", 0.01)
    async with page() as ws:
        await joined(ws)
        backend().losing = 1
        await abroadcast("room.a", "lost")
        assert await frame(ws) == said(1, "lost")


async def test_a_group_that_was_subscribed_anew() -> None:
    """What came in between is read; groups that nobody is in, or that keep nothing, are not."""
    async with page() as ws:
        await joined(ws)
        backend().losing = 1
        await abroadcast("room.a", "lost")
        reads = len(backend().reads)
        backend().resumed(["room.a", "room.b", "news"])
        assert await frame(ws) == said(1, "lost")
        assert backend().reads[reads:] == [{"room.a": 0}]


async def test_what_comes_before_it_is_known_what_is_missing() -> None:
    """A server that lagged, and took over, has numbered it like one that members never got."""
    async with page() as ws:
        epoch, _ = await joined(ws)
        backend().histories.clear()
        backend().resumed(["room.a"])
        await backend().redeliver("room.a", encode("two"), backend().position(epoch, 1))
        told = await frame(ws)
        assert told["reload"]
        await abroadcast("room.a", "one")
        assert await frame(ws) == said(1, "one")


async def test_what_comes_before_a_group_is_subscribed_anew() -> None:
    """It is held back until the backend has said that it was, and the history was read."""
    async with page() as ws:
        epoch, _ = await joined(ws)
        reads = len(backend().reads)
        backend().interrupted(["room.a", "room.b", "news"])
        await backend().redeliver("room.a", encode("two"), backend().position(epoch, 1))
        await ws.settle()
        await ws.expect_nothing()
        assert len(backend().reads) == reads
        backend().histories.clear()
        backend().resumed(["room.a"])
        told = await frame(ws)
        assert told["reload"]


@pytest.mark.parametrize("failures", [[], [OSError("gone")]], ids=["answered", "failed"])
async def test_doubts_while_it_is_read(failures: list[Exception]) -> None:
    """A read that had begun before does not settle them, and neither does one that fails."""
    async with page() as ws:
        epoch, _ = await joined(ws)
        LossyBackend.answers.clear()
        LossyBackend.asked.clear()
        backend().resumed(["room.a"])
        await backend().asked.wait()
        backend().resumed(["room.a"])
        backend().histories.clear()
        await backend().redeliver("room.a", encode("two"), backend().position(epoch, 1))
        LossyBackend.failures.extend(failures)
        LossyBackend.answers.set()
        told = await frame(ws)
        assert told["reload"]
        await abroadcast("room.a", "one")
        assert await frame(ws) == said(1, "one")


async def test_what_comes_while_it_is_read() -> None:
    """A broadcast in the middle of a read comes after what was read."""
    async with page() as ws:
        await joined(ws)
        backend().losing = 1
        await abroadcast("room.a", "lost")
        backend().answers.clear()
        backend().asked.clear()
        await abroadcast("room.a", "two")
        await backend().asked.wait()
        await abroadcast("room.a", "three")
        backend().losing = 1
        await abroadcast("room.a", "four")
        await abroadcast("room.a", "five")
        backend().answers.set()
        for number, text in enumerate(["lost", "two", "three", "four", "five"], 1):
            assert await frame(ws) == said(number, text)


async def test_more_than_can_wait_while_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """What does not fit is read after that."""
    monkeypatch.setattr(kept, "MAX_DURING", 1)
    async with page() as ws:
        await joined(ws)
        backend().losing = 1
        await abroadcast("room.a", "lost")
        backend().answers.clear()
        backend().asked.clear()
        await abroadcast("room.a", "two")
        await backend().asked.wait()
        await abroadcast("room.a", "three")
        await abroadcast("room.a", "four")
        backend().answers.set()
        for number, text in enumerate(["lost", "two", "three", "four"], 1):
            assert await frame(ws) == said(number, text)


@pytest.mark.parametrize("error", [OSError("gone"), ValueError("nonsense"), KeyError("room.a")])
async def test_a_read_that_fails_is_tried_again(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever it failed with: a group whose gap stays open would be deaf."""
    async with page() as ws:
        await joined(ws)
        backend().losing = 1
        backend().failures[:] = [error, error]
        await abroadcast("room.a", "lost")
        await abroadcast("room.a", "two")
        assert await frame(ws) == said(1, "lost")
        assert await frame(ws) == said(2, "two")
    texts = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert [text.partition(":")[0] for text in texts][:1] == ["The history of groups is away"]


async def test_a_backend_that_leaves_a_group_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is asked again."""
    read = LossyBackend.read
    answers = iter([False, True])

    async def read_half(self: LossyBackend, after: Any) -> Any:
        found = await read(self, after)
        return found if next(answers) else {}

    monkeypatch.setattr(LossyBackend, "read", read_half)
    async with page() as ws:
        assert (await joined(ws))[1] == 0


class OtherRooms(WebsocketConsumer):
    """Is in other rooms."""

    async def connect(self) -> None:
        await self.join("room.b")
        await self.join("room.c")


async def test_groups_that_can_not_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are tried again after a while, for which others don't wait."""
    monkeypatch.setattr(random, "uniform", max)  # so that it is 10 seconds
    monkeypatch.setattr(reconnecting, "FIRST_DELAY", reconnecting.MAX_DELAY)
    async with page() as ws, page(OtherRooms):
        await joined(ws)
        await until(lambda: {"room.c": None} in backend().reads)
        backend().unreadable.update(["room.b", "room.c"])
        backend().reads.clear()
        for offset in (1, 3):
            backend().resumed(["room.b", "room.c"])
            backend().losing = 1
            await abroadcast("room.a", "lost")
            await abroadcast("room.a", "next")
            assert await frame(ws) == said(offset, "lost")
            assert await frame(ws) == said(offset + 1, "next")
        asked = [group for after in backend().reads for group in after]
        assert (asked.count("room.b"), asked.count("room.a")) == (1, 2)


async def test_a_group_that_can_be_read_again(caplog: pytest.LogCaptureFixture) -> None:
    """Its gap is closed then, however often it was asked for; the log has two lines."""
    async with page(OtherRooms) as other:
        await joined(other)
        await joined(other)
        backend().unreadable.add("room.b")
        backend().answers.clear()
        backend().asked.clear()
        backend().losing = 1
        await abroadcast("room.b", "lost")
        await abroadcast("room.b", "two")
        await backend().asked.wait()
        backend().resumed(["room.b"])
        backend().answers.set()
        await until(lambda: len(backend().reads) > 5)
        backend().unreadable.clear()
        for number, text in enumerate(["lost", "two"], 1):
            assert await frame(other) == ({"group": "room.b", "offset": number}, text)
    lines = [record.getMessage() for record in caplog.records]
    assert [line.partition(" is ")[2].split()[0] for line in lines] == ["away:", "back"]


class Quitter(WebsocketConsumer):
    """Joins beside its hooks, and leaves when it is told to."""

    async def connect(self) -> None:
        self.spawn(self.join("room.a"))

    async def receive(self, data: str | bytes) -> None:
        await self.leave("room.a")


async def test_a_join_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the engine does not say where the group stands, a member is in, and told later."""
    monkeypatch.setattr(kept, "JOIN_TIMEOUT", 0)
    LossyBackend.answers.clear()
    async with page(Resetting) as ws:
        assert hub().size("room.a") == 1
        backend().answers.set()
        told = await frame(ws)
        assert (told["joined"], told["offset"], told["reload"]) == ("room.a", 0, False)
        assert await ws.receive() == "the state"
        await abroadcast("room.a", "one")
        assert await ws.receive() == "one"


async def test_a_client_that_leaves_while_it_joins() -> None:
    """Nobody is in the group then, and what was read is of no interest."""
    LossyBackend.answers.clear()
    async with connect(Quitter) as ws:
        await backend().asked.wait()
        await ws.send("leave")
        await until(lambda: not backend().groups_of(hub()))
        backend().answers.set()
        await ws.settle()
        assert hub().size("room.a") == 0


async def test_nobody_is_left_while_a_read_fails() -> None:
    """Then it is not tried again."""
    LossyBackend.answers.clear()
    LossyBackend.failures[:] = [OSError("gone")]
    async with connect(Quitter) as ws:
        await backend().asked.wait()
        await ws.send("leave")
        await until(lambda: not backend().groups_of(hub()))
        backend().answers.set()
        await ws.settle()
        assert len(backend().reads) == 1


async def test_two_joins_of_one_member_at_once() -> None:
    """It is in the group once, and is told once."""

    class Eager(WebsocketConsumer):
        async def connect(self) -> None:
            self.spawn(self.join("room.a"))
            await self.join("room.a")

    async with page(Eager) as ws:
        await joined(ws)
        await abroadcast("room.a", "one")
        assert await frame(ws) == said(1, "one")
        await ws.expect_nothing()


async def test_its_own_words_are_counted() -> None:
    """Who does not get what it said itself is told its offset, also when it comes back."""
    async with page(page_id="tab-1") as ws, page(page_id="tab-2") as other:
        epoch, _ = await joined(ws)
        await joined(other)
        await ws.send("mine")
        assert await frame(ws) == {"group": "room.a", "offset": 1, "skip": True}
        assert await frame(other) == said(1, "mine")
        async with page(page_id="tab-1", at={"room.a": (epoch, 0)}) as back:
            assert (await frame(back))["offset"] == 0
            assert await frame(back) == {"group": "room.a", "offset": 1, "skip": True}
        async with page(at={"room.a": (epoch, 0)}) as nameless:
            assert (await frame(nameless))["offset"] == 0
            assert await frame(nameless) == said(1, "mine")


async def test_a_plain_client_does_not_get_its_own_words() -> None:
    """As in any group."""
    async with connect(Room) as ws, connect(Room, allow_unread=True) as other:
        await ws.send("mine")
        assert await other.receive() == "mine"
        await abroadcast("room.a", "next")
        assert await ws.receive() == "next"


async def test_a_group_that_keeps_nothing_is_named() -> None:
    """Its broadcasts have the group and no offset; there is no word about the join."""

    class News(WebsocketConsumer):
        async def connect(self) -> None:
            await self.join("news")

    async with page(News) as ws:
        await abroadcast("news", {"a": 1})
        assert await frame(ws) == ({"group": "news"}, '{"a":1}')


async def test_not_resuming() -> None:
    """With ``resume=False`` a member begins now, whatever its client says."""

    class Fresh(WebsocketConsumer):
        async def connect(self) -> None:
            await self.join("room.a", resume=False)

    async with page() as ws:
        epoch, _ = await joined(ws)
        await abroadcast("room.a", "one")
        async with page(Fresh, at={"room.a": (epoch, 0)}) as back:
            assert await joined(back) == (epoch, 1)


async def test_joining_again_begins_anew() -> None:
    """The position of the URL is for the first join."""

    class Twice(WebsocketConsumer):
        async def connect(self) -> None:
            await self.join("room.a")
            await self.leave("room.a")
            await self.join("room.a")

    async with page() as ws:
        epoch, _ = await joined(ws)
        await abroadcast("room.a", "one")
        async with page(Twice, at={"room.a": (epoch, 0)}) as back:
            assert await joined(back) == (epoch, 1)


async def test_a_key_is_said_once() -> None:
    """Whoever tries it again, from a consumer or elsewhere."""

    class Orders(Room):
        async def receive(self, data: str | bytes) -> None:
            await self.broadcast("room.a", data, key="order-5")

    async with page(Orders) as ws:
        await joined(ws)
        await ws.send("order")
        await abroadcast("room.a", "order", key="order-5")
        await abroadcast("room.a", "end")
        assert await frame(ws) == said(1, "order")
        assert await frame(ws) == said(2, "end")


@pytest.mark.parametrize(
    ("group", "key", "error", "text"),
    [
        ("room.a", 5, TypeError, "expects key to be a str, got 5"),
        ("room.a", "", ValueError, "a key of 1 to 200 characters"),
        ("room.a", "x" * 201, ValueError, "a key of 1 to 200 characters"),
        ("news", "k", ValueError, "broadcast.. to 'news' has a key, but that group keeps nothing"),
    ],
)
async def test_a_key_that_can_not_be(
    group: str, key: Any, error: type[Exception], text: str
) -> None:
    """What is wrong with it is said."""
    with pytest.raises(error, match=text):
        await abroadcast(group, "x", key=key)


async def test_what_can_not_be_read_counts(caplog: pytest.LogCaptureFixture) -> None:
    """
    A body that this version can't read is passed over with a log line, and makes no gap; whoever
    does not get it is told.
    """
    async with page() as ws:
        epoch, _ = await joined(ws)
        await backend().append("room.a", b"\xff\x00new", Keep(KEEP, 60), None)
        await abroadcast("room.a", "two")
        told = {"joined": "room.a", "epoch": epoch, "offset": 1, "reload": True}
        assert await frame(ws) == {**told, "seconds": kept.SPREAD}
        assert await frame(ws) == said(2, "two")
    assert "Refused what came for the group 'room.a'" in caplog.text
    for offset, is_whole in ((0, False), (1, True)):
        async with page(at={"room.a": (epoch, offset)}) as back:
            assert ("reload" not in await frame(back)) == is_whole
    assert counters["body_refused"] == 3


async def test_a_handler_that_this_version_does_not_know() -> None:
    """A body of a kind that is for no client counts, and nobody misses anything."""
    async with page() as ws:
        epoch, _ = await joined(ws)
        await backend().append("room.a", b"\x4e\x00new", Keep(KEEP, 60), None)
        await abroadcast("room.a", "two")
        assert await frame(ws) == said(2, "two")
    async with page(at={"room.a": (epoch, 0)}) as back:
        assert (await frame(back))["offset"] == 0
        assert await frame(back) == said(2, "two")


async def test_a_history_that_is_lost_for_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """The frame says over how many seconds they spread their reloads."""
    monkeypatch.setattr(reloads, "PER_SECOND", 0.05)
    async with page() as ws, page() as other, connect(Room, allow_unread=True):
        epoch, _ = await joined(ws)
        await joined(other)
        backend().histories.clear()
        await abroadcast("room.a", "one")
        for each in (ws, other):
            told = await frame(each)
            assert (told["reload"], told["seconds"]) == (True, 40)
        async with page(at={"room.a": (epoch, 0)}) as back:
            assert (await frame(back))["seconds"] > 40


class Listener(WebsocketConsumer):
    """Hears its group itself."""

    async def connect(self) -> None:
        await self.join("room.a")

    async def receive(self, data: str | bytes) -> None:
        await self.broadcast("room.a", data, include_self=False)

    async def group_message(self, group: str, data: Any) -> None:
        await self.send(f"heard {data}")


async def test_a_consumer_that_hears_its_group() -> None:
    """What its ``group_message()`` handled is counted, and what it missed is handled first."""
    async with page(Listener) as ws:
        epoch, _ = await joined(ws)
        await abroadcast("room.a", "one")
        assert await ws.receive() == "heard one"
        assert await frame(ws) == {"group": "room.a", "offset": 1, "skip": True}
        await ws.send("mine")
        assert await frame(ws) == {"group": "room.a", "offset": 2, "skip": True}
        async with page(Listener, at={"room.a": (epoch, 0)}) as back:
            assert (await frame(back))["offset"] == 0
            assert await back.receive() == "heard one"
            assert (await frame(back))["offset"] == 1
            assert await back.receive() == "heard mine"
            assert (await frame(back))["offset"] == 2
        async with page(Listener, at={"room.a": ("other", 0)}) as lost:
            assert (await frame(lost))["reload"] is True


class Resetting(WebsocketConsumer):
    """Sends its own state when the history begins anew."""

    async def connect(self) -> None:
        await self.join("room.a")

    async def group_reset(self, group: str) -> None:
        if group == "room.a":
            await self.send("the state")


async def test_a_consumer_with_a_state_of_its_own() -> None:
    """The client need not reload: it is told where it is, and gets the state."""
    async with page() as ws:
        epoch, _ = await joined(ws)
        async with page(Resetting, at={"room.a": ("other", 7)}) as back:
            told = {"joined": "room.a", "epoch": epoch, "offset": 0, "reload": False}
            assert await frame(back) == told
            assert await back.receive() == "the state"
            backend().histories.clear()
            await abroadcast("room.a", "one")
            assert (await frame(back))["reload"] is False
            assert await back.receive() == "the state"


async def test_a_plain_client_gets_the_state_too() -> None:
    """A ``group_reset()`` runs whatever the client speaks."""
    async with connect(Resetting) as ws:
        await abroadcast("room.a", "one")
        assert await ws.receive() == "one"
        backend().histories.clear()
        await abroadcast("room.a", "two")
        assert await ws.receive() == "the state"


async def test_a_reset_that_fails(caplog: pytest.LogCaptureFixture) -> None:
    """It is handled like any hook's exception."""

    class Failing(Resetting):
        async def group_reset(self, group: str) -> None:
            raise ValueError("no state")

    async with connect(Failing) as ws:
        await abroadcast("room.a", "one")
        assert await ws.receive() == "one"
        backend().histories.clear()
        await abroadcast("room.a", "two")
        with pytest.raises(ValueError, match="no state"):
            await ws.receive_close()
        assert ws.close_code == 1011


class Poke(Event):
    """For handlers."""

    number: int


class Said(Message):
    """For clients."""

    text: str


class Typed(MessageConsumer):
    """Handles events, and answers with what it heard."""

    async def connect(self) -> None:
        await self.join("room.a")

    @on
    async def poke(self, event: Poke) -> None:
        await self.send(Said(text=f"poked {event.number}"))


class Packed(Typed):
    """The same in another codec."""

    codec = "msgpack"


@pytest.mark.parametrize("consumer", [Typed, Packed])
async def test_typed_messages(consumer: type[MessageConsumer]) -> None:
    """Messages are framed in their codec, events are handled; both are resumed."""
    async with page(consumer) as ws:
        epoch, _ = await joined(ws)
        await abroadcast("room.a", Said(text="hi"))
        header, payload = await frame(ws)
        assert header == {"group": "room.a", "offset": 1}
        assert isinstance(payload, bytes if consumer is Packed else str)
        await abroadcast("room.a", Poke(number=2))
        counted = {"group": "room.a", "offset": 2, "skip": True}
        assert await frame(ws) == counted
        assert b"poked 2" in as_bytes(await ws.receive())
        async with page(consumer, at={"room.a": (epoch, 0)}) as back:
            assert (await frame(back))["offset"] == 0
            assert await frame(back) == (header, payload)
            assert await frame(back) == counted
            assert b"poked 2" in as_bytes(await back.receive())
        async with page(consumer, at={"room.a": (epoch, 2)}, allow_unread=False) as back:
            assert (await frame(back))["offset"] == 2
            await back.expect_nothing()


class Hearing(Typed):
    """Overrides ``group_message()`` as well, so all goes through one outbox."""

    async def group_message(self, group: str, data: Any) -> None: ...


@pytest.mark.parametrize("consumer", [Typed, Packed, Hearing])
async def test_an_event_that_sends_a_client_away(consumer: type[MessageConsumer]) -> None:
    """It is counted before its handler runs, so it does not happen again when they come back."""

    class Leaving(consumer):  # type: ignore[misc, valid-type]
        @on
        async def poke(self, event: Poke) -> None:
            await self.close(4501)

    async with page(Leaving) as ws:
        epoch, _ = await joined(ws)
        await abroadcast("room.a", Poke(number=1))
        assert await frame(ws) == {"group": "room.a", "offset": 1, "skip": True}
        assert await ws.receive_close() == 4501
    async with page(Leaving, at={"room.a": (epoch, 1)}, allow_unread=False) as back:
        assert (await frame(back))["offset"] == 1
        await back.expect_nothing()


@pytest.mark.parametrize("consumer", [Typed, Packed, Hearing])
async def test_an_event_of_ones_own(consumer: type[MessageConsumer]) -> None:
    """With ``include_self=False`` it is counted, live and when they come back, and not handled."""

    class Poking(consumer):  # type: ignore[misc, valid-type]
        @on
        async def said(self, message: Said) -> None:
            await self.broadcast("room.a", Poke(number=1), include_self=False)

    counted = {"group": "room.a", "offset": 1, "skip": True}
    async with page(Poking, page_id="me", allow_unread=False) as ws:
        epoch, _ = await joined(ws)
        await ws.send(Said("go"))
        assert await frame(ws) == counted
        await ws.expect_nothing()
    async with page(Poking, page_id="me", at={"room.a": (epoch, 0)}, allow_unread=False) as back:
        assert (await frame(back))["offset"] == 0
        assert await frame(back) == counted
        await back.expect_nothing()


async def test_events_wait_for_room() -> None:
    """They are counted in order, each when it is taken, however slow the handler is."""
    go_on = asyncio.Event()

    class Slow(Typed):
        outbox_limit = 1

        @on
        async def poke(self, event: Poke) -> None:
            await go_on.wait()
            await super().poke(event)

    async with page(Slow) as ws:
        await joined(ws)
        for number in range(3):
            await abroadcast("room.a", Poke(number=number))
        await ws.settle()
        go_on.set()
        frames = [as_bytes(await ws.receive()) for _ in range(6)]
    counted = [data for data in frames if b'"skip":true' in data]
    assert [json.loads(data[1:])["offset"] for data in counted] == [1, 2, 3]
    poked = [data[-3:-2] for data in frames if b"poked" in data]
    assert poked == [b"0", b"1", b"2"]


async def test_an_event_in_a_group_that_keeps_nothing() -> None:
    """There is nothing to count."""

    class Plain(Typed):
        async def connect(self) -> None:
            await self.join("plain")

    async with page(Plain, allow_unread=False) as ws:
        await abroadcast("plain", Poke(number=1))
        assert b"poked 1" in as_bytes(await ws.receive())


@pytest.mark.parametrize("consumer", [Typed, Packed, Hearing])
async def test_a_typed_consumer_that_joins_late(consumer: type[MessageConsumer]) -> None:
    """After ``accept()`` a client is told where it is as well, in any codec."""

    class Late(consumer):  # type: ignore[misc, valid-type]
        async def connect(self) -> None:
            await self.accept()
            await super().connect()

    async with page(Late) as ws:
        _, offset = await joined(ws)
        assert offset == 0


def as_bytes(data: str | bytes) -> bytes:
    return data.encode() if isinstance(data, str) else data


@pytest.mark.parametrize("policy", ["drop_oldest", "drop_newest"])
async def test_a_slow_client_whose_broadcasts_are_dropped(policy: str) -> None:
    """It is told to reload, once, since it does not get all of a group that keeps."""

    class Dropping(Room):
        outbox_policy = policy
        outbox_limit = 400

    async with page(Dropping) as ws:
        await joined(ws)
        ws.pause()
        before = counters["outbox_dropped"]
        for number in range(5):
            await abroadcast("room.a", f"{number}" * 100)
        await until(lambda: counters["outbox_dropped"] > before)
        ws.resume()
        header: dict[str, Any] = {}
        while "joined" not in header:
            got = await frame(ws)
            header = got[0] if isinstance(got, tuple) else got
        assert header == {"joined": "room.a", "epoch": "", "offset": 0, "reload": True}


async def test_what_a_client_sends_waits_behind_what_it_gets() -> None:
    """An application's own message that looks like a header is escaped there too."""

    class Echo(Room):
        async def receive(self, data: str | bytes) -> None:
            await self.send("\x1eown")

    async with page(Echo) as ws:
        await joined(ws)
        ws.pause()
        await abroadcast("room.a", "one")
        await ws.send("go")
        ws.resume()
        assert await frame(ws) == said(1, "one")
        assert await frame(ws) == ({}, "\x1eown")


async def test_what_looks_like_a_header() -> None:
    """Text and bytes of the application that begin with the mark go behind an empty header."""

    class Echo(WebsocketConsumer):
        async def receive(self, data: str | bytes) -> None:
            await self.send(data)

    async with page(Echo) as ws:
        for data in ("plain", "\x1emarked", b"plain", b"\x1emarked", ""):
            mark: Any = "\x1e{}\n" if isinstance(data, str) else b"\x1e{}\n"
            await ws.send(mark + data)
            marked = data[:1] in ("\x1e", b"\x1e")
            assert await ws.receive() == (mark + data if marked else data)
        await ws.send("without a header")
        assert await ws.receive() == "without a header"


async def test_what_is_no_header(caplog: pytest.LogCaptureFixture) -> None:
    """A heartbeat's answer, and what can't be read, never get to the consumer."""

    class Echo(WebsocketConsumer):
        async def receive(self, data: str | bytes) -> None:
            await self.send(data)

    caplog.set_level(logging.INFO, "wsconsumer")
    async with page(Echo) as ws:
        await ws.send('\x1e{"pong":1}')
        await ws.send("\x1enonsense\n")
        await ws.send(b"\x1e[1]\n")
        await ws.send('\x1e{"a":' + "[" * 100_000)
        await ws.send("end")
        assert await ws.receive() == "end"
    assert caplog.text.count("a header that can't be read") == 3


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("x" * 5_000, "5000 characters, more than 4096"),
        ("!!", "not base64url of JSON"),
        ("bm9uc2Vuc2U", "not base64url of JSON"),
        (base64.urlsafe_b64encode(b'{"at": {"g": [1, 2]}}').decode(), "not base64url of JSON"),
        (base64.urlsafe_b64encode(b'{"a":' + b"[" * 3_000).decode(), "not base64url of JSON"),
        ("%C3%A9", "not base64url of JSON"),
        (base64.urlsafe_b64encode(b'{"id": "%b"}' % (b"x" * 65)).decode(), "its id has 65"),
    ],
)
async def test_a_parameter_that_can_not_be_read(
    value: str, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The client begins anew, and the log says why without the parameter."""
    caplog.set_level(logging.INFO, "wsconsumer")
    async with connect(Room, path=f"/?wsc={value}", subprotocols=["wsconsumer.v1"]) as ws:
        await joined(ws)
    assert text in caplog.text
    assert value not in caplog.text or value == "!!"


async def test_another_subprotocol() -> None:
    """A consumer that chooses another speaks that, if it chooses before it joins."""

    class Other(WebsocketConsumer):
        async def connect(self) -> None:
            await self.accept(subprotocol="other")
            await self.join("room.a")
            await abroadcast("room.a", "plain")

    async with connect(Other, subprotocols=["wsconsumer.v1", "other"]) as ws:
        assert ws.subprotocol == "other"
        assert await ws.receive() == "plain"


async def test_another_subprotocol_too_late() -> None:
    """After a join the groups speak ours already; the error says what to do."""
    seen: list[str] = []

    class Late(WebsocketConsumer):
        async def connect(self) -> None:
            await self.join("room.a")
            try:
                await self.accept(subprotocol="other")
            except Exception as error:
                seen.append(str(error))
                raise

    async with connect(Late, subprotocols=["wsconsumer.v1", "other"], raise_exceptions=False) as ws:
        assert not ws.accepted
    assert "Call accept() first" in seen[0]


async def test_a_missed_message_waits_behind_others() -> None:
    """What was missed is handed over whole, however little room there is for what comes later."""

    class Small(Room):
        outbox_limit = 300

    async with page() as ws:
        epoch, _ = await joined(ws)
        for _ in range(KEEP):
            await abroadcast("room.a", "x" * 1_000)
    async with page(Small, at={"room.a": (epoch, 0)}) as back:
        assert (await frame(back))["offset"] == 0
        for number in range(KEEP):
            assert await frame(back) == said(number + 1, "x" * 1_000)


async def test_much_that_was_missed_leaves_others_their_turn() -> None:
    """Members that resume at once are handed what they missed over several turns of the loop."""
    async with page() as ws:
        epoch, _ = await joined(ws)
        for _ in range(KEEP):
            await abroadcast("room.a", "x" * 400_000)
        async with (
            page(at={"room.a": (epoch, 0)}) as one,
            page(at={"room.a": (epoch, 0)}) as two,
        ):
            for back in (one, two):
                assert (await frame(back))["offset"] == 0
                for number in range(KEEP):
                    assert (await frame(back))[0]["offset"] == number + 1


async def test_a_consumer_that_closes_hears_no_reset() -> None:
    """What waits for its hooks when the connection has ended is left."""

    class Closing(Resetting):
        async def group_message(self, group: str, data: Any) -> None:
            await self.close()

    async with page(Closing) as ws:
        await joined(ws)
        await abroadcast("room.a", "one")
        backend().histories.clear()
        await abroadcast("room.a", "two")
        assert await ws.receive_close() == 1000


async def test_closing_the_hub_ends_its_reads() -> None:
    """Neither a read that hangs nor the next look outlives it."""
    backend_of_before = hub()._backend  # noqa: SLF001  # what is inside is what is tested
    assert backend_of_before is backend()
    backend().answers.clear()
    async with connect(Quitter):
        await backend().asked.wait()
        await close_hub()


async def test_a_server_that_takes_messages_at_once() -> None:
    """Framed or not, a broadcast needs no task there, and what was missed comes in one turn."""
    wire = KnownServer()
    wire.put(CONNECT)
    offer = scope(subprotocols=["wsconsumer.v1"])
    task = asyncio.create_task(Room.as_asgi()(offer, wire.receive, wire.send))
    await wire.until_sent(2)
    tasks = asyncio.all_tasks()
    await abroadcast("room.a", "one")
    assert asyncio.all_tasks() == tasks
    assert wire.sent[2:] == [sent('\x1e{"group":"room.a","offset":1}\none')]
    wire.put(disconnect())
    await task


async def test_an_empty_position() -> None:
    """A client that offers the subprotocol and says nothing of itself begins now."""
    async with connect(Room, subprotocols=["wsconsumer.v1"]) as ws:
        await joined(ws)


async def test_a_binary_frame_of_the_application() -> None:
    """Binary messages without a mark are the application's."""

    class Echo(WebsocketConsumer):
        async def receive(self, data: str | bytes) -> None:
            await self.send(data)

    async with page(Echo) as ws:
        await ws.send(b"")
        assert await ws.receive() == b""


async def test_a_group_that_is_subscribed_anew_while_it_is_read_for_the_first_time() -> None:
    """The read under way is enough."""
    LossyBackend.answers.clear()
    async with connect(Quitter) as ws:
        await backend().asked.wait()
        backend().resumed(["room.a"])
        hub()._readings.look()  # type: ignore[union-attr]  # noqa: SLF001  # it comes every minute
        backend().answers.set()
        await ws.settle()
        assert len(backend().reads) == 1


async def test_a_read_that_is_asked_for_while_another_fails() -> None:
    """Whoever waits for either gets what the next one says."""
    LossyBackend.answers.clear()
    LossyBackend.failures[:] = [OSError("gone")]
    async with page(Quitter) as one:
        await backend().asked.wait()
        async with page(Quitter) as two:
            await two.settle()
            backend().answers.set()
            assert (await joined(one))[1] == (await joined(two))[1] == 0
    assert [list(read) for read in backend().reads] == [["room.a"]] * 2


async def test_several_groups_are_looked_after() -> None:
    """Until nobody is in any of them."""

    class Rooms(WebsocketConsumer):
        async def connect(self) -> None:
            await self.join("room.a")
            await self.join("room.b")

        async def receive(self, data: str | bytes) -> None:
            await self.leave(str(data))

    async with page(Rooms) as ws:
        await joined(ws)
        await joined(ws)
        readings = hub()._readings  # noqa: SLF001  # what is inside is what is tested
        assert readings is not None
        await ws.send("room.a")
        await until(lambda: hub().size("room.a") == 0)
        backend().losing = 1
        await abroadcast("room.b", "lost")
        readings.look()
        assert await frame(ws) == ({"group": "room.b", "offset": 1}, "lost")
        await ws.send("room.b")
        await until(lambda: hub().size("room.b") == 0)
        assert readings._timer is None  # noqa: SLF001  # what is inside is what is tested


async def test_a_reset_that_takes_for_ever_ends_with_its_connection() -> None:
    """It is cancelled like any hook of a group."""
    ended: list[str] = []

    class Endless(Resetting):
        async def group_reset(self, group: str) -> None:
            try:
                await asyncio.Event().wait()
            finally:
                ended.append(group)

    async with connect(Endless) as ws:
        await abroadcast("room.a", "one")
        assert await ws.receive() == "one"
        backend().histories.clear()
        await abroadcast("room.a", "two")
        await ws.settle()
    assert ended == ["room.a"]


async def test_what_is_dropped_of_a_group_that_keeps_nothing() -> None:
    """There is nothing to tell: nobody was promised it."""

    class News(WebsocketConsumer):
        outbox_policy = "drop_newest"
        outbox_limit = 300

        async def connect(self) -> None:
            await self.join("news")

    async with page(News) as ws:
        ws.pause()
        before = counters["outbox_dropped"]
        for number in range(5):
            await abroadcast("news", f"{number}" * 100)
        await until(lambda: counters["outbox_dropped"] > before)
        ws.resume()
        assert await frame(ws) == ({"group": "news"}, "0" * 100)


def test_a_backend_that_nobody_listens_to() -> None:
    """It may say that it is subscribed anew; nothing comes of it."""
    LossyBackend("", "", {}).resumed(["room.a"])


async def test_what_a_codec_can_not_say(caplog: pytest.LogCaptureFixture) -> None:
    """It is passed over with a log line, live and when it is handed over; what follows comes."""
    async with page(Packed) as ws:
        epoch, _ = await joined(ws)
        await backend().append("room.a", b"\x13\x00{nonsense", Keep(KEEP, 60), None)
        await abroadcast("room.a", Said(text="hi"))
        assert (await frame(ws))[0]["offset"] == 2
        async with page(Packed, at={"room.a": (epoch, 0)}) as back:
            assert (await frame(back))["offset"] == 0
            assert (await frame(back))[0]["offset"] == 2
    assert "Refused what came for the group 'room.a'" in caplog.text


async def test_a_typed_consumer_that_hears_its_group() -> None:
    """What its ``group_message()`` handled is counted too."""

    class Hearing(Typed):
        async def group_message(self, group: str, data: Any) -> None:
            await self.send(Said(text=f"heard {data.text}"))

    async with page(Hearing) as ws:
        await joined(ws)
        await abroadcast("room.a", Said(text="hi"))
        assert b"heard hi" in as_bytes(await ws.receive())
        assert await frame(ws) == {"group": "room.a", "offset": 1, "skip": True}


async def test_a_client_that_is_ahead_of_this_process() -> None:
    """What another process has heard, and this one not, is read before the client is answered."""
    async with page() as ws:
        epoch, _ = await joined(ws)
        await abroadcast("room.a", "one")
        async with page(at={"room.a": (epoch, 0)}) as deep:
            assert (await frame(deep))["offset"] == 0
        backend().losing = 1
        await abroadcast("room.a", "two")
        async with page(at={"room.a": (epoch, 2)}) as back:
            assert await frame(back) == {"joined": "room.a", "epoch": epoch, "offset": 2}
