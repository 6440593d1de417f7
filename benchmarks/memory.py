"""
What an idle connection costs: KiB of the server process for each of 1,000 open connections, above
what a raw ASGI loop costs on the same server, beside Starlette and Channels.

Run it with ``python benchmarks/memory.py``; ``benchmarks/README.md`` says how to read it.
"""

from __future__ import annotations

import asyncio
import statistics
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.crowd import Cell, Sheet, allow_files, free_port, pin, wait_for
from benchmarks.echo import Clients
from benchmarks.rounds import Table, arguments, environment, report, take_turns
from benchmarks.served import (
    CONTENDERS,
    RAW,
    SERVERS,
    Served,
    add_package_argument,
    with_packages,
)

if TYPE_CHECKING:
    import argparse

    from benchmarks.rounds import Measure

NOTE = """\
Why this misleads: a connection that has echoed one message and waits holds no user, no session and
no data of yours (and only "by URL" a request), and the server's own part is not counted.

In each round each contender is served by a new process. Garbage is collected before its memory (the
resident set) is read, once with a few connections and once with all of them.
"""

PACKAGES = ("uvicorn", "daphne", "starlette", "channels")
SERVERS_BY_DEFAULT = ("uvicorn-websockets", "uvicorn-sansio", "daphne")

WARM_UP = 1000
"""Connections that make the process import and allocate what it needs once."""


def resident(pid: int) -> int:
    """Return the bytes of a process that are in memory."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Rss:"):
            return int(line.split()[1]) * 1024
    raise ValueError(f"Expected the line Rss in the smaps_rollup of {pid}, found none.")


def measure(server: str, contender: str, package: Path, connections: int) -> Measure:
    """Return what one round does for one contender: the bytes that a connection costs."""

    async def run() -> float:
        port = free_port()
        with Served(server, contender, port, package) as served:
            wait_for(port)
            warm = Clients(served.pid, port, WARM_UP)
            warm.run(1)
            before = _settled(served, warm)
            crowd = Clients(served.pid, port, connections)
            crowd.run(0)
            after = _settled(served, warm)
            return (after - before) / connections

    return run


def _settled(served: Served, clients: Clients) -> int:
    served.collect_garbage()
    clients.run(0)
    return resident(served.pid)


async def compare(server: str, options: argparse.Namespace) -> Sheet:
    """Measure all contenders on one server."""
    rows = with_packages(list(dict.fromkeys([RAW, *options.contender])), options.package)
    measures = {
        name: measure(server, contender, package, options.connections)
        for name, (contender, package) in rows.items()
    }
    samples = await take_turns(measures, options.rounds)
    cells: dict[str, dict[str, Cell]] = {}
    for name, sizes in samples.items():
        above = [size - raw for size, raw in zip(sizes, samples[RAW], strict=True)]
        cells[name] = {
            "KiB/connection": statistics.median(sizes) / 1024,
            "above raw": statistics.median(above) / 1024,
            "lowest": min(above) / 1024,
            "highest": max(above) / 1024,
        }
    title = f"{server}, {options.connections:,} connections"
    return Sheet.on(Table(title, "byte", {}), cells)


async def main() -> None:
    """Measure and print."""
    parser = arguments(__doc__, rounds=3)
    parser.add_argument(
        "--server",
        nargs="+",
        choices=SERVERS,
        default=SERVERS_BY_DEFAULT,
        help="default: %(default)s",
    )
    parser.add_argument(
        "--contender",
        nargs="+",
        choices=CONTENDERS,
        default=CONTENDERS,
        help="default: all of them; the raw loop takes part in any case",
    )
    add_package_argument(parser)
    parser.add_argument("--connections", type=int, default=1000, help="default: %(default)s")
    options = parser.parse_args()
    allow_files(options.connections + WARM_UP)
    pin(1)
    tables = [await compare(server, options) for server in options.server]
    report(NOTE, environment(*PACKAGES), tables, options.json)


if __name__ == "__main__":
    asyncio.run(main())
