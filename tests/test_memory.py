"""When a connection has ended nothing holds it: its memory is free without the collector."""

from __future__ import annotations

import asyncio
import gc
import logging
import weakref
from typing import TYPE_CHECKING, Any

import pytest

from tests.fakes import CONNECT, KnownServer, Wire, disconnect, scope, text
from wsconsumer import WebsocketConsumer, abroadcast
from wsconsumer.connection.monitor import monitor

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wsconsumer.protocol import Event


class Plain(WebsocketConsumer):
    """Does what its messages say."""

    seen: list[weakref.ref[Any]] = []  # noqa: RUF012  # each test gives its own

    async def connect(self) -> None:
        session = self._wsconsumer
        self.seen += [weakref.ref(self), weakref.ref(session)]
        await self.accept()
        self.seen.append(weakref.ref(session.connection))

    async def receive(self, data: str | bytes) -> None:
        match data:
            case "raise":
                raise ValueError(data)
            case "close":
                await self.close(4000)
            case "hang":
                await asyncio.get_running_loop().create_future()


class Member(Plain):
    """Is in a group."""

    async def connect(self) -> None:
        await super().connect()
        await self.join("room")
        assert self._wsconsumer.member is not None
        self.seen.append(weakref.ref(self._wsconsumer.member))


class Left(Member):
    """Was in a group."""

    async def connect(self) -> None:
        await super().connect()
        await self.leave("room")


class Hearing(Member):
    """Hears its group itself."""

    async def group_message(self, group: str, data: Any) -> None:
        await super().group_message(group, data)


class FailingToHear(Member):
    """Fails when it hears its group."""

    async def group_message(self, group: str, data: Any) -> None:
        raise ValueError(data)


class Spawning(Plain):
    """Has tasks: one that ended, one that goes on."""

    async def connect(self) -> None:
        await super().connect()
        self.spawn(asyncio.sleep(0))
        self.spawn(self.go_on())

    async def go_on(self) -> None:
        await asyncio.get_running_loop().create_future()


class Limited(Plain):
    """Has all the limits that are off by default."""

    idle_timeout = 60
    max_lifetime = 60
    rate_limit = "9/s"


class Flooded(Limited):
    """Gets more messages than it takes."""

    rate_limit = "1/h"


class FailingTask(Plain):
    """Has a task that fails."""

    async def connect(self) -> None:
        await super().connect()
        self.spawn(self.fail())

    async def fail(self) -> None:
        raise ValueError


@pytest.fixture(autouse=True)
def _no_collector() -> Iterator[None]:
    # pytest keeps every log record, and with it every frame of its traceback.
    logging.disable()
    gc.collect()
    gc.disable()
    yield
    gc.enable()
    logging.disable(logging.NOTSET)


class FailingServer(Wire):
    """Takes no message once the connection is open."""

    async def send(self, message: Event) -> None:
        if message["type"] == "websocket.send":
            raise OSError
        await super().send(message)


@pytest.mark.parametrize(
    "kind",
    [Plain, Member, Left, Hearing, FailingToHear, Spawning, Limited, Flooded, FailingTask],
)
@pytest.mark.parametrize("server", [Wire, KnownServer, FailingServer])
@pytest.mark.parametrize(
    "messages",
    [[], ["raise"], ["close"], ["close", "late"]],
    ids=["leaves", "raises", "closes", "closes-first"],
)
async def test_nothing_holds_a_connection_that_ended(
    kind: type[Plain], server: type[Wire], messages: list[str]
) -> None:
    """Consumer, session, connection and member are gone, however it ended."""
    seen: list[weakref.ref[Any]] = []
    wire = server(CONNECT)
    task = asyncio.create_task(kind.as_asgi(seen=seen)(scope(), wire.receive, wire.send))
    await wire.until_sent(1)
    await abroadcast("room", "hello")
    await abroadcast("room", "again")
    wire.put(*map(text, messages), disconnect())
    async with asyncio.timeout(5):
        await task
    del task, wire
    await asyncio.sleep(0)
    assert seen
    assert [ref() for ref in seen if ref() is not None] == []


@pytest.mark.parametrize("ending", ["interrupted", "cancelled", "read ahead"])
async def test_nothing_holds_a_hook_that_was_cancelled(ending: str) -> None:
    """Nor is anything left of a hook that ran long."""
    seen: list[weakref.ref[Any]] = []
    wire = Wire(CONNECT, text("hang"))
    task = asyncio.create_task(Member.as_asgi(seen=seen)(scope(), wire.receive, wire.send))
    await wire.until_sent(1)
    if ending == "cancelled":
        task.cancel()
        wire.put(disconnect(1012))
    else:
        if ending == "read ahead":
            wire.put(text("more"))
        wire.put(disconnect())
        for _ in range(3):
            await asyncio.sleep(0)
            monitor().tick()
    async with asyncio.timeout(5):
        await asyncio.wait([task])
    del task, wire
    await asyncio.sleep(0)
    assert [ref() for ref in seen if ref() is not None] == []


@pytest.mark.parametrize("kind", [Plain, Member])
@pytest.mark.parametrize("server", [Wire, KnownServer])
async def test_nothing_holds_a_connection_whose_time_was_over(
    kind: type[Plain], server: type[Wire]
) -> None:
    """Nor is anything left of what closed it."""
    seen: list[weakref.ref[Any]] = []

    class Expired(kind):  # type: ignore[misc,valid-type]  # the parameter
        def setup(self, *args: Any, **kwargs: Any) -> None:
            super().setup(*args, **kwargs)
            self._wsconsumer.expire_at(0)

    wire = server(CONNECT)
    task = asyncio.create_task(Expired.as_asgi(seen=seen)(scope(), wire.receive, wire.send))
    await wire.until_sent(1)
    await asyncio.sleep(0)
    monitor().tick()
    await wire.until_sent(2)
    wire.put(disconnect(4401))
    async with asyncio.timeout(5):
        await task
    del task, wire
    await asyncio.sleep(0)
    assert seen
    assert [ref() for ref in seen if ref() is not None] == []


async def test_nothing_holds_a_connection_that_was_denied() -> None:
    """A consumer that rejects leaves nothing either."""
    seen: list[weakref.ref[Any]] = []

    class Denying(WebsocketConsumer):
        async def connect(self) -> None:
            seen.append(weakref.ref(self))
            await self.reject()

    wire = Wire(CONNECT)
    await Denying.as_asgi()(scope(), wire.receive, wire.send)
    assert [ref() for ref in seen] == [None]
