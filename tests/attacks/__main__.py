"""Attack every server and engine, and print one table of what came of it; bold is not bounded."""

import argparse
import asyncio
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from tests.attacks import (
    absent,
    clients,
    clocks,
    connects,
    crowds,
    engines,
    frames,
    handshakes,
    hooks,
    kills,
    sigterm,
    silent_members,
)
from tests.attacks.limits import AT_FULL_SIZE, LIMITS
from tests.attacks.table import ON_ENGINES, ON_SERVERS, Attack, Finding
from tests.engines import Postgres, Redis
from tests.servers.harness import COMMANDS, running

MODULES = (
    *(clients, connects, hooks, handshakes, frames, sigterm, silent_members),
    *(absent, crowds, clocks, kills, engines),
)
"""All that have attacks: importing them is what makes the table."""

ENGINES: dict[str, type[Redis | Postgres]] = {"redis": Redis, "postgres": Postgres}


async def contained(attack: Attack, target: object, *, is_quick: bool) -> Finding:
    """Attack, and make a finding of whatever that raises."""
    try:
        return await attack.run(target, *attack.size(is_quick=is_quick))
    except Exception as error:  # noqa: BLE001  # whatever it is, it is a finding
        text = f"{type(error).__name__}: {error}".splitlines()[0]
        return Finding(text, is_bounded=False)


def on_server(attack: Attack, name: str, *, is_quick: bool) -> Finding:
    """Attack a new server, so that nobody meets what another attack left behind."""
    with tempfile.TemporaryDirectory() as folder, running(name, Path(folder)) as server:
        return asyncio.run(contained(attack, server, is_quick=is_quick))


def on_engine(attack: Attack, name: str, *, is_quick: bool) -> Finding:
    """Attack a new engine."""
    # PostgreSQL runs as another user, who may look into this folder.
    with tempfile.TemporaryDirectory() as folder:
        engine = ENGINES[name](Path(folder))
        try:
            return asyncio.run(contained(attack, engine, is_quick=is_quick))
        finally:
            engine.stop()


SITUATIONS = [
    *((attack, COMMANDS.keys(), on_server) for attack in ON_SERVERS),
    *((attack, ENGINES.keys(), on_engine) for attack in ON_ENGINES),
]


def limit_of(attack: Attack, name: str) -> str | None:
    """Return what is known of a server that is bad at an attack."""
    key = name, attack.name
    return LIMITS.get(key) or AT_FULL_SIZE.get(key)


def cell(attack: Attack, name: str, finding: Finding | None) -> str:
    """Return a cell of the table, with what is known of a server that is bad at it."""
    if finding is None:
        return ""
    limit = limit_of(attack, name)
    return f"{finding} ({limit})" if limit and not finding.is_bounded else str(finding)


def row(*cells: str) -> None:
    """Print one row of the table."""
    print("|", " | ".join(cells), "|", flush=True)  # noqa: T201  # what it is for


def main() -> None:
    """Run what is asked for, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    columns = [*COMMANDS, *ENGINES]
    parser.add_argument("--on", nargs="+", choices=columns, default=columns)
    parser.add_argument("--only", default="", help="attacks whose situation contains this text")
    parser.add_argument("--quick", action="store_true", help="the sizes of the tests")
    parser.add_argument("--jobs", type=int, default=2, help="columns at a time (%(default)s)")
    options = parser.parse_args()
    row("Attack", *options.on)
    row(*["---"] * (len(options.on) + 1))
    is_bounded = True
    with ThreadPoolExecutor(options.jobs) as pool:
        for attack, names, attempt in SITUATIONS:
            columns = [name for name in options.on if name in names]
            title = attack.title(is_quick=options.quick)
            if columns and options.only in title:
                attempts = partial(attempt, attack, is_quick=options.quick)
                found = dict(zip(columns, pool.map(attempts, columns), strict=True))
                row(title, *(cell(attack, name, found.get(name)) for name in options.on))
                is_bounded &= all(
                    finding.is_bounded or limit_of(attack, name) for name, finding in found.items()
                )
    sys.exit(not is_bounded)


if __name__ == "__main__":
    main()
