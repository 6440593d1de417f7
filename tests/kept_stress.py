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
import subprocess
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
from django.core.management import call_command
from django.db import connections
from psycopg.sql import SQL, Identifier

if TYPE_CHECKING:
    import random
    from collections.abc import AsyncIterator, Iterator

    from tests.engines import Postgres, Redis

SHOWN: Final = 20
"""Violations that are printed."""


class MemoryTrouble:
    """The memory of a process loses nothing but all of it."""

    loses_nothing = True

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

    loses_nothing = False

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


class PostgresTrouble:
    """What happens to a PostgreSQL server, and to its unlogged tables after a crash."""

    loses_nothing = False

    def __init__(self, engine: Postgres) -> None:
        self._engine = engine

    async def happen(self, chance: random.Random) -> None:
        """Kill connections, empty tables, or restart."""
        await asyncio.to_thread(self._happen, chance.random(), chance)

    def _happen(self, kind: float, chance: random.Random) -> None:
        if kind < 0.5:
            self._engine.query(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
                " WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'"
            )
        elif kind < 0.8:
            table = chance.choice(("wsconsumer_history", "wsconsumer_message", "wsconsumer_key"))
            self._engine.query(SQL("TRUNCATE {} CASCADE").format(Identifier(table)))  # type: ignore[arg-type]  # psycopg takes it
        else:
            self._engine.restart()

    @asynccontextmanager
    async def rest(self) -> AsyncIterator[None]:
        """Nothing comes late here but by what happens."""
        yield

    def end(self) -> None:
        """Let it be."""


async def stress(seed: int, seconds: float, trouble: Any) -> str:
    """Run; return what is printed."""
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
    if name == "memory":
        configure({})
        return asyncio.run(stress(seed, seconds, MemoryTrouble()))
    with tempfile.TemporaryDirectory() as directory:
        from tests.engines import Postgres, Redis

        if name == "redis":
            redis = Redis(Path(directory))
            configure({"BACKEND": f"{BACKENDS}.redis.RedisBackend", "LOCATION": redis.url})
            engine: Any = redis
            trouble: Any = RedisTrouble(redis)
        else:
            postgres = Postgres(Path(directory))
            configure({"BACKEND": f"{BACKENDS}.postgres.PostgresBackend"}, postgres.settings)
            call_command("migrate", verbosity=0)
            engine, trouble = postgres, PostgresTrouble(postgres)
        try:
            return asyncio.run(stress(seed, seconds, trouble))
        finally:
            connections.close_all()
            engine.stop()


BACKENDS: Final = "wsconsumer.groups"


def configure(groups: dict[str, Any], database: dict[str, Any] | None = None) -> None:
    """Set Django up with these groups."""
    settings.configure(
        SECRET_KEY="for a test only",  # nobody else uses it
        ALLOWED_HOSTS=["testserver"],
        DATABASES={"default": database} if database else {},
        INSTALLED_APPS=["wsconsumer.groups.postgres"] if database else [],
        USE_TZ=True,
        WSCONSUMER={"GROUPS": groups},
    )
    django.setup()
    logging.getLogger("wsconsumer").setLevel(logging.CRITICAL)  # outages are meant


ENGINES: Final = ("memory", "redis", "postgres")


def main() -> None:
    """Run, print the counts, and exit with 1 if there is one violation."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").strip().partition("\n\n")[0])
    parser.add_argument("--engine", action="append", help=f"one of {', '.join(ENGINES)}; else all")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="the time of day")
    parser.add_argument("--seconds", type=float, default=30.0, help="per engine (%(default)s)")
    asked, _ = parser.parse_known_args()  # others are those of tests.stress
    names = [name for name in ENGINES if name in (asked.engine or ENGINES)]
    if not names:
        return
    if len(names) > 1:  # a process has one set of settings
        command = [sys.executable, "-m", "tests.kept_stress", "--seed", f"{asked.seed}"]
        command += ["--seconds", f"{asked.seconds}"]
        done = [subprocess.run([*command, "--engine", name], check=False) for name in names]
        sys.exit(any(each.returncode for each in done))
    try:
        said = run_on(names[0], asked.seed, asked.seconds)
    except pytest.skip.Exception as missing:
        sys.exit(str(missing))
    sys.stdout.write(f"kept, {names[0]}, seed {asked.seed}: {said}\n")
    sys.exit("violations 0" not in said)


if __name__ == "__main__":
    main()
