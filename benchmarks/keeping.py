"""
What a group that keeps costs Redis: the time of a broadcast and a read, and bytes for each message.

Run it with ``python benchmarks/keeping.py``. Times are what ``INFO commandstats`` says: those of
the commands alone, without the server's work to receive them and to send the reply.
"""

from __future__ import annotations

import argparse
import asyncio
from typing import TYPE_CHECKING, Any

import redis

from benchmarks.scaleout_contenders import private_redis
from wsconsumer.groups.keeping import Keep
from wsconsumer.groups.redis import RedisBackend

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from wsconsumer.groups.base import Position

KEPT = 100


async def deliver(group: str, body: bytes, position: Position | None = None, /) -> None:
    """Take what comes."""


async def measure(url: str, count: int, size: int) -> list[tuple[str, float]]:
    """Broadcast so many bodies of a size in each way; return what each cost."""
    client = redis.Redis.from_url(url, protocol=2)
    backend = RedisBackend(url, "bench", {})
    await backend.start(deliver)
    await backend.subscribe(["g"])
    body, keep = b"x" * size, Keep(KEPT, 300)

    async def cost(command: str, way: Callable[[int], Awaitable[Any]]) -> float:
        client.config_resetstat()
        for number in range(count):
            await way(number)
        stats: Any = client.info("commandstats")
        return float(stats[f"cmdstat_{command}"]["usec_per_call"])

    results = [
        ("PUBLISH, µs", await cost("publish", lambda _: backend.publish("g", body))),
        ("kept, µs", await cost("eval", lambda _: backend.append("g", body, keep, None))),
        (
            "kept with a key, µs",
            await cost("eval", lambda n: backend.append("g", body, keep, f"{n}")),
        ),
        ("where it stands, µs", await cost("eval", lambda _: backend.read({"g": None}))),
        (f"{KEPT} read, µs", await cost("eval", lambda _: backend.read({"g": count * 2 - KEPT}))),
    ]
    await backend.aclose()
    kept: Any = client.memory_usage("{bench:g}:m", samples=0)
    state: Any = client.memory_usage("{bench:g}:s")
    said: Any = client.memory_usage("{bench:g}:k:1")
    client.close()
    return [
        *results,
        ("a kept message, bytes", kept / KEPT),
        ("a group besides, bytes", state),
        ("a key, bytes", said),
    ]


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=20_000, help="broadcasts of each kind")
    parser.add_argument(
        "--sizes", type=int, nargs="+", default=[100, 1_000], help="bytes of a body"
    )
    options = parser.parse_args()
    for size in options.sizes:
        with private_redis() as url:
            print(f"A body of {size} bytes:")
            for name, figure in asyncio.run(measure(url, options.count, size)):
                print(f"  {name:24}{figure:10.1f}")


if __name__ == "__main__":
    main()
