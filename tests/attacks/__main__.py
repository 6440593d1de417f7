"""Attack every server and engine, and print what came of it as one table; bold is not bounded."""

import argparse
import asyncio
import sys
import tempfile
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from tests.attacks import (
    clients,
    connects,
    engines,
    frames,
    handshakes,
    hooks,
    sigterm,
    silent_members,
)
from tests.attacks.table import ON_ENGINES, ON_SERVERS, Attack, Finding
from tests.engines import Postgres, Redis
from tests.servers.harness import COMMANDS, running

MODULES = (clients, connects, hooks, handshakes, frames, sigterm, silent_members, engines)
"""All that have attacks: importing them is what makes the table."""

ENGINES: dict[str, type[Redis | Postgres]] = {"redis": Redis, "postgres": Postgres}


async def contained(finding: Callable[[], Awaitable[Finding]]) -> Finding:
    """Make a finding of whatever an attack raises."""
    try:
        return await finding()
    except Exception as error:  # noqa: BLE001  # whatever it is, it is a finding
        text = f"{type(error).__name__}: {error}".splitlines()[0]
        return Finding(text, is_bounded=False)


def on_server(attack: Attack, name: str, *, is_quick: bool) -> Finding:
    """Attack a new server, so that nobody meets what another attack left behind."""
    with tempfile.TemporaryDirectory() as folder, running(name, Path(folder)) as server:
        run = partial(attack.run, server, *attack.size(is_quick=is_quick))
        return asyncio.run(contained(run))


def on_engine(attack: Attack, name: str, *, is_quick: bool) -> Finding:
    """Attack a new engine."""
    # PostgreSQL runs as another user, who may look into this folder.
    with tempfile.TemporaryDirectory() as folder:
        engine = ENGINES[name](Path(folder))
        try:
            run = partial(attack.run, engine, *attack.size(is_quick=is_quick))
            return asyncio.run(contained(run))
        finally:
            engine.stop()


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
        for attacks, names, attempt in (
            (ON_SERVERS, COMMANDS, on_server),
            (ON_ENGINES, ENGINES, on_engine),
        ):
            for attack in attacks:
                count = attack.size(is_quick=options.quick)
                situation = attack.situation.format(count=next(iter(count), 0))
                if options.only not in situation or not set(options.on) & set(names):
                    continue
                cells = {
                    name: pool.submit(attempt, attack, name, is_quick=options.quick)
                    for name in options.on
                    if name in names
                }
                row(situation, *(str(cells[n].result()) if n in cells else "" for n in options.on))
                is_bounded &= all(cell.result().is_bounded for cell in cells.values())
    sys.exit(not is_bounded)


if __name__ == "__main__":
    main()
