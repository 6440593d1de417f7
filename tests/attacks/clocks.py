"""Time that goes wrong: an event loop that stands still, a wall clock that jumps."""

import asyncio
import shutil
import struct
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from websockets.exceptions import ConnectionClosed

from tests.attacks.connects import ask
from tests.attacks.neighbours import neighbours
from tests.attacks.remains import Remains
from tests.attacks.table import Finding, attack
from tests.servers.harness import Server, new_key, running

BLOCKED = 3.0
HOUR = 3600
IDLE_TALKERS = 5
SOURCE = Path(__file__).with_name("clock.c")


class Talkers:
    """Clients of a consumer with ``idle_timeout = 2`` that say something each half second."""

    def __init__(self) -> None:
        self.count = 0
        self.codes: list[int | None] = []

    @property
    def stayed(self) -> int:
        """How many were never closed."""
        return self.count - len(self.codes)


@asynccontextmanager
async def talkers(server: Server) -> AsyncIterator[Talkers]:
    """Let clients talk while the block runs."""
    found = Talkers()
    path = "/ws/counted/idle/x/"
    websockets = [await server.open(path) for _ in range(IDLE_TALKERS)]
    found.count = len(websockets)

    async def talk(number: int) -> None:
        websocket = websockets[number]
        try:
            while True:
                await websocket.send("here")
                await websocket.recv()
                await asyncio.sleep(0.5)  # less than its timeout
        except ConnectionClosed:
            found.codes.append(websocket.close_code)

    talking = [asyncio.create_task(talk(number)) for number in range(found.count)]
    try:
        yield found
    finally:
        for task in talking:
            task.cancel()
        for websocket in websockets:
            websocket.transport.abort()


@attack("a hook blocks the event loop for 3 s: talkers with `idle_timeout = 2` stay, the log")
async def blocked(server: Server) -> Finding:
    remains = Remains(server)
    async with neighbours(server) as others, talkers(server) as talking:
        blocking = await server.open(f"/ws/blocks/{new_key()}/")
        await asyncio.sleep(1)  # a tick must have passed, or the watchdog doesn't know the loop
        await blocking.send(str(BLOCKED))
        await blocking.recv()
        await asyncio.sleep(1)  # in which somebody could be closed for having been silent
        stayed, codes = talking.stayed, talking.codes
        blocking.transport.abort()
    named = bool(server.journal.logged("blocks the event loop"))
    stay, is_clean = await remains.end()
    closed = f", {', '.join(map(str, codes))}" if codes else ""
    log = "the hook named" if named else "no hook named"
    text = f"{stayed} of {talking.count}{closed}, {log}, {stay}, slowest echo {others.worst:.1f} s"
    is_fair = not others.lost and others.worst < BLOCKED + 2
    return Finding(text, stayed == talking.count and named and is_clean and is_fair)


@asynccontextmanager
async def with_a_clock(name: str) -> AsyncIterator[tuple[Server, "Clock"]]:
    """Start a server whose wall clock can be set."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        clock = Clock(folder)
        environment = {"LD_PRELOAD": str(clock.library), "CLOCK_SHIFT": str(clock.file)}
        with running(name, folder, **environment) as server:
            yield server, clock


class Clock:
    """The wall clock of a process."""

    def __init__(self, folder: Path) -> None:
        self.library, self.file = folder / "clock.so", folder / "shift"
        self.set(0)
        command = ["cc", "-shared", "-fPIC", "-O1", "-o", str(self.library), str(SOURCE), "-ldl"]
        subprocess.run(command, check=True)

    def set(self, seconds: int) -> None:
        """Move the clock to so many seconds from the right time."""
        with self.file.open("r+b" if self.file.exists() else "wb") as file:
            file.write(struct.pack("q", seconds))


JUMPS = (HOUR, -HOUR, 25 * HOUR, 0)


@attack("the wall clock jumps by +1 h, -1 h, +25 h and back: those who talk and stay")
async def clock_jumps(server: Server) -> Finding:
    if shutil.which("cc") is None:
        return Finding("skipped: needs a C compiler", is_bounded=True)
    async with with_a_clock(server.name) as (other, clock):
        stayed = []
        for seconds in JUMPS:
            async with neighbours(other) as felt, talkers(other) as talking:
                await asyncio.sleep(1)
                clock.set(seconds)
                wall = (await asyncio.to_thread(ask, other))["wall"]
                assert abs(wall - time.time() - seconds) < 60, "the clock was not moved"
                await asyncio.sleep(4)  # in which a timeout of 2 s would come
                stayed.append(talking.stayed == talking.count)
            stayed[-1] &= not felt.lost
    names = dict(zip(("+1 h", "-1 h", "+25 h", "0"), stayed, strict=True))
    lost = [name for name, stay in names.items() if not stay]
    text = f"all but at {', '.join(lost)}" if lost else "all"
    return Finding(text, not lost)
