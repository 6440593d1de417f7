"""
What is said to a group that keeps by a process that does not know it: it has no number, and whoever
missed it is told.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from typing import TYPE_CHECKING, Any

import pytest

from tests.fakes import until
from tests.groups.lossy import LossyBackend
from tests.groups.test_kept import Listener, Quitter, Resetting, Room, frame, joined, page, said
from wsconsumer import Group, WebsocketConsumer, abroadcast
from wsconsumer.counters import counters
from wsconsumer.groups import declared, holes, kept, reconnecting
from wsconsumer.groups.envelope import HOLE_BODY, encode
from wsconsumer.groups.hub import close_hub, hub
from wsconsumer.groups.keeping import Keep
from wsconsumer.messages import MessageConsumer
from wsconsumer.test import advance, connect, real_engine

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from pytest_django import Settings


KEEP = Keep(5, 60)


@pytest.fixture(autouse=True)
async def _lossy(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[None]:
    monkeypatch.setattr(reconnecting, "FIRST_DELAY", 0)
    monkeypatch.setattr(kept, "SURE_AFTER", 2.0)  # so that no heartbeat comes between
    settings.WSCONSUMER = {"GROUPS": {"BACKEND": "tests.groups.lossy.LossyBackend"}}
    LossyBackend.begin()
    with real_engine(), declared.only():
        Group("room.{slug}", keep=KEEP.size)
        yield
        await close_hub()


async def from_old(text: str = "old", group: str = "room.a") -> None:
    """Publish as a process does that does not know that the group keeps."""
    await LossyBackend.made.publish(group, encode(text))


async def hole_of_another(group: str = "room.a") -> None:
    """Leave a hole as another process does."""
    await LossyBackend.made.append(group, HOLE_BODY, KEEP, None)


async def left() -> None:
    """Let the holes be left that are owed."""
    await advance(holes.DELAY[1])


async def top() -> int:
    return (await LossyBackend.made.peek("room.a")).top


async def listen_long() -> None:
    """Let this process be sure that it misses nothing."""
    await advance(kept.SURE_AFTER)


STEPPED = {"group": "room.a", "offset": 1, "skip": True}


async def test_members_who_heard_it_go_on() -> None:
    """They get it live, and count the hole that comes behind it."""
    async with page() as ws:
        await joined(ws)
        await listen_long()
        await from_old()
        assert await frame(ws) == ({"group": "room.a"}, "old")
        await left()
        assert await frame(ws) == STEPPED
        await abroadcast("room.a", "new")
        assert await frame(ws) == said(2, "new")


async def test_who_missed_it_is_told() -> None:
    """A client from before the hole has to reload, one from behind it is whole."""
    async with page() as ws:
        epoch, _ = await joined(ws)
        await from_old()
        await left()
        await abroadcast("room.a", "new")
        async with page(at={"room.a": (epoch, 0)}) as back:
            told = {"joined": "room.a", "epoch": epoch, "offset": 2, "reload": True}
            assert await frame(back) == {**told, "seconds": kept.SPREAD}
        async with page(at={"room.a": (epoch, 1)}) as back:
            assert await frame(back) == {"joined": "room.a", "epoch": epoch, "offset": 1}
            assert await frame(back) == said(2, "new")


async def test_who_comes_to_a_process_that_has_not_heard_it() -> None:
    """What it reads says the same, however deep it reads."""
    async with page() as ws:
        epoch, _ = await joined(ws)
        await abroadcast("room.a", "before")
        await from_old()
        await left()
        await abroadcast("room.a", "new")
    for offset, is_whole in ((0, False), (1, False), (2, True), (3, True)):
        async with page(at={"room.a": (epoch, offset)}) as back:
            assert ("reload" not in await frame(back)) == is_whole, offset


async def test_nobody_is_whole_while_a_hole_is_owed() -> None:
    """Who comes between the broadcast and its hole has missed it, perhaps."""
    async with page() as ws:
        epoch, _ = await joined(ws)
        await from_old()
        async with page(at={"room.a": (epoch, 0)}) as back, page() as new:
            assert (await frame(back))["reload"] is True
            assert await joined(new) == (epoch, 0)
            await left()
            await abroadcast("room.a", "new")
            while (await frame(back)) != said(2, "new"):
                pass


async def test_one_hole_for_many(caplog: pytest.LogCaptureFixture) -> None:
    """However much is said before it; the log has one line, and the counter all."""
    async with page() as ws:
        await joined(ws)
        for number in range(50):
            await from_old(f"{number}")
        await left()
        assert await top() == 1
        await from_old()
        await left()
        assert await top() == 2
    assert counters["broadcast_unnumbered"] == 51
    (line,) = [record.getMessage() for record in caplog.records]
    assert "A broadcast to 'room.a' came without a number" in line
    assert "restart workers" in line


async def test_another_process_was_first() -> None:
    """One hole is enough for all that heard the same."""
    async with page() as ws:
        await joined(ws)
        await listen_long()
        await from_old()
        await hole_of_another()
        await left()
        assert await top() == 1
        assert await frame(ws) == ({"group": "room.a"}, "old")
        assert await frame(ws) == STEPPED
        await hole_of_another()  # of a process that did not know of the first one yet
        assert await frame(ws) == {**STEPPED, "offset": 2}


async def test_a_hole_for_what_was_not_heard() -> None:
    """Members miss what it stands for, and are told."""
    async with page() as ws, page(Resetting) as stateful, page(Listener) as hearing:
        epoch, _ = await joined(ws)
        await listen_long()
        await hole_of_another()
        told = {"joined": "room.a", "epoch": epoch, "offset": 1, "reload": True}
        assert await frame(ws) == {**told, "seconds": kept.SPREAD}
        while (await frame(hearing)) != {**told, "seconds": kept.SPREAD}:
            pass
        while (await frame(stateful)) != {**told, "reload": False}:
            pass
        assert await stateful.receive() == "the state"
        await abroadcast("room.a", "new")
        assert await frame(ws) == said(2, "new")


async def test_something_may_have_been_missed_before_it() -> None:
    """Who was subscribed anew a moment ago can't tell what a hole stands for."""
    async with page() as ws:
        await joined(ws)
        await listen_long()
        LossyBackend.made.resumed(["room.a"])
        await from_old()
        await left()
        assert await frame(ws) == ({"group": "room.a"}, "old")
        assert (await frame(ws))["reload"] is True
        await listen_long()
        await from_old()
        await left()
        assert await frame(ws) == ({"group": "room.a"}, "old")
        assert await frame(ws) == {**STEPPED, "offset": 2}


async def test_a_hole_that_was_lost_on_the_way() -> None:
    """It is read with what came behind it, and stands in its place."""
    async with page() as ws:
        await joined(ws)
        await listen_long()
        LossyBackend.made.losing = 2
        await abroadcast("room.a", "one")
        await hole_of_another()
        await abroadcast("room.a", "three")
        assert await frame(ws) == said(1, "one")
        told = await frame(ws)
        assert (told["offset"], told["reload"]) == (2, True)
        assert await frame(ws) == said(3, "three")


async def test_what_comes_while_the_hole_is_read() -> None:
    """A broadcast that came behind a hole, or before it, has one behind it in the end."""
    async with page() as ws:
        epoch, _ = await joined(ws)
        backend = LossyBackend.made
        backend.answers.clear()
        backend.asked.clear()
        backend.resumed(["room.a"])
        await backend.asked.wait()
        await hole_of_another()
        await from_old()
        backend.answers.set()
        await until(lambda: len(backend.reads) == 2)
        async with page(at={"room.a": (epoch, 1)}) as back:
            assert (await frame(back))["reload"] is True
        await left()
        assert await top() == 2


async def test_its_own_hole_is_lost_on_the_way() -> None:
    """Nobody is whole until it was read; then all is well, and what came meanwhile has another."""
    async with page() as ws:
        epoch, _ = await joined(ws)
        await from_old()
        LossyBackend.made.losing = 1
        await left()
        await from_old()
        assert await top() == 1
        async with page(at={"room.a": (epoch, 0)}) as back:
            assert (await frame(back))["reload"] is True
        readings = hub()._readings  # noqa: SLF001
        assert readings is not None
        readings.look()
        await ws.settle()
        async with page(at={"room.a": (epoch, 1)}) as back:
            assert (await frame(back))["reload"] is True
        await left()
        assert await top() == 2
        async with page(at={"room.a": (epoch, 2)}) as back:
            assert "reload" not in await frame(back)


async def test_its_own_hole_was_read_and_that_is_all() -> None:
    """Who comes back after that is whole."""
    async with page() as ws:
        epoch, _ = await joined(ws)
        await from_old()
        LossyBackend.made.losing = 1
        await left()
        readings = hub()._readings  # noqa: SLF001
        assert readings is not None
        readings.look()
        await ws.settle()
        async with page(at={"room.a": (epoch, 1)}) as back:
            assert "reload" not in await frame(back)


async def test_the_history_is_lost_meanwhile() -> None:
    """A hole in a history that is not known here yet makes nobody whole in the one before."""
    async with page() as ws:
        epoch, _ = await joined(ws)
        backend = LossyBackend.made
        backend.histories.clear()
        await from_old()
        backend.answers.clear()
        backend.asked.clear()
        await left()
        await backend.asked.wait()
        async with page(Quitter, at={"room.a": (epoch, 0)}) as back:
            await back.settle()
            backend.answers.set()
            told = await frame(back)
            assert (told["epoch"] != epoch, told["reload"]) == (True, True)
            await left()
            assert await top() == 2
        async with page(at={"room.a": (told["epoch"], 2)}) as back:
            assert "reload" not in await frame(back)


async def test_everybody_leaves_before_it() -> None:
    """It is left all the same, and asked for when somebody comes back."""
    async with page() as ws:
        epoch, _ = await joined(ws)
        await from_old()
    assert not LossyBackend.made.groups_of(hub())
    async with page(at={"room.a": (epoch, 0)}) as back:
        assert (await frame(back))["reload"] is True
    await left()
    assert await top() == 1
    async with page(at={"room.a": (epoch, 0)}) as back:
        assert (await frame(back))["reload"] is True
    async with page(at={"room.a": (epoch, 1)}) as back:
        assert "reload" not in await frame(back)


async def test_everybody_leaves_behind_it() -> None:
    """A hole that nobody is left to hear is there; what came behind it has another."""
    async with page() as ws:
        await joined(ws)
        await from_old()
        LossyBackend.made.losing = 1
        await left()
        await from_old()
    await left()
    assert await top() == 2
    async with page() as ws:
        await joined(ws)
        await from_old()
        LossyBackend.made.losing = 1
        await left()
    await left()
    assert await top() == 3


async def test_an_engine_that_does_not_take_it(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is tried again; nobody is whole meanwhile."""
    append = LossyBackend.append
    failures = [OSError("gone"), OSError("gone")]

    async def failing(self: LossyBackend, *arguments: Any) -> Any:
        if failures:
            raise failures.pop()
        return await append(self, *arguments)

    monkeypatch.setattr(LossyBackend, "append", failing)
    async with page() as ws:
        epoch, _ = await joined(ws)
        await from_old()
        await left()
        async with page(at={"room.a": (epoch, 0)}) as back:
            assert (await frame(back))["reload"] is True
        await left()
        await left()
        assert await top() == 1
    assert caplog.text.count("could not be marked") == 1


async def test_the_end_of_a_process_leaves_what_it_owes() -> None:
    """At once, since nobody else may have heard."""
    async with page() as ws:
        await joined(ws)
        await from_old()
        await close_hub()
        assert await top() == 1


async def test_the_end_of_a_process_whose_engine_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """It tries once more, and that is all."""
    tried: list[str] = []

    async def failing(self: LossyBackend, group: str, *arguments: Any) -> Any:
        tried.append(group)
        raise OSError("gone")

    monkeypatch.setattr(LossyBackend, "append", failing)
    async with page() as ws:
        await joined(ws)
        await from_old()
        await close_hub()
    assert tried == ["room.a"]


async def test_the_end_of_a_process_does_not_wait_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An engine that takes nothing holds up nobody."""

    async def hanging(self: LossyBackend, *arguments: Any) -> Any:
        await asyncio.Event().wait()

    monkeypatch.setattr(LossyBackend, "append", hanging)
    monkeypatch.setattr(holes, "CLOSE_TIMEOUT", 0.01)
    async with page() as ws:
        await joined(ws)
        await from_old()
        await close_hub()
        assert await top() == 0


async def test_what_can_not_be_read_and_has_no_number() -> None:
    """Nobody here has got it, so the members are told as well."""
    async with page() as ws:
        await joined(ws)
        await listen_long()
        await LossyBackend.made.publish("room.a", b"\xff\x00new")
        await left()
        assert (await frame(ws))["reload"] is True
        assert await top() == 1
    assert counters["body_refused"] == 1


async def test_who_said_it_elsewhere_does_not_get_it() -> None:
    """As in any group; its client counts the hole."""
    async with page(page_id="tab-1") as ws:
        await joined(ws)
        await listen_long()
        await ws.send("mine")
        assert await frame(ws) == STEPPED
        sender_id = hashlib.sha256(b"tab-1").digest()[:12]
        await LossyBackend.made.publish("room.a", encode("mine, too", sender_id))
        await left()
        assert await frame(ws) == {**STEPPED, "offset": 2}


class Typed(MessageConsumer):
    """Hears its group itself."""

    async def connect(self) -> None:
        await self.join("room.a")

    async def group_message(self, group: str, data: Any) -> None:
        await self.send(data)


async def test_a_typed_consumer_that_hears_its_group() -> None:
    """It counts holes, and is told over how many seconds to spread a reload."""
    async with page(Typed) as ws:
        await joined(ws)
        await listen_long()
        await from_old()
        await left()
        assert await ws.receive() == "old"
        assert await frame(ws) == STEPPED
        await listen_long()
        await hole_of_another()
        told = await frame(ws)
        assert (told["offset"], told["reload"], told["seconds"]) == (2, True, kept.SPREAD)


async def test_a_plain_client_hears_nothing_of_it() -> None:
    """It counts nothing."""
    async with connect(Room, allow_unread=True) as ws:
        await from_old()
        await left()
        await abroadcast("room.a", "new")
        assert await ws.receive() == "old"
        assert await ws.receive() == "new"


async def test_a_consumer_that_hears_its_group_counts_it() -> None:
    """Its client's position goes on, without a ``group_message()``."""
    async with page(Listener) as ws:
        await joined(ws)
        await listen_long()
        await from_old()
        await left()
        assert await ws.receive() == "heard old"
        assert await frame(ws) == STEPPED


# Where the group is not declared, or not resumed yet


class Rooms(WebsocketConsumer):
    """Is in two rooms."""

    async def connect(self) -> None:
        await self.join("room.a")
        await self.join("room.b")


async def test_a_process_that_keeps_nothing() -> None:
    """What others number comes without a number, so that no client seems to have come that far."""
    with declared.only():
        async with page(Rooms, at={"room.a": ("e", 3)}) as ws:
            told = {"joined": "room.a", "epoch": "", "offset": 0, "reload": True}
            assert await frame(ws) == {**told, "seconds": kept.SPREAD}
            await LossyBackend.made.append("room.a", encode("new"), KEEP, None)
            assert await frame(ws) == ({"group": "room.a"}, "new")
            await hole_of_another()
            await LossyBackend.made.append("room.b", encode("new"), KEEP, None)
            assert await frame(ws) == ({"group": "room.b"}, "new")
        async with page(at={"room.a": ("", 0)}) as ws:  # it was told
            await abroadcast("room.a", "without a number")
            assert await frame(ws) == ({"group": "room.a"}, "without a number")
        async with page(Listener, at={"room.a": ("e", 3)}) as ws:
            assert (await frame(ws))["reload"] is True
    assert counters["recovery_failed"] == 2


async def test_a_group_that_is_not_resumed_yet() -> None:
    """It is numbered and kept for those who will resume it, and its members count nothing."""
    with declared.only():
        Group("room.{slug}", keep=KEEP.size, resume=False)
        async with page() as ws:
            await abroadcast("room.a", "one", key="k")
            assert await frame(ws) == ({"group": "room.a"}, "one")
            assert await top() == 1
            await ws.expect_nothing()


async def test_the_log_is_not_flooded(caplog: pytest.LogCaptureFixture) -> None:
    """What an old process can't read is one line, however much of it there is."""
    caplog.set_level(logging.WARNING)
    with declared.only():
        async with connect(Room):
            for _ in range(100):
                await LossyBackend.made.publish("room.a", b"\x01e:1:\x11\x00new")
    assert counters["body_refused"] == 100
    assert caplog.text.count("Refused what came") == 1
