"""
Groups under stress: several server processes, clients that come and go, publishers everywhere, and
an engine that is restarted in the middle. The servers of a cluster change places instead: failover,
resharding, and a replica that goes to another master.

    python -m tests.stress --engine redis --seed 1 --seconds 30

What clients saw is judged by ``tests/processes/judge.py``; one violation, and it exits with 1. The
seed makes the same clients do the same things; how their doings meet is up to the machine.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import re
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial
from itertools import count, cycle, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import pytest
from redis.crc import key_slot

from tests.clusters import RedisCluster
from tests.engines import Postgres, Redis, until
from tests.processes.client import Client
from tests.processes.judge import UNKNOWN, Judge, Publisher, Verdict
from tests.processes.running import PREFIX, Engine, script, serving

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.processes.running import Server

Change: TypeAlias = Callable[[RedisCluster, random.Random], None]
Publish: TypeAlias = Callable[[dict[str, Any]], Awaitable[Sequence[str | None]]]

ENGINES: Final[dict[str, Callable[[Path], Engine]]] = {
    "redis": Redis,
    "redis-cluster": partial(RedisCluster, replicas=1),
    "postgres": Postgres,
}

BACK: Final = "is back after"
"""What a server logs when it has the engine again."""

SHOWN: Final = 20
"""Violations that are printed."""

GROUPS: Final = ("a", "A", "a*", "[a]", "b c", "%s", "{}", "'", '"', "🙂", "部屋", "x" * 200)

CLIENTS: Final = 8
"""Clients at a time, on each server."""

SIZES: Final = (0, 0, 0, 0, 0, 0, 0, 500, 7_000, 20_000)
"""Bytes that messages have besides, one as often as another."""

UNDER_WAY: Final = 1.0
"""
Seconds before the end of the engine in which it may have taken what no server had from it yet. That
is lost with it, and the publisher was told rightly that it was taken.
"""

LAG: Final = 1.0
"""
Seconds by which messages in a cluster may overtake one another: who publishes by an old map does so
at a replica, which passes it on to the others when it likes.
"""

SETTLED: Final = 30.0
"""Seconds after which a change in a cluster must have settled: servers ask for the map every 5."""


class Stress:
    """One run against one engine."""

    def __init__(self, engine: Engine, servers: list[Server], seed: int, seconds: float) -> None:
        self._engine = engine
        self._servers = servers
        self._seed = seed
        self._seconds = seconds
        self._judge = Judge(LAG if isinstance(engine, RedisCluster) else 0.0)
        self._clients: list[Client] = []
        self._open: dict[Client, None] = {}
        self._publishers: list[tuple[Publisher, Publish]] = []
        self._is_over = False

    async def run(self) -> Verdict:
        """Do it all, and return the verdict."""
        async with script(self._engine) as process:
            self._publishers.append((Publisher("script"), process.publish))
            for number, server in enumerate(self._servers):
                self._publishers.append((Publisher(f"view {number}"), server.publish))
                await self._watch(server, number)
            async with asyncio.TaskGroup() as tasks:
                for number, server in enumerate(self._servers):
                    for one in range(CLIENTS):
                        tasks.create_task(self._live(server, f"{number}.{one}"))
                for publisher, publish in self._publishers:
                    tasks.create_task(self._tell(publisher, publish))
                tasks.create_task(self._change())
            await self._settle()
            for client in self._open:
                await client.close()
        return self._verdict()

    async def _watch(self, server: Server, number: int) -> None:
        """Be a client that is in all groups from the beginning to the end."""
        client = Client(server, f"{number}, watching")
        self._clients.append(client)
        await client.open()
        self._open[client] = None
        await client.join(*GROUPS)

    async def _change(self) -> None:
        """Let something happen to the engine, and end it all some time later."""
        if isinstance(self._engine, RedisCluster):
            changes = [_fail_over, _reshard, _migrate]
            self._chance("changes").shuffle(changes)
            for change in changes:
                await asyncio.sleep(self._seconds / 4)
                await self._let_settle(self._engine, change)
            await asyncio.sleep(self._seconds / 4)
        else:
            await asyncio.sleep(self._seconds / 2)
            await self._restart(self._engine)
            await asyncio.sleep(self._seconds / 2)
        self._is_over = True

    async def _let_settle(self, cluster: RedisCluster, change: Change) -> None:
        """Change a cluster; note how long it took until all were subscribed where they belong."""
        start = time.monotonic() - UNDER_WAY
        await asyncio.to_thread(change, cluster, self._chance(change.__name__))
        # Where a slot is chosen by braces, the names of channels have none.
        channels = [f"{PREFIX}:{re.sub('[%{}]', _encode, group)}" for group in GROUPS]
        is_settled = partial(cluster.is_settled, channels, len(self._servers))
        await asyncio.to_thread(until, is_settled, f"{change.__name__} to settle", SETTLED)
        self._judge.outages.append((start, time.monotonic()))

    async def _restart(self, engine: Redis | Postgres) -> None:
        """Restart the engine, and note how long it was away."""
        before = [server.said(BACK) for server in self._servers]
        start = time.monotonic() - UNDER_WAY
        await asyncio.to_thread(engine.restart)
        for server, times in zip(self._servers, before, strict=True):
            await server.says(BACK, times + 1)
        self._judge.outages.append((start, time.monotonic()))

    async def _live(self, server: Server, name: str) -> None:
        """Be one client after the other on a server."""
        chance = self._chance(name)
        while not self._is_over:
            client = Client(server, f"{name} #{len(self._clients)}")
            self._clients.append(client)
            await client.open()
            self._open[client] = None
            with suppress(ConnectionError):  # it died, and tells so in the end
                await self._be(client, chance)

    async def _be(self, client: Client, chance: random.Random) -> None:
        """Join, leave and broadcast, until it goes or everything is over."""
        publisher = Publisher(client.name)
        publish = partial(_over_socket, client)
        groups: list[str] = []
        while not self._is_over:
            kind = chance.random()
            if len(groups) < 2 or (kind < 0.25 and len(groups) < len(GROUPS)):
                group = chance.choice([group for group in GROUPS if group not in groups])
                await client.join(group)
                groups.append(group)
            elif kind < 0.4:
                await client.leave(groups.pop(chance.randrange(len(groups))))
            elif kind < 0.95:
                await self._publish(publisher, publish, _some_groups(chance), chance)
            else:
                del self._open[client]
                await (client.close() if kind < 0.96 else self._vanish(client, publisher, chance))
                return

    async def _vanish(self, client: Client, publisher: Publisher, chance: random.Random) -> None:
        """Go without a word, in the middle of a broadcast."""
        publish = partial(_over_socket, client)
        last = asyncio.create_task(self._publish(publisher, publish, _some_groups(chance), chance))
        await asyncio.sleep(0)  # so that it is sent
        await client.vanish()
        with suppress(ConnectionError):
            await last

    async def _tell(self, publisher: Publisher, publish: Publish) -> None:
        """Publish without being a member."""
        chance = self._chance(publisher.name)
        for number in count():
            if self._is_over:
                return
            one = publisher
            if isinstance(self._engine, RedisCluster) and publisher.name != "script":
                # Each request has a thread of its own; threads have no order while a slot moves.
                one = Publisher(f"{publisher.name} #{number}")
            await self._publish(one, publish, _some_groups(chance), chance)
            # Not faster than clients get it: they are all in this process.
            if self._open:
                with suppress(ConnectionError):
                    await chance.choice(list(self._open)).ping()

    async def _publish(
        self, publisher: Publisher, publish: Publish, groups: Iterable[str], chance: random.Random
    ) -> None:
        messages = [publisher.message(group, chance.choice(SIZES)) for group in groups]
        errors: Sequence[str | None] = [UNKNOWN] * len(messages)
        began = time.monotonic()
        try:
            errors = await publish({"messages": messages})
        finally:
            self._judge.publish(messages, began, time.monotonic(), errors)

    async def _settle(self) -> None:
        """Publish a last message everywhere; wait until everybody has all that it is owed."""
        chance = self._chance("the end")
        for publisher, publish in self._publishers:
            await self._publish(publisher, publish, GROUPS, chance)
        for client in self._open:
            if not client.died:
                publish = partial(_over_socket, client)
                await self._publish(Publisher(f"{client.name}, last"), publish, GROUPS, chance)
        await asyncio.gather(*(self._judge.satisfied(client) for client in self._open))

    def _verdict(self) -> Verdict:
        verdict = self._judge.verdict(
            {client.name: (client.log, client in self._open) for client in self._clients}
        )
        verdict.died = [client.died for client in self._clients if client.died]
        return verdict

    def _chance(self, name: str) -> random.Random:
        return random.Random(f"{self._seed} {name}")  # noqa: S311  # it is to be repeatable


def _fail_over(cluster: RedisCluster, chance: random.Random) -> None:
    cluster.fail_over()


def _reshard(cluster: RedisCluster, chance: random.Random) -> None:
    """Move the slots of some groups, each to another server."""
    for group in chance.sample(GROUPS, 4):
        slot = key_slot(f"{PREFIX}:{group}".encode())
        source = cluster.owner(slot)
        target = chance.choice([one for one in cluster.masters() if one is not source])
        cluster.begin_to_move(slot, target)
        cluster.move(slot, target)


def _migrate(cluster: RedisCluster, chance: random.Random) -> None:
    """Fail over, and let the old master follow another one at once."""
    old = cluster.fail_over()
    master = cluster.master_of(old)
    cluster.follow(old, chance.choice([one for one in cluster.masters() if one is not master]))


def _encode(char: re.Match[str]) -> str:
    return f"%{ord(char[0]):X}"


async def _over_socket(client: Client, order: dict[str, Any]) -> Sequence[str | None]:
    return await client.broadcast(*order["messages"])


def _some_groups(chance: random.Random) -> list[str]:
    return chance.choices(GROUPS, k=chance.randrange(1, 8))


def stress(name: str, seed: int, seconds: float, processes: int) -> Verdict:
    """Start an engine and servers, and run; return the verdict."""
    with tempfile.TemporaryDirectory() as directory:
        engine = ENGINES[name](Path(directory))
        try:
            with serving(engine, list(islice(cycle(("daphne", "uvicorn")), processes))) as servers:
                return asyncio.run(Stress(engine, servers, seed, seconds).run())
        finally:
            engine.stop()


def main() -> None:
    """Run, print the counts, and exit with 1 if there is one violation."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("--engine", choices=ENGINES, action="append", help="one alone; else all")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="the time of day")
    parser.add_argument("--seconds", type=float, default=30.0, help="per engine (%(default)s)")
    parser.add_argument("--processes", type=int, default=3, help="servers (%(default)s)")
    asked = parser.parse_args()
    is_bad = False
    for name in asked.engine or ENGINES:
        try:
            verdict = stress(name, asked.seed, asked.seconds, asked.processes)
        except pytest.skip.Exception as missing:
            sys.exit(str(missing))
        sys.stdout.write(f"{name}, seed {asked.seed}: {verdict}\n")
        for violation in verdict.violations[:SHOWN]:
            sys.stdout.write(f"  {violation}\n")
        is_bad = is_bad or bool(verdict.violations)
    sys.exit(is_bad)


if __name__ == "__main__":
    main()
