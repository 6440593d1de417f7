"""
Groups that keep under stress, on a real engine: see ``tests/groups/kept_stress.py``.

    python -m tests.kept_stress --engine redis --seed 1 --seconds 30

Connections are killed, data is deleted, the engine is restarted; pages come and go. One violation,
and it exits with 1. ``memory`` is the backend of one process, which forgets now and then.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
import tempfile
import time
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import django
import pytest
import redis as redis_py
from django.conf import settings
from django.test import override_settings

if TYPE_CHECKING:
    import random
    from collections.abc import AsyncIterator, Iterator

    from tests.engines import Redis

SHOWN: Final = 20
"""Violations that are printed."""


class MemoryTrouble:
    """The memory of a process loses nothing but all of it."""

    async def happen(self, chance: random.Random) -> None:
        """Forget everything, now and then."""
        from wsconsumer.groups.histories import histories

        if chance.random() < 0.1:
            histories.clear()

    @asynccontextmanager
    async def rest(self) -> AsyncIterator[None]:
        """Nothing comes late here."""
        yield

    def end(self) -> None:
        """Nothing goes on."""


class RedisTrouble:
    """What happens to a Redis server in production, more often than there."""

    def __init__(self, engine: Redis) -> None:
        self._engine = engine
        self._client: Any = redis_py.Redis.from_url(engine.url)

    async def happen(self, chance: random.Random) -> None:
        """Kill connections, delete data, or restart."""
        await asyncio.to_thread(self._happen, chance.random(), chance)

    def _happen(self, kind: float, chance: random.Random) -> None:
        if kind < 0.45:
            self._client.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
        elif kind < 0.65:
            self._client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        elif kind < 0.85:
            keys = sorted(self._client.keys("{*"))
            if keys:
                self._client.delete(chance.choice(keys))
        elif kind < 0.95:
            self._client.flushall()
        else:
            self._client.close()
            self._engine.restart()

    @asynccontextmanager
    async def rest(self) -> AsyncIterator[None]:
        """Let nothing be written for a moment; what was published before arrives."""
        await asyncio.to_thread(self._client.execute_command, "CLIENT", "PAUSE", "20", "WRITE")
        yield

    def end(self) -> None:
        """Let it be."""
        self._client.close()


async def stress(trouble: Any, seed: int, seconds: float) -> str:
    """Run; return what is printed. Raises ``AssertionError`` for violations."""
    from tests.groups import kept_stress
    from wsconsumer import Group
    from wsconsumer.groups import declared
    from wsconsumer.groups.hub import close_hub
    from wsconsumer.test import real_engine

    kept_stress.PATIENCE = 60.0

    def until() -> Iterator[None]:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            yield

    run = kept_stress.Stress(seed, trouble)
    with real_engine(), declared.only(Group("room.{slug}", keep=50)):
        wrong = await run.run(until())
        await close_hub()
    said = sum(run.said.values())
    counts = f"broadcasts {said:,}, reloads {run.reloads:,}, violations {len(wrong)}"
    return "\n  ".join([counts, *wrong[:SHOWN]])


def run_on(name: str, seed: int, seconds: float) -> str:
    """Start an engine, and run on it."""
    from tests.engines import Redis

    if name == "memory":
        return asyncio.run(stress(MemoryTrouble(), seed, seconds))
    with tempfile.TemporaryDirectory() as directory:
        engine = Redis(Path(directory))
        groups = {"BACKEND": "wsconsumer.groups.redis.RedisBackend", "LOCATION": engine.url}
        try:
            with override_settings(WSCONSUMER={"GROUPS": groups}):
                return asyncio.run(stress(RedisTrouble(engine), seed, seconds))
        finally:
            engine.stop()


ENGINES: Final = ("memory", "redis")


def main() -> None:
    """Run, print the counts, and exit with 1 if there is one violation."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").strip().partition("\n\n")[0])
    parser.add_argument("--engine", choices=ENGINES, action="append", help="one alone; else all")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="the time of day")
    parser.add_argument("--seconds", type=float, default=30.0, help="per engine (%(default)s)")
    asked = parser.parse_args()
    settings.configure(SECRET_KEY="for a test only", ALLOWED_HOSTS=["testserver"])
    django.setup()
    logging.getLogger("wsconsumer").setLevel(logging.CRITICAL)  # outages are meant
    is_bad = False
    for name in asked.engine or ENGINES:
        try:
            said = run_on(name, asked.seed, asked.seconds)
        except pytest.skip.Exception as missing:
            sys.exit(str(missing))
        sys.stdout.write(f"kept, {name}, seed {asked.seed}: {said}\n")
        is_bad = is_bad or "violations 0" not in said
    sys.exit(is_bad)


if __name__ == "__main__":
    main()
