"""Crowds at the door: all come back at once, open a handshake byte by byte, or take all files."""

import asyncio
import os
import random
import resource
import time
from contextlib import suppress
from pathlib import Path

from tests.attacks.neighbours import neighbours
from tests.attacks.remains import Remains
from tests.attacks.sockets import Pair, open_socket, request, sockets
from tests.attacks.table import BOUND, MIB, Finding, attack, memory
from tests.servers.harness import HOST, PATIENCE, SOON, Server, new_key

COUNTED = "/ws/counted/x/"
ALL_IN = 30.0
"""Seconds in which everybody must be back, the last after a few attempts."""

CROWDED = 10.0
"""Seconds that a neighbour may wait while so many handshakes are done."""

HELD = 40.0
"""Seconds in which a server that has a timeout for handshakes has dropped a slow one."""


async def come_back(server: Server) -> tuple[Pair, int]:
    """Connect until it is let in, with a pause as our client makes; return how often it was not."""
    refusals = 0
    while True:
        with suppress(OSError):
            return await open_socket(server, COUNTED), refusals
        refusals += 1
        await asyncio.sleep(random.uniform(0.1, 1))  # noqa: S311  # jitter, as a client has it


@attack("{count:,} are dropped and come back at once: all are in", full=2_000, quick=50)
async def reconnects(server: Server, count: int) -> Finding:
    remains = Remains(server)
    async with neighbours(server) as others:
        async with sockets(server, COUNTED, count):
            remains.allow_crowds()
        began = time.monotonic()
        coming = [asyncio.create_task(come_back(server)) for _ in range(count)]
        done, late = await asyncio.wait(coming, timeout=ALL_IN)
        seconds = time.monotonic() - began
        for task in late:
            task.cancel()
        back = [task.result() for task in done]
        for (_, writer), _ in back:
            writer.transport.abort()
    stay, is_clean = await remains.end()
    refusals = sum(refused for _, refused in back)
    text = f"{len(back):,} after {seconds:.1f} s, {refusals:,} refusals, {stay}, {others}"
    is_fair = not others.lost and others.p99 < CROWDED
    return Finding(text, len(back) == count and is_clean and is_fair)


async def drip(server: Server, stopping: asyncio.Event) -> bool:
    """Send a handshake, a byte per second; tell whether the server dropped it."""
    with suppress(OSError):
        reader, writer = await asyncio.open_connection(HOST, server.port, limit=1 << 10)
        ending = asyncio.create_task(reader.read(1))
        stopped = asyncio.create_task(stopping.wait())
        for byte in request(server, COUNTED):
            writer.write(bytes([byte]))
            await asyncio.wait({ending, stopped}, timeout=1, return_when=asyncio.FIRST_COMPLETED)
            if ending.done() or stopped.done():
                break
        dropped = ending.done()
        ending.cancel()
        stopped.cancel()
        writer.transport.abort()
        return dropped
    return True


@attack("{count} send their handshake a byte per second: those held after 40 s", full=500, quick=20)
async def slow_handshakes(server: Server, count: int) -> Finding:
    before = memory(server)
    stopping = asyncio.Event()
    async with neighbours(server) as others:
        dripping = [asyncio.create_task(drip(server, stopping)) for _ in range(count)]
        _, held = await asyncio.wait(dripping, timeout=HELD)
        async with asyncio.timeout(SOON):
            _, writer = await open_socket(server, COUNTED)  # others still get in
        writer.transport.abort()
        growth = memory(server) - before
        stopping.set()
        await asyncio.gather(*dripping)
    text = f"{len(held)} of {count}, {growth / MIB:+.0f} MiB, {others}"
    return Finding(text, not held and growth < BOUND and others.are_well)


@attack("60 come where 20 file descriptors are left: once they have gone, one more")
async def out_of_files(server: Server) -> Finding:
    """The server holds who is there, refuses or keeps waiting who comes, and recovers."""
    pids = [server.process.pid, *children(server.process.pid)]
    async with neighbours(server) as others:
        for pid in pids:
            leave_files(pid, 20)
        coming = [asyncio.create_task(open_socket(server, COUNTED)) for _ in range(60)]
        done, waiting = await asyncio.wait(coming, timeout=SOON)
        for task in waiting:
            task.cancel()
        got_in = [task.result() for task in done if task.exception() is None]
        for _, writer in got_in:
            writer.transport.abort()
        began = time.monotonic()
        is_back = False
        while not is_back and time.monotonic() - began < 2 * PATIENCE:
            with suppress(OSError, TimeoutError):
                async with asyncio.timeout(SOON):
                    _, writer = await open_socket(server, f"/ws/echo/{new_key()}/")
                    writer.transport.abort()
                    is_back = True
    seconds = time.monotonic() - began
    text = f"{'in' if is_back else 'not in'} after {seconds:.1f} s, {len(got_in)} were, {others}"
    return Finding(text, is_back and others.are_well)


def leave_files(pid: int, count: int) -> None:
    """Let a process open so many files more, and no others."""
    limit = len(os.listdir(f"/proc/{pid}/fd")) + count
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (limit, limit))


def children(pid: int) -> list[int]:
    """Return the processes that a process started, and theirs."""
    own = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [found for child in map(int, own) for found in (child, *children(child))]
