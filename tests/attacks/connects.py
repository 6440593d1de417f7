"""Clients that come and leave in five ways: nothing of them stays."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress

from tests.attacks.table import BOUND, MIB, Finding, attack, memory
from tests.servers.harness import HOST, PATIENCE, Server, frame

AT_ONCE = 20
SPARE = 8
"""Tasks and files that a server may have more in the end: threads, kept connections, a database."""

CLOSE = frame(8, (1000).to_bytes(2))
Leave = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def closes(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Leave with a closing handshake."""
    await reader.readuntil(b"\r\n\r\n")
    writer.write(CLOSE)
    await reader.read()


async def ends(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """End the TCP connection without a close frame."""
    await reader.readuntil(b"\r\n\r\n")


async def resets(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Abort the TCP connection."""
    await reader.readuntil(b"\r\n\r\n")
    writer.transport.abort()


async def resets_at_work(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Abort it behind messages that nobody has answered yet."""
    await reader.readuntil(b"\r\n\r\n")
    writer.write(frame(1, b"x") * 50)
    writer.transport.abort()


async def resets_at_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Abort it before the handshake is answered."""
    await asyncio.sleep(0)  # so that the request leaves
    writer.transport.abort()


WAYS: list[Leave] = [closes, ends, resets, resets_at_work, resets_at_once]


async def come_and_go(server: Server, leave: Leave) -> None:
    """Connect once, and leave."""
    request = (
        f"GET /ws/counted/x/ HTTP/1.1\r\nHost: {HOST}:{server.port}\r\n"
        "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    )
    async with asyncio.timeout(PATIENCE):
        reader, writer = await asyncio.open_connection(HOST, server.port)
        writer.write(request.encode())
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            await leave(reader, writer)
        writer.close()


async def crowd(server: Server, count: int) -> None:
    """Let so many come and go, some at the same time, in each way in turn."""
    numbers = iter(range(count))

    async def work() -> None:
        for number in numbers:
            await come_and_go(server, WAYS[number % len(WAYS)])

    async with asyncio.TaskGroup() as tasks:
        for _ in range(AT_ONCE):
            tasks.create_task(work())


def ask(server: Server) -> dict[str, int]:
    """Return the counts of the server."""
    with server.http() as connection:
        connection.request("GET", "/counts/", headers={"Connection": "close"})
        counts: dict[str, int] = json.load(connection.getresponse())
    return counts


async def settled(server: Server) -> dict[str, int]:
    """Return the counts once as many have left as came, or nobody leaves any more."""
    deadline = time.monotonic() + PATIENCE
    while True:
        counts = await asyncio.to_thread(ask, server)
        if counts["connects"] == counts["disconnects"] or time.monotonic() > deadline:
            return counts
        await asyncio.sleep(0.1)  # it is another process: there is no event to wait for


@attack(
    "{count:,} connect and leave in five ways: hooks that ran, what stays", full=20_000, quick=200
)
async def connects(server: Server, count: int) -> Finding:
    await crowd(server, count // 10)  # what is loaded and kept at first is no leak
    first, before = await settled(server), memory(server)
    await crowd(server, count)
    last, growth = await settled(server), memory(server) - before
    tasks, files = (last[name] - first[name] for name in ("tasks", "files"))
    come, gone = (last[name] - first[name] for name in ("connects", "disconnects"))
    text = (
        f"{come:,} connect(), {gone:,} disconnect(), {growth / MIB:+.0f} MiB, "
        f"{files:+} fds, {tasks:+} tasks"
    )
    # Those who leave before the handshake is answered may never be accepted.
    is_complete = come == gone and come >= count * (len(WAYS) - 1) // len(WAYS)
    return Finding(text, is_complete and growth < BOUND and files <= SPARE and tasks <= SPARE)
