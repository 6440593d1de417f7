"""Groups: what is broadcast gets to every member, whatever another member does."""

import asyncio
from contextlib import AsyncExitStack

from websockets.asyncio.client import ClientConnection

from tests.servers.harness import Server, new_key, remaining
from tests.servers.test_flow import SIZE, numbered, options

COUNT = 200
BOUND = 12 * 1024 * 1024
"""How many bytes a member may get that never reads: its outbox, and what both kernels hold."""

assert COUNT * SIZE > BOUND


async def test_members_get_what_is_broadcast(server: Server) -> None:
    """Texts and bytes of two publishers reach all members, in the order of each publisher."""
    group = new_key()
    async with AsyncExitStack() as stack:
        members = [
            await stack.enter_async_context(server.connect(f"/ws/member/{group}/{new_key()}/"))
            for _ in range(5)
        ]
        words = [f"one {number}" for number in range(100)]
        data = [b"two %d" % number for number in range(100)]
        await asyncio.gather(say(members[0], words), say(members[1], data))
        for member in members:
            got = [await member.recv() for _ in range(200)]
            assert [message for message in got if isinstance(message, str)] == words
            assert [message for message in got if isinstance(message, bytes)] == data


async def say(member: ClientConnection, messages: list[str] | list[bytes]) -> None:
    for message in messages:
        await member.send(message)


async def test_a_member_that_never_reads(server: Server) -> None:
    """The others get everything at once; it gets as much as its outbox holds, and then 1013."""
    group, key = new_key(), new_key()
    async with AsyncExitStack() as stack:
        readers = [
            await stack.enter_async_context(
                server.connect(f"/ws/member/{group}/{new_key()}/", compression=None)
            )
            for _ in range(3)
        ]
        path = f"/ws/member/{group}/{key}/"
        stalled = await stack.enter_async_context(
            server.connect(path, max_queue=1, **options(server))
        )
        for number in range(COUNT):
            await readers[0].send(numbered(number))
            for reader in readers:
                assert await reader.recv() == numbered(number)
        got = await remaining(stalled)
        assert got == [numbered(number) for number in range(len(got))]
        assert len(got) * SIZE < BOUND
        assert (stalled.close_code, stalled.close_reason) == (1013, "too slow")
        story = await server.ended(key)
    assert story.disconnects == [(1013, "too slow")]
    assert len(await server.journal.wait_for_log("Member: closing with 1013, the client is")) == 1
