"""What an attack is, and what it finds. Decorate a coroutine with `@attack(...)`: it is a row."""

import os
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.servers.harness import Server

MIB = 1 << 20
BOUND = 16 * MIB
"""What an attack may make a server grow by."""


@dataclass(frozen=True)
class Finding:
    """What happened, and whether it stayed within bounds."""

    text: str
    is_bounded: bool

    def __str__(self) -> str:
        return self.text if self.is_bounded else f"**{self.text}**"


Run = Callable[..., Coroutine[Any, Any, Finding]]
"""What is done to a server or an engine, and perhaps how often."""


@dataclass(frozen=True)
class Attack:
    """A row: `run` gets a server or an engine, and how often to do it where that matters."""

    situation: str
    run: Run
    full: int | None
    quick: int | None

    @property
    def name(self) -> str:
        """The name of the coroutine, by which `limits.py` knows it."""
        return self.run.__name__

    def title(self, *, is_quick: bool) -> str:
        """Return the situation with its size."""
        return self.situation.format(count=next(iter(self.size(is_quick=is_quick)), 0))

    def size(self, *, is_quick: bool) -> tuple[int, ...]:
        """Return the argument of `run` that says how often."""
        count = self.quick if is_quick else self.full
        return () if count is None else (count,)


ON_SERVERS: list[Attack] = []
ON_ENGINES: list[Attack] = []


def attack(
    situation: str,
    *,
    full: int | None = None,
    quick: int | None = None,
    on: list[Attack] = ON_SERVERS,
) -> Callable[[Run], Run]:
    """Make a coroutine a row of the table; `full` and `quick` are its sizes, if it has any."""

    def register(run: Run) -> Run:
        on.append(Attack(situation, run, full, quick))
        return run

    return register


def memory(server: Server) -> int:
    """Return the resident bytes of the server's processes."""
    page = os.sysconf("SC_PAGE_SIZE")
    total = 0
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            stat = (process / "stat").read_text().rpartition(")")[2].split()
            if int(stat[2]) == server.process.pid:
                total += int(stat[21]) * page
    return total


def grown(server: Server, before: int) -> tuple[str, bool]:
    """Say how much a server has grown, and whether that is within bounds."""
    growth = memory(server) - before
    return f"{growth / MIB:+.0f} MiB", growth < BOUND
