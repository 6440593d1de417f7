"""However fast somebody broadcasts, clients that read get everything, and others hold up nobody."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection

from tests.servers.harness import Server, new_key, remaining
from tests.servers.test_flow import narrow, options

COUNT = 400
SIZE = 20_000
"""Eight times what an outbox holds."""

MEMBERS = 3
FORMS = ("plain", "hears", "wrapped")
WAYS = ("one by one", "at once", "thread", "view")
SLOW = 3.0
"""Seconds that members who never read may hold up a publisher, on a machine that is busy."""


def message(number: int) -> bytes:
    return number.to_bytes(4).ljust(SIZE, b".")


@asynccontextmanager
async def listening(server: Server, form: str, group: str) -> AsyncIterator[list[ClientConnection]]:
    """Connect members that read."""
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(
                server.connect(f"/ws/fanout/{form}/{group}/{new_key()}/", compression=None)
            )
            for _ in range(MEMBERS)
        ]


async def publish(server: Server, way: str, group: str, count: int = COUNT) -> float:
    """Broadcast in one of the ways; return the seconds that the publisher took."""
    if way == "view":
        return await asyncio.to_thread(publish_in_view, server, group, count)
    async with server.connect(f"/ws/fanout/plain/{new_key()}/{new_key()}/") as publisher:
        await publisher.send(json.dumps([way, group, count, SIZE]))
        seconds: float = json.loads(await publisher.recv())["seconds"]
        return seconds


def publish_in_view(server: Server, group: str, count: int) -> float:
    with server.http() as http:
        http.request("GET", f"/publish/{group}/{count}/{SIZE}/")
        seconds: float = json.load(http.getresponse())["seconds"]
        return seconds


async def take(member: ClientConnection, count: int) -> list[Any]:
    return [await member.recv() for _ in range(count)]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("form", FORMS)
async def test_a_client_that_reads_gets_everything(server: Server, form: str, way: str) -> None:
    """Members get all of a burst that is much longer than their outbox, in order."""
    group = new_key()
    async with listening(server, form, group) as members:
        publishing = asyncio.create_task(publish(server, way, group))
        for got in await asyncio.gather(*(take(member, COUNT) for member in members)):
            assert got == [message(number) for number in range(COUNT)]
        await publishing


async def test_members_that_answer_each_broadcast(server: Server) -> None:
    """A ``group_message()`` that broadcasts to its own group waits for nobody, itself least."""
    group, count = new_key(), 40
    async with listening(server, "answers", group) as members:
        publishing = asyncio.create_task(publish(server, "one by one", group, count))
        expected = count * (1 + MEMBERS)
        for got in await asyncio.gather(*(take(member, expected) for member in members)):
            assert sum(data.endswith(b"!") for data in got) == count * MEMBERS
            assert [data for data in got if not data.endswith(b"!")] == [
                message(number) for number in range(count)
            ]
        assert await publishing < SLOW


@pytest.mark.parametrize("way", WAYS)
async def test_members_that_never_read_hold_up_a_publisher_once(server: Server, way: str) -> None:
    """They are waited for once in all, then closed with 1013; the others get everything."""
    group, keys = new_key(), [new_key() for _ in range(3)]
    async with AsyncExitStack() as stack:
        members = await stack.enter_async_context(listening(server, "plain", group))
        stalled = [
            await stack.enter_async_context(
                server.connect(f"/ws/fanout/plain/{group}/{key}/", max_queue=1, **options(server))
            )
            for key in keys
        ]
        publishing = asyncio.create_task(publish(server, way, group))
        for got in await asyncio.gather(*(take(member, COUNT) for member in members)):
            assert got == [message(number) for number in range(COUNT)]
        assert await publishing < SLOW
        for member in stalled:
            got = await remaining(member)
            assert got == [message(number) for number in range(len(got))]
            assert len(got) < COUNT
            assert member.close_code == 1013


async def trickle(reader: asyncio.StreamReader, until: asyncio.Event) -> None:
    """Read 1 kB/s until something has happened, and then all that is left, to the close frame."""
    while not until.is_set():
        await reader.readexactly(100)
        with suppress(TimeoutError):
            await asyncio.wait_for(until.wait(), 0.1)
    last = b""
    while b"too slow" not in last:
        last = last[-8:] + await reader.readexactly(1)
        last += await reader.read(1 << 16)


async def test_members_that_read_at_1_kb_a_second_delay_nobody(server: Server) -> None:
    """They meet their policy as those do that never read, and hold up a publisher as little."""
    group, keys, is_published = new_key(), [new_key() for _ in range(3)], asyncio.Event()
    async with AsyncExitStack() as stack:
        members = await stack.enter_async_context(listening(server, "plain", group))
        trickling = []
        for key in keys:
            path = f"/ws/fanout/plain/{group}/{key}/"
            raw = server.raw(path, sock=narrow(server), limit=1 << 10)
            reader, _ = await stack.enter_async_context(raw)
            trickling.append(asyncio.create_task(trickle(reader, is_published)))
        publishing = asyncio.create_task(publish(server, "one by one", group))
        for got in await asyncio.gather(*(take(member, COUNT) for member in members)):
            assert got == [message(number) for number in range(COUNT)]
        assert await publishing < SLOW
        is_published.set()
        await asyncio.gather(*trickling)
        await stack.aclose()
        for key in keys:
            assert (await server.ended(key)).disconnects == [(1013, "too slow")]
