"""Clients and consumers that misbehave, one at a time."""

import asyncio
import time
from contextlib import suppress

from websockets.exceptions import ConnectionClosed, InvalidHandshake

from tests.attacks.table import BOUND, MIB, Finding, attack, grown, memory
from tests.servers.harness import PATIENCE, NothingHappened, Server, frame, new_key, remaining


async def pour(server: Server, path: str, chunk: bytes, size: int, first: bytes = b"") -> Finding:
    """Send the chunk again and again from a client that never reads, until it is not taken."""
    async with server.raw(path, patience=60, limit=1 << 10) as (_, writer):
        before, sent = memory(server), 0
        writer.write(first)
        highest = before
        with suppress(TimeoutError, OSError):
            while sent < size:
                writer.write(chunk)
                async with asyncio.timeout(1):
                    await writer.drain()
                sent += len(chunk)
                highest = max(highest, memory(server))
        writer.transport.abort()
    growth = max(highest, memory(server)) - before
    return Finding(f"+{growth / MIB:.0f} MiB for {sent / MIB:.0f} MiB", growth < BOUND)


async def time_to_end(server: Server, key: str, event: str) -> Finding:
    """Say how long it takes until something has happened."""
    begin = time.monotonic()
    try:
        await server.journal.wait(key, event=event)
    except NothingHappened:
        return Finding(f"not in {PATIENCE:.0f} s", is_bounded=False)
    return Finding(f"after {time.monotonic() - begin:.1f} s", is_bounded=True)


@attack("sends 40 messages and closes while a hook runs: the hook is cancelled")
async def closes_behind_messages(server: Server) -> Finding:
    key = new_key()
    websocket = await server.open(f"/ws/waits-in-receive/{key}/")
    for _ in range(40):
        await websocket.send("x")
    await server.journal.wait(key, event="wait began")
    closing = asyncio.create_task(websocket.close())
    finding = await time_to_end(server, key, "wait ended")
    await closing
    return finding


@attack("sends 5,000 messages and vanishes while a hook runs: the hook is cancelled")
async def vanishes_behind_messages(server: Server) -> Finding:
    key = new_key()
    async with server.raw(f"/ws/waits-in-receive/{key}/") as (_, writer):
        writer.write(frame(1, b"x") * 5000)
        await server.journal.wait(key, event="wait began")
        await writer.drain()
    return await time_to_end(server, key, "wait ended")


@attack("leaves a spawned task that swallows its cancellation: disconnect() runs")
async def keeps_a_task(server: Server) -> Finding:
    key = new_key()
    async with server.connect(f"/ws/keeps-a-task/{key}/"):
        pass
    return await time_to_end(server, key, "disconnect")


@attack("makes a hook raise SystemExit: what the client gets")
async def exits(server: Server) -> Finding:
    websocket = await server.open(f"/ws/exits/receive/{new_key()}/")
    await websocket.send("--help")
    await remaining(websocket)
    is_alive = not server.has_exited(within=0.5)
    text = f"{websocket.close_code}{'' if is_alive else ', the server ends'}"
    return Finding(text, is_alive and websocket.close_code == 1011)


@attack("never reads and floods pings")
async def floods_pings(server: Server) -> Finding:
    chunk = frame(9, bytes(125)) * 1000
    return await pour(server, f"/ws/echo/{new_key()}/", chunk, 30 * MIB)


@attack("sends a message in fragments of a byte")
async def fragments(server: Server) -> Finding:
    first, chunk = frame(1, b"x", fin=False), frame(0, b"x", fin=False) * 10_000
    return await pour(server, f"/ws/echo/{new_key()}/", chunk, 24 * MIB, first)


@attack("floods messages while a hook runs")
async def floods_messages(server: Server) -> Finding:
    chunk = frame(1, bytes(125)) * 1000
    return await pour(server, f"/ws/waits-in-receive/{new_key()}/", chunk, 60 * MIB)


@attack("never reads what is sent to it without end")
async def never_reads(server: Server) -> Finding:
    key = new_key()
    async with server.raw(f"/ws/pours/2000/65536/{key}/", limit=1 << 10):
        before = memory(server)
        await server.journal.count(key, "poured")
        return Finding(*grown(server, before))


@attack("sends 64 MiB of zeros, which compress to 64 KiB: its close code")
async def compresses(server: Server) -> Finding:
    before, key = memory(server), new_key()
    websocket = await server.open(f"/ws/echo/{key}/", compression="deflate")
    highest, sending = before, asyncio.create_task(websocket.send(bytes(64 * MIB)))
    while not sending.done():
        highest = max(highest, await asyncio.to_thread(memory, server))
        await asyncio.wait([sending], timeout=0.02)
    with suppress(ConnectionClosed):
        await sending
    async with asyncio.timeout(PATIENCE):
        await remaining(websocket)
    growth = max(highest, memory(server)) - before
    is_compressed = "deflate" if websocket.protocol.extensions else "not compressed"
    text = f"{websocket.close_code}, {growth / MIB:+.0f} MiB at the most, {is_compressed}"
    return Finding(text, websocket.close_code == 1009 and growth < 2 * BOUND)


@attack("is denied: what the server logs about the application")
async def is_denied(server: Server) -> Finding:
    before, key = len(server.output.all()), new_key()
    with suppress(InvalidHandshake):
        await server.open(f"/ws/reject/{key}/")
    await server.ended(key)

    def complains(lines: list[str]) -> bool:
        return any("ERROR" in line or "without completing" in line for line in lines[before:])

    has_complained = await asyncio.to_thread(server.output.wait, complains, 0.5)
    return Finding("an error" if has_complained else "nothing", not has_complained)
