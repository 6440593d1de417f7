"""A server that is asked to stop, or killed, under load."""

import asyncio
import os
import signal
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from tests.attacks.sockets import Pair, open_socket, sockets
from tests.attacks.table import Finding, attack
from tests.servers.harness import PATIENCE, Server, frame, new_key, running

BOUND = 20.0
"""Seconds within which a server must have exited."""

RESTART = b"\x88\x02\x03\xf4"
ECHO = b"\x81\x04echo"


async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> tuple[int, bool]:
    """Send, and await the echo, until the end; return how many came, and whether 1012 did."""
    echoes = 0
    with suppress(ConnectionError, asyncio.IncompleteReadError):
        while True:
            writer.write(frame(1, b"echo"))
            head = await reader.readexactly(2)
            if head[0] == RESTART[0]:
                return echoes, head + await reader.readexactly(2) == RESTART
            assert head + await reader.readexactly(4) == ECHO
            echoes += 1
    return echoes, False


async def under_load(clients: list[Pair]) -> list[asyncio.Task[tuple[int, bool]]]:
    """Let clients talk, and return once they do."""
    talking = [asyncio.create_task(talk(*client)) for client in clients]
    await asyncio.sleep(1)  # of load
    return talking


@attack(
    "{count} send and read echoes at SIGTERM: told 1012, disconnect(), exit", full=200, quick=20
)
async def sigterm_under_load(server: Server, count: int) -> Finding:
    key = new_key()
    async with sockets(server, f"/ws/echo/{key}/", count) as clients:
        talking = await under_load(clients)
        began = time.monotonic()
        server.terminate()
        has_exited = await asyncio.to_thread(server.has_exited, BOUND)
        seconds = time.monotonic() - began
        for _, writer in clients:
            writer.transport.abort()
        told = sum(is_told for _, is_told in await asyncio.gather(*talking))
    left = len(server.journal.story(key).disconnects)
    end = f"{seconds:.1f} s" if has_exited else f"not in {BOUND:.0f} s"
    is_good = has_exited and (told, left) == (count, count)
    return Finding(f"{told} told, {left} disconnect(), {end}", is_good)


def processes_of(server: Server) -> list[int]:
    """Return what still runs of a server."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            stat = (process / "stat").read_text().rpartition(")")[2].split()
            if int(stat[2]) == server.process.pid and stat[0] != "Z":
                found.append(int(process.name))
    return found


@attack("{count} send and read echoes at SIGKILL: those who notice, what stays", full=200, quick=20)
async def sigkill(server: Server, count: int) -> Finding:
    path = f"/ws/echo/{new_key()}/"
    async with sockets(server, path, count) as clients:
        talking = await under_load(clients)
        began = time.monotonic()
        os.kill(server.process.pid, signal.SIGKILL)
        _, held = await asyncio.wait(talking, timeout=PATIENCE)
        seconds = time.monotonic() - began
        for task in held:
            task.cancel()
    stay = len(processes_of(server))
    with tempfile.TemporaryDirectory() as folder:
        began = time.monotonic()
        with running(server.name, Path(folder), port=str(server.port)) as another:
            pairs = await asyncio.gather(*(open_socket(another, path) for _ in range(count)))
            again = time.monotonic() - began
            for _, writer in pairs:
                writer.transport.abort()
    text = (
        f"{count - len(held)} after {seconds:.1f} s, {stay} processes, "
        f"all back on a new server {again:.1f} s later"
    )
    return Finding(text, not held and not stay)
