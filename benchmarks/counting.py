"""
What it costs to limit connections across processes: who comes, who goes, and a beat.

Run it with ``python benchmarks/counting.py``, and with ``--postgres PORT`` for a server with the
tables. Latency is that of one after the other, the rate that of 100 at once; a beat is measured
with so many connections, each of a user of its own.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from typing import TYPE_CHECKING, Any

import django
from django.conf import settings

from benchmarks.scaleout_contenders import private_redis
from wsconsumer.groups.memory import MemoryBackend
from wsconsumer.groups.redis import RedisBackend
from wsconsumer.groups.registry import SWEEP, Registry

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from wsconsumer.groups.leasing import Entry, LeasingBackend

LIMIT = 1_000_000


async def deliver(*_: object) -> None:
    """Take what comes."""


def entry(number: int) -> Entry:
    """Return what a connection of a user and an address counts for."""
    return [
        (f"user:auth.User:{number}:shop.Chat", LIMIT),
        (f"address:10.{number}:shop.Chat", LIMIT),
    ]


async def timed(work: Awaitable[Any]) -> tuple[float, float]:
    """Return how many seconds something took, and how many of the CPU of this process."""
    began, used = time.perf_counter(), time.process_time()
    await work
    return time.perf_counter() - began, time.process_time() - used


async def one_by_one(registry: Registry, numbers: range) -> None:
    """Let each come when the one before is in."""
    for number in numbers:
        await registry.enter(entry(number))


async def many_at_once(registry: Registry, numbers: range) -> None:
    """Let 100 come at once, and then the next."""
    for first in range(numbers.start, numbers.stop, 100):
        await asyncio.gather(*(registry.enter(entry(first + n)) for n in range(100)))


async def beats(registry: Registry, backend: LeasingBackend) -> None:
    """Do what the registry's task does every ten seconds, until each count was written again."""
    registry._beat_at = asyncio.get_running_loop().time() + 3600  # noqa: SLF001  # not by itself
    for _ in range(SWEEP):
        await registry._beat(backend)  # noqa: SLF001  # measured apart
        await registry._write(backend)  # noqa: SLF001  # the same


async def measure(backend: LeasingBackend, count: int, crowd: int) -> list[tuple[str, float]]:
    """Let them come; return what each cost."""
    registry = Registry(backend, lambda: backend.start(deliver))
    await registry.enter(entry(0))
    alone = await timed(one_by_one(registry, range(count)))
    together = await timed(many_at_once(registry, range(count, count + crowd)))
    beat = await timed(beats(registry, backend))
    await registry.aclose()
    await backend.aclose()
    return [
        ("one comes, µs", alone[0] / count * 1e6),
        ("CPU of the process, µs", alone[1] / count * 1e6),
        ("of 100 at once, µs", together[0] / crowd * 1e6),
        ("CPU of the process, µs", together[1] / crowd * 1e6),
        (f"a beat with {count + crowd:,}, ms", beat[0] / SWEEP * 1e3),
        ("CPU of the process, ms", beat[1] / SWEEP * 1e3),
    ]


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=2_000, help="of them come one by one")
    parser.add_argument("--crowd", type=int, default=8_000, help="of them come 100 at once")
    parser.add_argument("--postgres", metavar="PORT", help="of a server with the tables")
    options = parser.parse_args()
    database = {
        "ENGINE": "django.db.backends.postgresql", "NAME": "postgres", "USER": "tester",
        "HOST": "127.0.0.1", "PORT": options.postgres or "5432",
    }  # fmt: skip
    settings.configure(DATABASES={"default": database}, WSCONSUMER={})
    django.setup()

    def run(name: str, backend: LeasingBackend) -> None:
        print(f"{name}:")
        for what, figure in asyncio.run(measure(backend, options.count, options.crowd)):
            print(f"  {what:30}{figure:10.1f}")

    run("In memory", MemoryBackend("", "bench", {}))
    with private_redis() as url:
        run("Redis", RedisBackend(url, "bench", {}))
    if options.postgres:
        from wsconsumer.groups.postgres import PostgresBackend

        run("PostgreSQL", PostgresBackend("default", "bench", {}))


if __name__ == "__main__":
    main()
