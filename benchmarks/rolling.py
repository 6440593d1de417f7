"""
A rolling restart: two processes are replaced one after the other, under the clients' eyes.

The clients do what the browser client does: they come back after the seconds that the server says
and some more at random, and say where they were. A balancer in miniature sends them to a process
that is ready, and asks that once a second. Meanwhile a group that keeps is spoken to.

Run it with ``python benchmarks/rolling.py``; ``benchmarks/README.md`` says how to read it.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import os
import random
import re
import statistics
import subprocess
import sys
import time
from collections import Counter
from contextlib import nullcontext, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

import websockets
from websockets.exceptions import ConnectionClosed, InvalidStatus

from benchmarks import rolled
from benchmarks.crowd import allow_files, free_port
from benchmarks.rounds import environment
from benchmarks.scaleout_contenders import new_prefix, private_redis

if TYPE_CHECKING:
    from collections.abc import Sequence

NOTE: Final = """\
Why this misleads: both processes, the engine and all clients share one machine, and the clients are
Python, so where many come back in one second it is they who take long. Compare the two columns of
one run. "waited" is from a client's close to its next accept.
"""

HOST: Final = "127.0.0.1"
OWN: Final = websockets.Subprotocol("wsconsumer.v1")
PATIENCE: Final = 120.0
LONGEST_DELAY: Final = 30.0
EVERY: Final = 1.0
"""Seconds between two broadcasts, and between two questions of the balancer."""

PACKAGES: Final = ("uvicorn", "websockets", "redis")


@dataclass
class Seen:
    """What the clients saw; times in seconds of the monotonic clock."""

    accepted_at: list[float] = field(default_factory=list)
    waited: list[float] = field(default_factory=list)
    refused: int = 0
    reloads: int = 0
    lost: int = 0
    doubled: int = 0
    stopped_in: list[float] = field(default_factory=list)
    codes: dict[int, int] = field(default_factory=dict)

    def curve(self, begin: float) -> list[int]:
        """Return how many came back in each second."""
        seconds = Counter(int(when - begin) for when in self.accepted_at)
        return [seconds[second] for second in range(max(seconds, default=-1) + 1)]


class Process:
    """A process of the site, on a port of its own."""

    def __init__(self, port: int, url: str, prefix: str, drain: float) -> None:
        self.port = port
        variables = {"REDIS": url, "PREFIX": prefix, "DRAIN": f"{drain}", "PYTHONPATH": "."}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.rolled", f"{port}"], env={**os.environ, **variables}
        )

    async def stop(self) -> float:
        """Send SIGTERM; return the seconds until it has ended."""
        begin = time.monotonic()
        self._process.terminate()
        await asyncio.to_thread(self._process.wait, PATIENCE)
        return time.monotonic() - begin

    def kill(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()


class Balancer:
    """Knows which processes are ready."""

    def __init__(self, ports: Sequence[int]) -> None:
        self._ports = ports
        self.ready: set[int] = set()

    def ports(self) -> list[int]:
        """Return where to try, one after the other."""
        ready = [port for port in self._ports if port in self.ready] or list(self._ports)
        return random.sample(ready, len(ready))

    async def ask(self) -> None:
        """Ask all of them once."""
        for port in self._ports:
            change = self.ready.add if await self._is_ready(port) else self.ready.discard
            change(port)

    async def keep_asking(self) -> None:
        """Ask them again and again."""
        while True:
            await self.ask()
            await asyncio.sleep(EVERY)

    async def until_ready(self, *ports: int) -> None:
        """Wait until these are ready."""
        async with asyncio.timeout(PATIENCE):
            while not self.ready.issuperset(ports):
                await self.ask()
                await asyncio.sleep(0.1)

    @staticmethod
    async def _is_ready(port: int) -> bool:
        with suppress(OSError):
            reader, writer = await asyncio.open_connection(HOST, port)
            writer.write(
                f"GET /ready/ HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n".encode()
            )
            line = await reader.readline()
            writer.close()
            return b" 200 " in line
        return False


class Client:
    """What ``socket.js`` is in a browser."""

    def __init__(self, balancer: Balancer, seen: Seen) -> None:
        self._balancer = balancer
        self._seen = seen
        self._at: tuple[str, int] | None = None
        self._failures = 0
        self._left_at: float | None = None
        self._last = -1
        self.is_open = asyncio.Event()
        self.has_last = asyncio.Event()

    async def live(self) -> None:
        """Connect, and come back, until cancelled."""
        while True:
            pause = await self._connect()
            backoff = min(LONGEST_DELAY, 2.0**self._failures)
            self._failures += 1
            await asyncio.sleep(pause + random.random() * backoff)

    async def _connect(self) -> float:
        """Be connected once; return the seconds that the server wants us to wait."""
        for port in self._balancer.ports():
            try:
                await self._listen(port)
            except ConnectionClosed as closed:
                self._left_at = time.monotonic()
                self.is_open.clear()
                frame = closed.rcvd
                code = 1006 if frame is None else frame.code
                self._seen.codes[code] = self._seen.codes.get(code, 0) + 1
                found = re.search(r"\bafter=(\d+)", "" if frame is None else frame.reason)
                return float(found[1]) if found else 0.0
            except InvalidStatus:
                self._seen.refused += 1
                return 0.0
            except OSError:
                continue  # as a proxy does: the next one
        self._seen.refused += 1
        return 0.0

    async def _listen(self, port: int) -> None:
        at = {} if self._at is None else {rolled.GROUP: self._at}
        said = base64.urlsafe_b64encode(json.dumps({"at": at}).encode()).decode().rstrip("=")
        async with websockets.connect(
            f"ws://{HOST}:{port}/ws/?wsc={said}",
            subprotocols=[OWN],
            compression=None,
            open_timeout=PATIENCE,
            ping_interval=None,
            proxy=None,
        ) as ws:
            now = time.monotonic()
            self._seen.accepted_at.append(now)
            if self._left_at is not None:
                self._seen.waited.append(now - self._left_at)
            self._failures = 0
            self.is_open.set()
            while True:
                self._take(str(await ws.recv()))

    def _take(self, frame: str) -> None:
        header, _, payload = frame[1:].partition("\n")
        facts = json.loads(header)
        self._seen.reloads += bool(facts.get("reload"))
        if "offset" in facts:
            self._at = (facts.get("epoch") or (self._at or ("",))[0], facts["offset"])
        if not payload:
            return
        if payload == "last":
            self.has_last.set()
            return
        number = int(payload)
        if self._last >= 0:
            self._seen.lost += max(0, number - self._last - 1)
            self._seen.doubled += number <= self._last
        self._last = number


class Restart:
    """Two processes, their clients, and what becomes of them."""

    def __init__(self, url: str, prefix: str, drain: float, clients: int) -> None:
        self._facts = url, prefix, drain
        self._ports = [free_port(), free_port()]
        self._processes = [Process(port, *self._facts) for port in self._ports]
        self._balancer = Balancer(self._ports)
        self.seen = Seen()
        self._clients = [Client(self._balancer, self.seen) for _ in range(clients)]

    async def run(self) -> list[int]:
        """Replace both; return the curve: how many came back in each second."""
        await self._balancer.until_ready(*self._ports)
        asking = asyncio.create_task(self._balancer.keep_asking())
        living = []
        for client in self._clients:
            living.append(asyncio.create_task(client.live()))
            if len(living) % 50 == 0:
                await client.is_open.wait()
        await self._all("is_open")
        speaking = asyncio.create_task(self._speak())
        await asyncio.sleep(2 * EVERY)
        self.seen.accepted_at.clear()
        begin = time.monotonic()
        for place in range(len(self._processes)):
            await self._replace(place)
        speaking.cancel()
        await asyncio.wait([speaking])
        await self._say("last")
        await self._all("has_last")
        for task in (*living, asking):
            task.cancel()
        await asyncio.wait([*living, asking])
        return self.seen.curve(begin)

    def kill(self) -> None:
        """End the processes."""
        for process in self._processes:
            process.kill()

    async def _replace(self, place: int) -> None:
        old = self._processes[place]
        self.seen.stopped_in.append(await old.stop())
        self._balancer.ready.discard(old.port)
        self._processes[place] = Process(old.port, *self._facts)
        await self._balancer.until_ready(old.port)
        await self._all("is_open")

    async def _all(self, event: str) -> None:
        async with asyncio.timeout(PATIENCE):
            await asyncio.gather(*(getattr(client, event).wait() for client in self._clients))

    async def _speak(self) -> None:
        number = 0
        while True:
            await self._say(f"{number}")
            number += 1
            await asyncio.sleep(EVERY)

    @staticmethod
    async def _say(text: str) -> None:
        from wsconsumer import abroadcast

        await abroadcast(rolled.GROUP, text)


def restart(url: str, drain: float, clients: int) -> tuple[Seen, list[int]]:
    """Return what the clients saw of a rolling restart, and its curve."""
    running = Restart(url, new_prefix(), drain, clients)
    try:
        curve = asyncio.run(running.run())
    finally:
        running.kill()
    return running.seen, curve


def draw(curve: Sequence[int], width: int = 60) -> str:
    """Return a line for each second."""
    most = max(curve, default=0) or 1
    return "\n".join(
        f"{second:4d} s {count:6,d} {'#' * -(-count * width // most)}"
        for second, count in enumerate(curve)
    )


def tell(seen: Seen, curve: Sequence[int]) -> None:
    """Print what the clients saw."""
    waited = sorted(seen.waited)
    p50, p99 = (statistics.quantiles(waited, n=100)[p - 1] for p in (50, 99))
    print(f"processes took to stop: {', '.join(f'{s:.1f} s' for s in seen.stopped_in)}")
    print(f"came back: {len(waited):,}, in the busiest second {max(curve):,}")
    print(f"waited: median {p50:.1f} s, p99 {p99:.1f} s, longest {waited[-1]:.1f} s")
    print(f"closed with: {seen.codes}; attempts refused: {seen.refused:,}")
    print(f"broadcasts lost {seen.lost}, doubled {seen.doubled}; reloads {seen.reloads}")
    print(draw(curve), end="\n\n")


def main() -> None:
    """Print the restarts."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("--clients", type=int, default=2_000)
    parser.add_argument(
        "--drain", type=float, nargs="+", default=[0, 20], help="DRAIN_SECONDS, default: 0 20"
    )
    parser.add_argument("--redis", metavar="URL", help="default: one of its own")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write what was seen")
    options = parser.parse_args()
    allow_files(options.clients + 100)
    print(environment(*PACKAGES))
    print(NOTE)
    found = []
    with nullcontext(options.redis) if options.redis else private_redis() as url:
        rolled.configure(url, new_prefix(), 0)
        for drain in options.drain:
            print(f"DRAIN_SECONDS {drain:g}, {options.clients:,} clients")
            seen, curve = restart(url, drain, options.clients)
            tell(seen, curve)
            found.append({**asdict(seen), "curve": curve})
    if options.json:
        options.json.write_text(json.dumps(found))


if __name__ == "__main__":
    main()
