"""Clients and consumers that misbehave, against every server: what happens, as one table.

Run it with `python -m tests.servers.attack`. An attack is a coroutine that gets a running server
and returns a `Finding`; decorate one with `@attack(...)` and it is a row.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from websockets.exceptions import InvalidHandshake

from tests.servers.harness import (
    COMMANDS,
    PATIENCE,
    NothingHappened,
    Server,
    frame,
    new_key,
    remaining,
    running,
)

MIB = 1 << 20
BOUND = 16 * MIB
"""What one client may make a server grow by."""


@dataclass(frozen=True)
class Finding:
    """What happened, and whether it stayed within bounds."""

    text: str
    is_bounded: bool

    def __str__(self) -> str:
        return self.text if self.is_bounded else f"**{self.text}**"


Attack = Callable[[Server], Awaitable[Finding]]
ATTACKS: dict[str, Attack] = {}


def attack(situation: str) -> Callable[[Attack], Attack]:
    """Make a coroutine a row of the table."""

    def register(function: Attack) -> Attack:
        ATTACKS[situation] = function
        return function

    return register


def memory(server: Server) -> int:
    """Return the resident bytes of the server's processes."""
    total = 0
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            stat = (process / "stat").read_text().rpartition(")")[2].split()
            if int(stat[2]) == server.process.pid:
                lines = (process / "status").read_text().splitlines()
                sizes = [line.split()[1] for line in lines if line.startswith("VmRSS:")]
                total += sum(map(int, sizes)) * 1024
    return total


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
    websocket = await server.open(f"/ws/exits/{new_key()}/")
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
        growth = memory(server) - before
    return Finding(f"+{growth / MIB:.0f} MiB", growth < BOUND)


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


async def find(server_name: str, function: Attack) -> Finding:
    """Run one attack against a new server, so that none meets what another left behind."""
    with tempfile.TemporaryDirectory() as folder, running(server_name, Path(folder)) as server:
        try:
            return await function(server)
        except Exception as error:  # noqa: BLE001  # whatever it is, it is a finding
            return Finding(f"{type(error).__name__}: {error}".splitlines()[0], is_bounded=False)


def row(*cells: str) -> None:
    """Print one row of the table."""
    print("|", " | ".join(cells), "|", flush=True)  # noqa: T201  # what it is for


async def main() -> None:
    """Run what is asked for, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--server", nargs="+", choices=COMMANDS, default=list(COMMANDS))
    parser.add_argument("--only", default="", help="attacks whose situation contains this text")
    options = parser.parse_args()
    row("A client or consumer that ...", *options.server)
    row(*["---"] * (len(options.server) + 1))
    is_bounded = True
    for situation, function in ATTACKS.items():
        if options.only in situation:
            findings = [await find(server, function) for server in options.server]
            is_bounded &= all(finding.is_bounded for finding in findings)
            row(situation, *map(str, findings))
    sys.exit(not is_bounded)


if __name__ == "__main__":
    asyncio.run(main())
