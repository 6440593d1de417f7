"""
Groups under stress: several server processes, clients that come and go, publishers everywhere, and
an engine that is restarted in the middle.

    python -m tests.stress --engine redis --seed 1 --seconds 30

What clients saw is judged by ``tests/processes/judge.py``; one violation, and it exits with 1. The
seed makes the same clients do the same things; how their doings meet is up to the machine.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import pytest

from tests.engines import Postgres, Redis
from tests.processes.client import Client
from tests.processes.judge import UNKNOWN, Judge, Publisher, Verdict
from tests.processes.running import script, serving

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.processes.running import Engine, Server

Publish: TypeAlias = Callable[[dict[str, Any]], Awaitable[Sequence[str | None]]]

ENGINES: Final[dict[str, type[Redis | Postgres]]] = {"redis": Redis, "postgres": Postgres}

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


class Stress:
    """One run against one engine."""

    def __init__(self, engine: Engine, servers: list[Server], seed: int, seconds: float) -> None:
        self._engine = engine
        self._servers = servers
        self._seed = seed
        self._seconds = seconds
        self._judge = Judge()
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
            async with asyncio.TaskGroup() as tasks:
                for number, server in enumerate(self._servers):
                    for one in range(CLIENTS):
                        tasks.create_task(self._live(server, f"{number}.{one}"))
                for publisher, publish in self._publishers:
                    tasks.create_task(self._tell(publisher, publish))
                tasks.create_task(self._restart())
            await self._settle()
            for client in self._open:
                await client.close()
        return self._verdict()

    async def _restart(self) -> None:
        """Restart the engine in the middle, and note how long it was away."""
        await asyncio.sleep(self._seconds / 2)
        before = [server.said(BACK) for server in self._servers]
        start = time.monotonic() - UNDER_WAY
        await asyncio.to_thread(self._engine.restart)
        for server, times in zip(self._servers, before, strict=True):
            await server.says(BACK, times + 1)
        self._judge.outages.append((start, time.monotonic()))
        await asyncio.sleep(self._seconds / 2)
        self._is_over = True

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
        while not self._is_over:
            await self._publish(publisher, publish, _some_groups(chance), chance)
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
