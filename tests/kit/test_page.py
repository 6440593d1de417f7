"""``test/page.py``: a page that outlives its sockets, in tests of groups that keep."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from wsconsumer import Group, WebsocketConsumer, abroadcast
from wsconsumer.connection.heartbeats import PERIOD
from wsconsumer.groups import declared, reloads
from wsconsumer.groups.histories import histories
from wsconsumer.test import Page, WebsocketClient, advance, connect

if TYPE_CHECKING:
    from collections.abc import Iterator


class Room(WebsocketConsumer):
    """Joins a group that keeps, and says to others what it is told."""

    async def connect(self) -> None:
        await self.join("room.a")

    async def receive(self, data: str | bytes) -> None:
        await self.broadcast("room.a", data, include_self=False)


@pytest.fixture(autouse=True)
def _rooms() -> Iterator[None]:
    with declared.only():
        Group("room.{slug}", keep=3)
        yield


async def test_a_page_that_loses_its_connection() -> None:
    """It comes back to what it missed, and sees no frames of ours."""
    page = Page()
    async with connect(Room, page=page) as ws:
        await abroadcast("room.a", "one")
        assert await ws.receive() == "one"
        await ws.vanish()
    await abroadcast("room.a", b"two")
    async with connect(Room, page=page) as ws:
        assert await ws.receive() == b"two"
        await abroadcast("room.a", "three")
        assert await ws.receive() == "three"
    assert page.reloads == []
    assert page.at["room.a"][1] == 3


async def test_a_page_that_has_to_reload() -> None:
    """It is told when the history can't say what it missed."""
    page = Page()
    async with connect(Room, page=page) as ws:
        await ws.settle()
    histories.clear()
    async with connect(Room, page=page) as ws:
        await ws.settle()
        assert page.reloads == ["room.a"]
        assert page.reload_seconds == 0


async def test_many_pages_that_have_to_reload(monkeypatch: pytest.MonkeyPatch) -> None:
    """The last one was told over how many seconds they spread that."""
    monkeypatch.setattr(reloads, "PER_SECOND", 0.1)  # so that three are many
    pages = [Page() for _ in range(3)]
    async with connect(Room, page=pages[0]) as ws:
        await ws.settle()
    for page in pages:
        page.at = pages[0].at.copy()
    histories.clear()
    async with connect(Room):
        for page in pages:
            async with connect(Room, page=page) as ws:
                await ws.settle()
            assert page.reloads == ["room.a"]
    assert pages[-1].reload_seconds > 10


async def test_a_page_that_was_not_asked_where_it_was() -> None:
    """A consumer that does not resume leaves a gap, and the page knows."""

    class Fresh(Room):
        async def connect(self) -> None:
            await self.join("room.a", resume=False)

    page = Page()
    async with connect(Fresh, page=page) as ws:
        await ws.settle()
    await abroadcast("room.a", "missed")
    async with connect(Fresh, page=page) as ws:
        await ws.settle()
        assert page.reloads == ["room.a"]


async def test_what_it_said_itself() -> None:
    """It counts, and is not seen."""
    page = Page()
    async with connect(Room, page=page) as ws:
        await ws.send("mine")
        await ws.settle()
        await ws.expect_nothing()
    assert page.at["room.a"][1] == 1


@pytest.mark.parametrize("data", ["plain", b"plain", "\x1emarked", b"\x1emarked"])
async def test_what_looks_like_a_frame(data: Any) -> None:
    """The application's own messages go both ways as they are."""

    class Echo(WebsocketConsumer):
        async def receive(self, data: str | bytes) -> None:
            await self.send(data)

    async with connect(Echo, path="/?a=b", page=Page()) as ws:
        await ws.send(data)
        assert await ws.receive() == data


async def test_heartbeats_are_answered() -> None:
    """The test sees neither the heartbeat nor its answer."""
    async with connect(Room, page=Page()) as ws:
        await advance(PERIOD + 1)
        await ws.settle()
        await ws.expect_nothing()


async def test_a_consumer_with_another_subprotocol() -> None:
    """Then the page is a client like any other."""

    class Other(WebsocketConsumer):
        async def connect(self) -> None:
            await self.accept(subprotocol="other")

        async def receive(self, data: str | bytes) -> None:
            await self.send(data)

    async with connect(Other, subprotocols=["other"], page=Page()) as ws:
        await ws.send("hello")
        assert await ws.receive() == "hello"


async def test_a_whole_project() -> None:
    """``WebsocketClient.connect()`` takes a page too."""
    async with WebsocketClient().connect("/ws/nowhere/", page=Page()) as ws:
        assert await ws.receive_close() == 4504
