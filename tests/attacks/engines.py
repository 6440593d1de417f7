"""What engines do to groups when they die, hang, come back, refuse or are full, in figures."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from typing import Any

import psycopg
import redis

from tests.attacks.table import ON_ENGINES, Finding, attack
from tests.engines import Postgres, Redis
from tests.processes.client import Client
from tests.processes.judge import Publisher, read
from tests.processes.running import Server, serving

Engine = Redis | Postgres
MEMBERS = 4
"""Members on each server."""

PAUSE = 2.0
"""Seconds that an engine is away."""

AFTER = 1.0
"""Seconds before the end of an engine in which it may have taken what no server had from it yet."""


@dataclass
class Sent:
    """What one publisher sent: the number of each message, when, and whether it was refused."""

    name: str
    times: dict[int, tuple[float, float]] = field(default_factory=dict)
    refused: set[int] = field(default_factory=set)


class Storm:
    """Two servers with members, and a publisher on each that does not stop while things happen."""

    def __init__(self, servers: list[Server]) -> None:
        self._servers = servers
        self.clients = [
            Client(server, f"{server.name}.{number}")
            for server in servers
            for number in range(MEMBERS)
        ]
        self.sent = [Sent(server.name) for server in servers]
        self.outage = (0.0, 0.0)
        self._publishers = [Publisher(server.name) for server in servers]
        self._is_over = False

    async def begin(self) -> None:
        """Connect the members."""
        for client in self.clients:
            await client.open()
            await client.join("g")

    async def publish(self, which: int) -> None:
        """Publish one message through a server."""
        message = self._publishers[which].message("g", 100)
        number, sent = message[1]["number"], self.sent[which]
        began = time.monotonic()
        [error] = await self._servers[which].publish({"messages": [message]})
        sent.times[number] = began, time.monotonic()
        if error is not None:
            sent.refused.add(number)

    async def _publish_on(self, which: int) -> None:
        while not self._is_over:
            await self.publish(which)
            await asyncio.sleep(0.002)

    async def run(self, seconds: float, harm: Callable[[], Any], heal: Callable[[], Any]) -> None:
        """Publish, harm the engine in the middle, heal it, and publish on."""
        async with asyncio.TaskGroup() as tasks:
            for which in range(len(self.sent)):
                tasks.create_task(self._publish_on(which))
            await asyncio.sleep(seconds)
            began = time.monotonic() - AFTER
            await asyncio.to_thread(harm)
            await asyncio.sleep(PAUSE)
            await asyncio.to_thread(heal)
            await self._is_back()
            self.outage = (began, time.monotonic())
            await asyncio.sleep(seconds)
            self._is_over = True
        for which in range(len(self.sent)):
            await self.publish(which)
        last = [max(sent.times) for sent in self.sent]
        for client in self.clients:
            await client.until(partial(self._has, client, last), "the last messages")

    async def _is_back(self) -> None:
        """Return when every member gets what is published from now on through any server."""
        since = [max(sent.times, default=-1) + 5 for sent in self.sent]
        for client in self.clients:
            await client.until(partial(self._has_later, client, since), "a message")

    def _has(self, client: Client, numbers: list[int]) -> bool:
        keys = {(key.by, key.number) for key in map(read, client.came[-200:])}
        return all((s.name, n) in keys for s, n in zip(self.sent, numbers, strict=True))

    def _has_later(self, client: Client, numbers: list[int]) -> bool:
        keys = [(key.by, key.number) for key in map(read, client.came[-200:])]
        return all(
            any(by == s.name and number >= n for by, number in keys)
            for s, n in zip(self.sent, numbers, strict=True)
        )

    def finding(self) -> Finding:
        """Count what was sent, taken, refused, lost, doubled and misordered."""
        counts: Counter[str] = Counter()
        for sent in self.sent:
            counts["sent"] += len(sent.times)
            counts["refused"] += len(sent.refused)
        for client in self.clients:
            counts.update(self._compare(client))
        counts["died"] = sum(bool(client.died) for client in self.clients)
        taken = counts["sent"] - counts["refused"]
        text = (
            f"{counts['sent']} sent, {taken} taken, {counts['refused']} refused; of "
            f"{taken * len(self.clients)} deliveries {counts['away']} lost with it, "
            f"{counts['lost']} else, {counts['doubled']} doubled, {counts['misordered']} misordered"
        )
        bad = ("lost", "doubled", "misordered", "died")
        return Finding(text, not any(counts[name] for name in bad))

    def _compare(self, client: Client) -> Counter[str]:
        """Compare what came to a member with what was sent."""
        counts: Counter[str] = Counter()
        came = [(key.by, key.number) for key in map(read, client.came)]
        counts["doubled"] = len(came) - len(set(came))
        for sent in self.sent:
            numbers = list(dict.fromkeys(number for by, number in came if by == sent.name))
            counts["misordered"] += sum(b < a for a, b in pairwise(numbers))
            for number in sent.times.keys() - sent.refused - set(numbers):
                began, ended = sent.times[number]
                is_out = ended >= self.outage[0] and began <= self.outage[1]
                counts["away" if is_out else "lost"] += 1
        return counts


@asynccontextmanager
async def storming(engine: Engine) -> AsyncIterator[Storm]:
    """Start two servers on an engine, with members."""
    with serving(engine, ["daphne", "uvicorn"]) as servers:
        storm = Storm(servers)
        try:
            await storm.begin()
            yield storm
        finally:
            for client in storm.clients:
                await client.close()


async def harmed(
    engine: Engine, seconds: int, harm: Callable[[], Any], heal: Callable[[], Any]
) -> Finding:
    """Run a storm, and return what came of it."""
    async with storming(engine) as storm:
        await storm.run(seconds, harm, heal)
    return storm.finding()


@attack("engine killed and started, {count} s before and after", full=5, quick=1, on=ON_ENGINES)
async def killed(engine: Engine, seconds: int) -> Finding:
    return await harmed(engine, seconds, engine.kill, engine.start)


@attack("engine paused, {count} s before and after", full=5, quick=1, on=ON_ENGINES)
async def paused(engine: Engine, seconds: int) -> Finding:
    return await harmed(engine, seconds, engine.pause, engine.resume)


@attack("engine restarted, {count} s before and after", full=5, quick=1, on=ON_ENGINES)
async def restarted(engine: Engine, seconds: int) -> Finding:
    return await harmed(engine, seconds, engine.restart, lambda: None)


@attack(
    "engine refuses all connections, {count} s before and after", full=5, quick=1, on=ON_ENGINES
)
async def refused(engine: Engine, seconds: int) -> Finding:
    if isinstance(engine, Redis):
        admin: Any = redis.Redis.from_url(engine.url, protocol=2)

        def harm() -> None:
            admin.execute_command("CONFIG", "SET", "requirepass", "changed")
            admin.execute_command("CLIENT", "KILL", "SKIPME", "yes")

        def heal() -> None:
            admin.execute_command("CONFIG", "SET", "requirepass", "")
    else:
        admin = psycopg.connect(
            host="127.0.0.1", port=engine.port, dbname="template1", user="tester", autocommit=True
        )

        def harm() -> None:
            admin.execute("ALTER DATABASE postgres WITH ALLOW_CONNECTIONS false")
            admin.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'postgres'"
            )

        def heal() -> None:
            admin.execute("ALTER DATABASE postgres WITH ALLOW_CONNECTIONS true")

    try:
        return await harmed(engine, seconds, harm, heal)
    finally:
        admin.close()


@attack(
    "engine out of memory for clients, {count} s before and after", full=5, quick=1, on=ON_ENGINES
)
async def out_of_memory(engine: Engine, seconds: int) -> Finding:
    """Let Redis evict every client. PUBLISH stores nothing, so ``maxmemory`` never refuses it."""
    if isinstance(engine, Postgres):
        return Finding("has no such limit", is_bounded=True)
    hog = redis.Connection(port=engine.port, protocol=2)

    def harm() -> None:
        hog.send_command("CLIENT", "NO-EVICT", "ON")
        hog.read_response()
        engine.command("CONFIG", "SET", "maxmemory-clients", "128kb")
        # A command that does not end stays in Redis's memory, beyond the limit for all clients.
        hog.send_packed_command([b"*2\r\n$4\r\nECHO\r\n$300000\r\n", b"." * 200_000])

    def heal() -> None:
        hog.disconnect()
        engine.command("CONFIG", "SET", "maxmemory-clients", "0")

    return await harmed(engine, seconds, harm, heal)
