"""
Well-behaved clients beside an attack, and what they feel of it.

They run in a process of their own, so that what they measure is the server, and not the attacker.
"""

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from tests.servers.harness import HERE, PATIENCE, Server, new_key

COUNT = 10
PAUSE = 0.02
"""Seconds between the answer to a client's message and its next one."""

PATIENT = 1.0
"""Seconds that one message in a hundred may take, on a machine that has other work as well."""


class Neighbours:
    """What the clients felt, once they have left."""

    def __init__(self) -> None:
        self._seconds: list[float] = []
        self.lost = 0

    def tell(self, seconds: list[float], lost: int) -> None:
        """Keep what they measured: the seconds of each echo, and how many were closed."""
        self._seconds, self.lost = sorted(seconds), lost

    @property
    def p99(self) -> float:
        """The seconds that one echo in a hundred took or exceeded."""
        return self._seconds[len(self._seconds) * 99 // 100]

    @property
    def worst(self) -> float:
        """The seconds of the slowest echo."""
        return self._seconds[-1]

    @property
    def are_well(self) -> bool:
        """Whether they noticed little enough."""
        return not self.lost and self.p99 < PATIENT

    def __str__(self) -> str:
        lost = f", {self.lost} lost" if self.lost else ""
        return f"neighbours p99 {self.p99 * 1000:.0f} ms{lost}"


@asynccontextmanager
async def neighbours(server: Server) -> AsyncIterator[Neighbours]:
    """Let clients send and read echoes as long as the block runs."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.attacks.neighbours", server.url(f"/ws/echo/{new_key()}/")),
        cwd=HERE.parent.parent,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=1 << 24,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    felt = Neighbours()
    try:
        async with asyncio.timeout(PATIENCE):
            assert await process.stdout.readline() == b"ready\n"
        yield felt
        process.stdin.close()
        async with asyncio.timeout(PATIENCE):
            felt.tell(**json.loads(await process.stdout.readline()))
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def live(url: str) -> None:
    """Be the clients, until standard input ends."""
    seconds: list[float] = []
    lost = 0
    stopping = asyncio.Event()
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
    )
    sockets = [await connect(url, ping_interval=None, proxy=None) for _ in range(COUNT)]
    print("ready", flush=True)  # noqa: T201  # what the other process waits for

    async def echo(number: int) -> None:
        nonlocal lost
        while not stopping.is_set():
            began = time.monotonic()
            try:
                await sockets[number].send("neighbour")
                await sockets[number].recv()
            except ConnectionClosed:
                lost += 1
                return
            seconds.append(time.monotonic() - began)
            await asyncio.sleep(PAUSE)  # a client that has nothing to wait for

    tasks = [asyncio.create_task(echo(number)) for number in range(COUNT)]
    await reader.read()
    stopping.set()
    await asyncio.wait(tasks, timeout=PATIENCE / 2)
    print(json.dumps({"seconds": seconds, "lost": lost}), flush=True)  # noqa: T201  # as above


if __name__ == "__main__":
    asyncio.run(live(sys.argv[1]))
