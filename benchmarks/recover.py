"""
What it costs that groups keep: a crowd that comes back at once, and a broadcast that is kept.

Clients connect, learn where they are, and leave; meanwhile others are spoken to; then all come back
at the same time, each with the position that it had. One client never leaves, and is what the
others must not hurt.

Run it with ``python benchmarks/recover.py``; ``benchmarks/README.md`` says how to read it.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import multiprocessing
import statistics
import time
from typing import Any, Final

import redis as redis_py
import websockets
from django.conf import settings

from benchmarks.crowd import allow_files, free_port, wait_for
from benchmarks.rounds import environment
from benchmarks.scaleout_contenders import new_prefix, private_redis

NOTE: Final = """\
Why this misleads: the server, the engine and all clients share one machine, and the clients are
Python, so most of the seconds are theirs and the handshakes'. Compare only rows of one table.

"back" are the seconds until the last client had everything; "reads" what was asked of the engine
meanwhile; the others are the latencies of a client that never left, before the crowd came and while
it did, with a broadcast every 20 ms.
"""

HOST: Final = "127.0.0.1"
OWN: Final = "wsconsumer.v1"
EVERY: Final = 0.02
GROUP: Final = "all"
CLOCK: Final = "clock"
PACKAGES: Final = ("uvicorn", "websockets", "redis")


def serve(engine: str, url: str, prefix: str, port: int, members: int) -> None:
    """Be the server, until killed."""
    import uvicorn

    groups: dict[str, Any] = {"PREFIX": prefix}
    if engine == "redis":
        groups |= {"BACKEND": "wsconsumer.groups.redis.RedisBackend", "LOCATION": url}
    settings.configure(SECRET_KEY="for a benchmark only", WSCONSUMER={"GROUPS": groups})

    from wsconsumer import Group, WebsocketConsumer

    Group(GROUP, keep=200)

    class Member(WebsocketConsumer):
        async def connect(self) -> None:
            await self.join(CLOCK if self.scope["path"] == "/clock" else GROUP)

        async def receive(self, data: str | bytes) -> None:
            await self.broadcast(CLOCK if data[0] == "t" else GROUP, data)

    allow_files(members)
    uvicorn.run(
        Member.as_asgi(),
        host=HOST,
        port=port,
        lifespan="off",
        log_level="error",
        ws_ping_interval=None,
    )


class Client:
    """A client that speaks our subprotocol."""

    def __init__(self, port: int, path: str = "/") -> None:
        self._port = port
        self._path = path
        self.at: tuple[str, int] | None = None

    async def open(self) -> Any:
        """Connect, and say where it was."""
        at = {} if self.at is None else {GROUP: self.at}
        said = base64.urlsafe_b64encode(json.dumps({"at": at}).encode()).decode().rstrip("=")
        url = f"ws://{HOST}:{self._port}{self._path}?wsc={said}"
        self._ws = await websockets.connect(
            url, subprotocols=[websockets.Subprotocol(OWN)], compression=None, open_timeout=120
        )
        return self._ws

    async def next(self) -> str:
        """Return the next payload, and count it; empty for a word about the group."""
        header, _, payload = str(await self._ws.recv())[1:].partition("\n")
        facts = json.loads(header)
        if facts.get("reload"):
            raise RuntimeError("a client could not resume")
        if "offset" in facts:
            epoch = facts.get("epoch") or (self.at or ("", 0))[0]
            self.at = (epoch, facts["offset"])
        return payload

    async def catch_up(self, top: int) -> None:
        """Connect and receive until an offset."""
        await self.open()
        while self.at is None or self.at[1] < top:
            await self.next()

    async def close(self) -> None:
        """Leave."""
        await self._ws.close()


async def watch(client: Client, seen: list[float]) -> None:
    """Note the latency of what is broadcast while it runs."""
    while True:
        payload = await client.next()
        if payload.startswith("t"):
            seen.append(time.monotonic() - float(payload[1:]))


async def speak(publisher: Any) -> None:
    """Say the time, again and again."""
    while True:
        await publisher.send(f"t{time.monotonic()}")
        await asyncio.sleep(EVERY)


def p(seen: list[float], percent: int) -> float:
    """Return a percentile, in milliseconds."""
    return statistics.quantiles(seen, n=100)[percent - 1] * 1000


async def measure(port: int, options: argparse.Namespace, reads: Any) -> dict[str, float]:
    """Return the figures of one run."""
    stayed = Client(port, "/clock")
    publisher = await stayed.open()
    clients = [Client(port) for _ in range(options.clients)]
    for start in range(0, len(clients), 100):
        some = clients[start : start + 100]
        await asyncio.gather(*(client.catch_up(0) for client in some))
    await asyncio.gather(*(client.close() for client in clients))
    seen: list[float] = []
    watching = asyncio.create_task(watch(stayed, seen))
    for number in range(options.missed):
        await publisher.send(f"missed {number} {'x' * options.size}")
    speaking = asyncio.create_task(speak(publisher))
    await asyncio.sleep(2)
    before = seen[:]
    seen.clear()
    asked = reads()
    top = options.missed
    begun = time.monotonic()
    await asyncio.gather(*(client.catch_up(top) for client in clients))
    seconds = time.monotonic() - begun
    figures = {
        "back s": seconds,
        "reads": reads() - asked,
        "p50 ms before": p(before, 50),
        "p99 ms before": p(before, 99),
        "p50 ms meanwhile": p(seen, 50),
        "p99 ms meanwhile": p(seen, 99),
    }
    speaking.cancel()
    watching.cancel()
    await asyncio.gather(*(client.close() for client in [*clients, stayed]))
    return figures


def run(engine: str, url: str, options: argparse.Namespace) -> dict[str, float]:
    """Serve and measure."""
    context = multiprocessing.get_context("spawn")
    port = free_port()
    arguments = (engine, url, new_prefix(), port, options.clients)
    server = context.Process(target=serve, args=arguments, daemon=True)
    server.start()
    wait_for(port)
    client = redis_py.Redis.from_url(url) if engine == "redis" else None

    def reads() -> float:
        if client is None:
            return float("nan")
        info: Any = client.info("commandstats")
        return float(info.get("cmdstat_xrange", {"calls": 0})["calls"])

    try:
        return asyncio.run(measure(port, options, reads))
    finally:
        server.kill()
        server.join()


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("--clients", type=int, default=2_000)
    parser.add_argument("--missed", type=int, default=100, help="broadcasts, default: 100")
    parser.add_argument("--size", type=int, default=100, help="bytes of each, default: 100")
    parser.add_argument("--engine", nargs="+", default=["memory", "redis"])
    options = parser.parse_args()
    allow_files(options.clients + 10)
    print(environment(*PACKAGES))
    print(NOTE)
    with private_redis() as url:
        for engine in options.engine:
            figures = run(engine, url, options)
            cells = "  ".join(f"{name} {value:,.1f}" for name, value in figures.items())
            print(f"{engine:<8}  {cells}")


if __name__ == "__main__":
    main()
