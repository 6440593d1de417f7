"""However fast somebody broadcasts, clients that read get everything, and others hold up nobody."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection

from tests.servers.harness import Server, new_key, remaining
from tests.servers.test_flow import options

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
