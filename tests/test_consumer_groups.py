"""The verbs of groups on a consumer: ``join``, ``leave``, ``broadcast``, and ``groups``."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from asgiref.sync import async_to_sync, sync_to_async

from tests.fakes import CONNECT, Wire, disconnect, run, scope, text
from wsconsumer import ConnectionClosed, TooManyGroups, WebsocketConsumer, abroadcast, broadcast
from wsconsumer.groups.hub import hub
from wsconsumer.test import connect


class Rooms(WebsocketConsumer):
    """Does what the client says: a verb and a group."""

    max_groups = 2
    seen: Any = None

    async def receive(self, data: str | bytes) -> None:
        verb, group = str(data).split()
        if verb == "say":
            await self.broadcast(group, f"{group}!")
        elif verb == "join":
            await self.join(group)
        else:
            await self.leave(group)
        await self.send(" ".join(sorted(self.groups)))


async def test_join_leave_and_groups() -> None:
    """``groups`` are the names of those that the connection is in."""
    async with connect(Rooms) as ws:
        for order, groups in [
            ("leave a", ""),
            ("join a", "a"),
            ("join b", "a b"),
            ("join b", "a b"),
            ("leave a", "b"),
            ("leave a", "b"),
        ]:
            await ws.send(order)
            assert await ws.receive() == groups


async def test_before_any_join() -> None:
    """A connection that never joined is in no group, and may broadcast all the same."""
    async with connect(Rooms) as one, connect(Rooms) as two:
        await one.send("join a")
        assert await one.receive() == "a"
        await two.send("say a")
        assert await two.receive() == ""
        assert await one.receive() == "a!"


async def test_a_broadcast_comes_back_to_its_sender() -> None:
    """A member that broadcasts gets it like every other, unless it says otherwise."""

    class Speaker(WebsocketConsumer):
        async def connect(self) -> None:
            await self.join("a")

        async def receive(self, data: str | bytes) -> None:
            if data == "others":
                await self.broadcast("a", data, include_self=False)
            else:
                await self.broadcast("a", data)

    async with connect(Speaker) as one, connect(Speaker) as two:
        for data in ("all", "others", "all again"):
            await one.send(data)
        assert [await one.receive() for _ in range(2)] == ["all", "all again"]
        assert [await two.receive() for _ in range(3)] == ["all", "others", "all again"]


async def test_include_self_of_one_that_never_joined() -> None:
    """It is no member, so there is nobody to leave out."""

    class Speaker(WebsocketConsumer):
        async def receive(self, data: str | bytes) -> None:
            await self.broadcast("a", data, include_self=False)

    async with connect(Rooms) as one, connect(Speaker) as two:
        await one.send("join a")
        assert await one.receive() == "a"
        await two.send("hello")
        assert await one.receive() == "hello"


@pytest.mark.parametrize("group", ["", "a\n", 7])
async def test_names_are_checked(group: Any) -> None:
    """Each verb refuses what is no name."""
    errors: list[Exception] = []

    class Wrong(WebsocketConsumer):
        async def connect(self) -> None:
            for call in (self.join(group), self.leave(group), self.broadcast(group, "")):
                try:
                    await call
                except (TypeError, ValueError) as error:
                    errors.append(error)

    await run(Wrong.as_asgi(), disconnect())
    assert len(errors) == 3


async def test_too_many_groups() -> None:
    """The limit is the class's; the error can be caught, and the connection stays."""

    class Greedy(Rooms):
        async def receive(self, data: str | bytes) -> None:
            try:
                await super().receive(data)
            except TooManyGroups:
                await self.send("too many")

    async with connect(Greedy) as ws:
        for group, answer in [("a", "a"), ("b", "a b"), ("c", "too many"), ("b", "a b")]:
            await ws.send(f"join {group}")
            assert await ws.receive() == answer


async def test_too_late_to_join() -> None:
    """Once the connection is closing, ``join`` raises; ``leave`` does not."""

    class Late(WebsocketConsumer):
        error: BaseException | None = None

        async def receive(self, data: str | bytes) -> None:
            await self.join("a")
            await self.close(4000)
            with pytest.raises(ConnectionClosed, match=r"Late\.join\(\) needs an open connection"):
                await self.join("b")
            await self.leave("a")

    async with connect(Late) as ws:
        await ws.send("x")
        await ws.settle()
        assert ws.close_code == 4000


async def test_join_after_a_rejection() -> None:
    """Who was rejected has no more groups to join."""
    raised: list[str] = []

    class Rejected(WebsocketConsumer):
        async def connect(self) -> None:
            await self.reject()
            try:
                await self.join("a")
            except Exception as error:  # noqa: BLE001  # its text is looked at
                raised.append(str(error))

    await run(Rejected.as_asgi())
    assert raised == ["Rejected.join() comes too late: reject(403) was called."]


class Leaver(WebsocketConsumer):
    """Says goodbye to the groups that it was in."""

    async def connect(self) -> None:
        await self.join("a")

    async def receive(self, data: str | bytes) -> None:
        raise RuntimeError("deliberate")

    async def disconnect(self, code: int, reason: str) -> None:
        for group in self.groups:
            await self.broadcast(group, f"left with {code}")


@pytest.mark.parametrize(
    ("event", "code"), [(disconnect(1001), 1001), (disconnect(1006), 1006), (text("x"), 1011)]
)
async def test_membership_ends_with_the_connection(event: dict[str, Any], code: int) -> None:
    """``disconnect()`` still knows the groups, however it came to it; afterwards it is in none."""
    async with connect(Rooms) as ws:
        await ws.send("join a")
        assert await ws.receive() == "a"
        await run(Leaver.as_asgi(), event, disconnect())
        assert await ws.receive() == f"left with {code}"
        assert hub().size("a") == 1


async def test_membership_ends_with_a_cancellation() -> None:
    """A server that stops leaves no member behind."""
    wire = Wire(CONNECT)
    task = asyncio.create_task(Leaver.as_asgi()(scope(), wire.receive, wire.send))
    await wire.until_sent(1)
    task.cancel()
    wire.put(disconnect())
    with pytest.raises(asyncio.CancelledError):
        await task
    assert hub().size("a") == 0


async def test_membership_ends_if_disconnect_fails() -> None:
    """Nor does an exception in ``disconnect()``."""

    class Fails(Leaver):
        async def disconnect(self, code: int, reason: str) -> None:
            raise RuntimeError("deliberate")

    await run(Fails.as_asgi(), disconnect())
    assert hub().size("a") == 0


async def test_from_a_sync_hook_helper() -> None:
    """Sync code of a consumer, and a sync view with ``async_to_sync``, can broadcast too."""

    class Saves(WebsocketConsumer):
        async def connect(self) -> None:
            await self.join("a")

        async def receive(self, data: str | bytes) -> None:
            await sync_to_async(broadcast)("a", f"sync {data!r}")

    async with connect(Saves) as ws:
        await ws.send("x")
        assert await ws.receive() == "sync 'x'"
        await asyncio.to_thread(async_to_sync(abroadcast), "a", "view")
        assert await ws.receive() == "view"
