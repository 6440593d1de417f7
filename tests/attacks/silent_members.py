"""Members of a group that never read, beside one that does."""

import asyncio
import time
from contextlib import AsyncExitStack

from tests.attacks.table import MIB, Finding, attack, memory
from tests.servers.harness import Server, new_key

MESSAGES, SIZE = 200, 20_000
PER_MEMBER = 2 * MIB
"""What a member that does not read may cost: its outbox, and what the server keeps."""


def publish(server: Server, group: str, count: int = MESSAGES, size: int = SIZE) -> float:
    """Broadcast from a view; return the seconds that it took."""
    began = time.monotonic()
    with server.http() as connection:
        connection.request("GET", f"/publish/{group}/{count}/{size}/")
        connection.getresponse().read()
    return time.monotonic() - began


@attack(
    "{count} members of a group never read: what one that reads gets, and when", full=100, quick=10
)
async def silent_members(server: Server, count: int) -> Finding:
    group = new_key()
    async with AsyncExitStack() as stack:
        for _ in range(count):
            path = f"/ws/fanout/plain/{group}/{new_key()}/"
            await stack.enter_async_context(server.raw(path, patience=60, limit=1 << 10))
        before = memory(server)
        reader = await stack.enter_async_context(
            server.connect(f"/ws/fanout/plain/{group}/{new_key()}/", compression=None)
        )
        publishing = asyncio.create_task(asyncio.to_thread(publish, server, group))
        began, got = time.monotonic(), 0
        async for message in reader:
            assert message[:4] == got.to_bytes(4)
            got += 1
            if got == MESSAGES:
                break
        seconds = time.monotonic() - began
        await publishing
        growth = memory(server) - before
    text = f"{got} of {MESSAGES} in {seconds:.1f} s, {growth / MIB:+.0f} MiB"
    return Finding(text, got == MESSAGES and growth < count * PER_MEMBER)
