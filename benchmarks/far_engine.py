"""
How long a broadcast takes to an engine that is far away: fifty publishers, each of which speaks now
and then and waits for its broadcast to be taken; with the next pipeline sent before the last is
answered, as the backends do, against one pipeline at a time. And what both do to an engine nearby,
as fast as they can.

Run it with ``python benchmarks/far_engine.py``; ``benchmarks/README.md`` says how to read it.
"""

from __future__ import annotations

import asyncio
import random
import time
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

from django.conf import settings

from benchmarks.distance import at_distance
from benchmarks.handshake import postgres
from benchmarks.rounds import (
    BrokenContenderError,
    Table,
    arguments,
    environment,
    report,
    take_turns,
)
from benchmarks.scaleout_contenders import new_prefix, private_redis
from wsconsumer.groups import batching
from wsconsumer.groups.redis import RedisBackend

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator

    from wsconsumer.groups.base import Backend

NOTE = """\
Why this misleads: the distance is a proxy on this machine that holds each piece back; a real line
also loses packets, and has a bandwidth. One process publishes here and nothing else.

Contenders take turns in rounds; a ratio compares one round's figures, and the table has the median
over all rounds (and the quartiles). Every broadcast was awaited, and came back in order.
"""

PIPELINED = "pipelined"
ONE = "one at a time"
FAR = "far"
NEAR = "near"
BODY = b"x" * 100


class Heard:
    """Takes what comes back, and sees that each publisher's broadcasts come in order."""

    def __init__(self) -> None:
        self.last: dict[str, int] = {}
        self.in_order = True

    async def deliver(self, group: str, body: bytes, _: object = None) -> None:
        number = int(body.partition(b" ")[0])
        self.in_order = self.in_order and number > self.last.get(group, -1)
        self.last[group] = number


class Speaker:
    """One publisher: what it publishes, how often and how long that took."""

    def __init__(self, backend: Backend, number: int) -> None:
        self.taken = 0
        self.waited = 0.0
        self._backend = backend
        self._group = f"g{number}"
        self._chance = random.Random(number)  # the same pauses in every run

    async def speak(self, until: float, pause: float) -> None:
        """Publish one broadcast after the other, with random pauses of so many seconds."""
        while (start := time.monotonic()) < until:
            await self._backend.publish(self._group, b"%d %b" % (self.taken, BODY))
            self.waited += time.monotonic() - start
            self.taken += 1
            if pause:
                await asyncio.sleep(self._chance.expovariate(1 / pause))


async def measure(
    make: Callable[[], Backend], gather: float | None, pause: float, options: argparse.Namespace
) -> float:
    """
    Return seconds per broadcast: with pauses what each waited, otherwise what all of them took.

    ``gather`` is how long a pipeline waits for the answer to the last one.
    """
    heard = Heard()
    backend = make()
    speakers = [Speaker(backend, number) for number in range(options.publishers)]
    kept, batching.GATHER = batching.GATHER, gather  # type: ignore[misc, assignment]  # Final elsewhere
    try:
        await backend.start(heard.deliver)
        await backend.subscribe([f"g{number}" for number in range(options.publishers)])
        await backend.publish("nobody", BODY)  # opens the connection, which takes several trips
        start = time.monotonic()
        until = start + options.seconds
        await asyncio.gather(*(speaker.speak(until, pause) for speaker in speakers))
        seconds = time.monotonic() - start
    finally:
        batching.GATHER = kept  # type: ignore[misc]  # the same
        await backend.aclose()
    if not heard.in_order:
        raise BrokenContenderError("broadcasts came out of order")
    taken = sum(speaker.taken for speaker in speakers)
    return sum(speaker.waited for speaker in speakers) / taken if pause else seconds / taken


async def compare(
    make: Callable[[], Backend], title: str, pause: float, options: argparse.Namespace
) -> Table:
    """Let both take turns."""
    contenders: dict[str, Any] = {
        PIPELINED: partial(measure, make, batching.GATHER, pause, options),
        ONE: partial(measure, make, None, pause, options),
    }
    samples = await take_turns(contenders, options.rounds)
    return Table.of(title, "broadcast", samples, [ONE])


def redis_at(url: str) -> Backend:
    """Return a backend of a Redis."""
    return RedisBackend(url, new_prefix(), {})


def postgres_at(alias: str) -> Backend:
    """Return a backend of a PostgreSQL."""
    from wsconsumer.groups.postgres import PostgresBackend

    return PostgresBackend(alias, new_prefix(), {})


Places: TypeAlias = "dict[str, Callable[[], Backend]]"
"""What makes a backend of an engine far away, and of the same nearby."""


@contextmanager
def redis_places(delay: float) -> Iterator[Places]:
    """Start a Redis."""
    with private_redis() as near:
        host, _, port = near.removeprefix("redis://").partition(":")
        with at_distance(host, int(port), delay, delay) as far:
            away = f"redis://{host}:{far}"
            yield {FAR: partial(redis_at, away), NEAR: partial(redis_at, near)}


@contextmanager
def postgres_places(conninfo: str, delay: float) -> Iterator[Places]:
    """Go to a PostgreSQL that is there."""
    near = {"HOST": "127.0.0.1", "PORT": "5432"} | postgres(conninfo)
    with at_distance(near["HOST"], int(near["PORT"]), delay, delay) as far:
        away = near | {"HOST": "127.0.0.1", "PORT": str(far)}
        settings.configure(DATABASES={"default": near, FAR: away})
        yield {FAR: partial(postgres_at, FAR), NEAR: partial(postgres_at, "default")}


def main() -> None:
    """Run the benchmark as the arguments say."""
    parser = arguments(__doc__, rounds=5)
    parser.add_argument("--publishers", type=int, default=50, help="default: %(default)s")
    parser.add_argument(
        "--distance", type=float, default=50.0, help="milliseconds each way, default: %(default)s"
    )
    parser.add_argument(
        "--pause", type=float, default=300.0, help="milliseconds (mean), default: %(default)s"
    )
    parser.add_argument("--seconds", type=float, default=3.0, help="default: %(default)s")
    parser.add_argument(
        "--postgres", metavar="CONNINFO", help="a server, such as 'host=localhost user=me'"
    )
    options = parser.parse_args()
    delay = options.distance / 1000
    engines = {"Redis": redis_places(delay)}
    packages = ["redis"]
    if options.postgres:
        engines["PostgreSQL"] = postgres_places(options.postgres, delay)
        packages.append("psycopg")
    tables = []
    for engine, opened in engines.items():
        with opened as places:
            title = f"{engine}, {options.distance:g} ms each way: what a broadcast waits"
            pause = options.pause / 1000
            tables.append(asyncio.run(compare(places[FAR], title, pause, options)))
            title = f"{engine}, on this machine, without a pause"
            tables.append(asyncio.run(compare(places[NEAR], title, 0, options)))
    report(NOTE, environment(*packages), tables, options.json)


if __name__ == "__main__":
    main()
