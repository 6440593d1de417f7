"""One run: processes, pages and speakers, and what happens to them. Read ``Stress.run`` first."""

from __future__ import annotations

import asyncio
import json
import os
import random
import subprocess
import sys
import tempfile
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tests.processes.kept.pages import PAUSE, Reader, Source, settle
from tests.processes.kept.saying import TABLE
from tests.processes.kept.trouble import ENGINES, OnePostgres
from tests.processes.running import PREFIX, ROOT, Script, Server

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

ROOMS: Final = ("room.a", "room.b")
READERS: Final = 8

LOSSES: Final = 0.03
"""The share of what an engine sends that a server loses in silence."""

EVERY: Final = 0.3
"""Seconds between two troubles, on average."""

GRACE: Final = 2.0
"""Seconds after which trouble comes though nothing was broadcast: it may have come from trouble."""

PATIENCE: Final = 30.0
"""Seconds in which all pages have everything, once nothing happens any more."""


@dataclass
class Verdict:
    """What there was, and what was wrong with it."""

    said: int
    rendered: int
    opened: int
    lost: int
    retried: int
    happened: Counter[str]
    wrong: list[str]

    def __str__(self) -> str:
        counts = (
            f"broadcasts {self.said:,}, retried {self.retried:,}, lost in silence {self.lost:,}, "
            f"pages {self.rendered:,}, sockets {self.opened:,}, violations {len(self.wrong)}"
        )
        happened = ", ".join(f"{what} {times:,}" for what, times in self.happened.most_common())
        return f"{counts}\n  {happened}"


class Stress:
    """One run against one engine."""

    def __init__(self, name: str, directory: Path, seed: int, mutant: str | None) -> None:
        self._directory = directory
        self._engine = ENGINES[name](directory)
        self._seed = seed
        self._mutant = mutant
        self._made = 0
        self._started: list[Server] = []
        self._servers: list[Server] = []  # those that answer
        self._speakers: dict[str, Callable[[dict[str, Any]], Awaitable[str | None]]] = {}
        self._happened: Counter[str] = Counter()
        self._said: dict[Source, int] = {}
        self._was_said = asyncio.Event()
        self._retried = 0
        self._is_over = False

    # Processes

    def _variables(self) -> dict[str, str]:
        """Return what a process has to know; each has a number of its own."""
        self._made += 1
        database: dict[str, Any] = {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": str(self._directory / "said.sqlite3"),
            "OPTIONS": {
                "timeout": 20,
                "transaction_mode": "IMMEDIATE",
                "init_command": "PRAGMA synchronous = OFF",
            },
        }
        if isinstance(self._engine, OnePostgres):
            database = self._engine.postgres.settings
        groups = {
            "BACKEND": f"tests.processes.kept.lossy.{self._engine.backend}",
            "LOCATION": self._engine.location,
            "PREFIX": PREFIX,
        }
        return {
            "DJANGO_SETTINGS_MODULE": "tests.processes.kept.settings",
            "PROCESSES_DATABASE": json.dumps(database),
            "PROCESSES_GROUPS": json.dumps(groups),
            "SEED": str(self._seed),
            "NUMBER": str(self._made),
            "LOSSES": str(LOSSES),
            "LOST": str(self._directory / "lost"),
            "MUTANT": self._mutant or "",
        }

    async def _serve(self) -> Server:
        server = Server("uvicorn", None, **self._variables())
        self._started.append(server)
        await asyncio.to_thread(server.wait_until_ready)
        self._servers.append(server)
        return server

    def _migrate(self) -> None:
        code = (
            "import django; django.setup();"
            "from django.core.management import call_command; from django.db import connection;"
            "call_command('migrate', verbosity=0);"
            f"connection.cursor().execute({TABLE!r})"
        )
        environment = {**os.environ, **self._variables(), "PYTHONPATH": str(ROOT)}
        subprocess.run([sys.executable, "-c", code], env=environment, check=True)

    # The run

    async def run(self, seconds: float, processes: int) -> Verdict:
        """Do it all, and return what was wrong."""
        try:
            await self._engine.start()
            await asyncio.to_thread(self._migrate)
            await asyncio.gather(*(self._serve() for _ in range(processes)))
            speaking = Speaking(self._variables())
            try:
                return await self._run(seconds, speaking)
            finally:
                await speaking.kill()
        finally:
            for server in self._started:
                await asyncio.to_thread(server.kill)
            await self._engine.stop()

    async def _run(self, seconds: float, speaking: Speaking) -> Verdict:
        readers = [Reader(f"page {n}", lambda: self._servers, self._seed) for n in range(READERS)]
        async with asyncio.TaskGroup() as tasks:
            for reader in readers:
                tasks.create_task(reader.live(lambda: self._is_over))
            speakers = {"script": speaking.say, "view": self._ask("/say/")}
            speakers |= {name: self._ask("/asay/") for name in ("async", "async2")}
            said = [tasks.create_task(self._speak(name, say)) for name, say in speakers.items()]
            tasks.create_task(self._trouble_engine())
            tasks.create_task(self._trouble_processes(speaking))
            await self._until_enough(readers, seconds)
            self._is_over = True
            await asyncio.wait(said)
        if wrong := [each for reader in readers for each in reader.wrong]:
            return self._verdict(readers, wrong)
        async with asyncio.timeout(PATIENCE):
            for name, say in speakers.items():
                for room in ROOMS:
                    await self._say(name, say, room)
        return self._verdict(readers, await settle(readers, self._said, PATIENCE))

    async def _until_enough(self, readers: list[Reader], seconds: float) -> None:
        """Return after so many seconds, and something of each kind; after a mutant is caught."""
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        while not (self._mutant and any(reader.wrong for reader in readers)):
            await asyncio.sleep(0.1)
            if loop.time() > end and self._lost and self._retried and self._happened:
                return

    @property
    def _lost(self) -> int:
        lost = self._directory / "lost"
        return lost.stat().st_size if lost.exists() else 0

    def _verdict(self, readers: list[Reader], wrong: list[str]) -> Verdict:
        return Verdict(
            sum(self._said.values()),
            sum(reader.rendered for reader in readers),
            sum(reader.opened for reader in readers),
            self._lost,
            self._retried,
            self._happened,
            wrong,
        )

    def _ask(self, path: str) -> Callable[[dict[str, Any]], Awaitable[str | None]]:
        chance = self._chance(path)

        async def say(order: dict[str, Any]) -> str | None:
            answer = await chance.choice(self._servers).ask(path, order)
            done: str | None = answer["done"]
            return done

        return say

    def _chance(self, name: str) -> random.Random:
        return random.Random(f"{self._seed} {name}")  # noqa: S311  # a seed is wanted

    # Who says something

    async def _speak(self, speaker: str, say: Any) -> None:
        chance = self._chance(speaker)
        while not self._is_over:
            room = chance.choice(ROOMS)
            if "async" not in speaker and chance.random() < 0.1:
                await self._try(say, speaker, room, 0, is_ghost=True)
            await self._say(speaker, say, room, again=chance.random() < 0.2)
            await asyncio.sleep(chance.random() / 50)

    async def _say(self, speaker: str, say: Any, room: str, *, again: bool = False) -> None:
        """Say the next number, until it is taken; whoever can't be sure says it again."""
        number = self._said.get((speaker, room), 0) + 1
        while await self._try(say, speaker, room, number):
            self._retried += 1
            await asyncio.sleep(PAUSE)
        self._said[speaker, room] = number
        self._was_said.set()
        if again:
            self._retried += 1
            await self._try(say, speaker, room, number)

    async def _try(
        self, say: Any, speaker: str, room: str, number: int, *, is_ghost: bool = False
    ) -> str | None:
        order = {"speaker": speaker, "room": room, "number": number, "is_ghost": is_ghost}
        try:
            error: str | None = await say(order)
        except (OSError, TimeoutError, ValueError) as gone:
            return repr(gone)
        return error

    # What happens

    async def _trouble_engine(self) -> None:
        chance = self._chance("engine")
        while not self._is_over:
            await self._wait(chance.expovariate(1 / EVERY), broadcasts=5)
            self._happened[await self._engine.happen(chance)] += 1

    async def _wait(self, seconds: float, broadcasts: int) -> None:
        """Wait so long, and for some broadcasts: a busy machine makes few in any time."""
        wanted = sum(self._said.values()) + broadcasts
        await asyncio.sleep(seconds)
        with suppress(TimeoutError):
            async with asyncio.timeout(GRACE):
                while sum(self._said.values()) < wanted and not self._is_over:
                    self._was_said.clear()
                    await self._was_said.wait()

    async def _trouble_processes(self, speaking: Speaking) -> None:
        chance = self._chance("processes")
        while not self._is_over:
            await self._wait(chance.expovariate(1 / EVERY / 4), broadcasts=20)
            if chance.random() < 0.25:
                await speaking.kill()
                self._happened["kill script"] += 1
            else:
                victim = self._servers.pop(chance.randrange(len(self._servers)))
                await asyncio.to_thread(victim.kill)
                self._happened["kill server"] += 1
                await self._serve()


MODULE: Final = "tests.processes.kept.saying"


class Speaking:
    """A process without an event loop that says something, and is replaced when it was killed."""

    def __init__(self, variables: dict[str, str]) -> None:
        self._variables = variables
        self._script: Script | None = None

    async def say(self, order: dict[str, Any]) -> str | None:
        """Let it do an order; raise ``OSError`` if it does not."""
        if self._script is None:
            self._script = await Script.start(None, MODULE, **self._variables)
        try:
            done: str | None = await self._script.publish(order)
        except TimeoutError:
            await self.kill()  # or its answer would be taken for that of another order
            raise
        return done

    async def kill(self) -> None:
        """Kill it, whatever it does."""
        if self._script is not None:
            script, self._script = self._script, None
            await script.kill()


def stress(
    name: str, seed: int, seconds: float, processes: int = 3, mutant: str | None = None
) -> Verdict:
    """Start an engine and processes, and run."""
    with tempfile.TemporaryDirectory() as directory:
        folder = Path(directory)
        folder.chmod(0o755)
        return asyncio.run(Stress(name, folder, seed, mutant).run(seconds, processes))
