"""
What a broadcast to many costs: one publisher, N members, a server process and a client process,
over TCP on this machine; against a raw ASGI loop, Channels and Litestar.

Run it with ``python benchmarks/fanout.py``; ``benchmarks/README.md`` says how to read it.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING

from benchmarks.contenders import RAW
from benchmarks.crowd import Arena, Cell, Run, Sheet, allow_files, crowd_arguments
from benchmarks.rounds import (
    BrokenContenderError,
    Measure,
    Ratio,
    Table,
    environment,
    report,
    take_turns,
)

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping

NOTE = """\
Why this misleads: the clients are on the same machine, so what a network costs is missing, and what
the kernel does for them is part of the server's time. Every member takes what it gets at once. Only
the ratios mean anything, and only to contenders in the same table: times differ by machine, by
Python and by what else the machine is doing. CPU time suffers least from that.

Contenders take turns in rounds; a ratio compares one round's figures, and the table has the median
over all rounds (and the quartiles). Every byte that a member got was compared with what was sent.
"""

PACKAGES = ("daphne", "uvicorn", "channels", "litestar", "websockets", "autobahn", "twisted")
CONTENDERS = (RAW, "wsconsumer", "litestar", "channels")
IN_FLIGHT = (1, 8)

PATIENCE = 60.0
"""Seconds without a byte after which messages are lost."""


def measure(arena: Arena, in_flight: int, seconds: float, runs: list[Run]) -> Measure:
    """Return the measurement of one contender, which puts all that it saw into ``runs``."""

    async def run() -> float:
        seen = await arena.run(in_flight, seconds, in_flight, PATIENCE)
        if seen.missing:
            raise BrokenContenderError(f"{seen.missing} deliveries were never made")
        runs.append(seen)
        return seen.seconds / seen.deliveries

    return run


def sheet(table: Table, runs: Mapping[str, list[Run]]) -> Sheet:
    """Put the figures in columns."""
    rows: dict[str, dict[str, Cell]] = {}
    for name, seen in runs.items():
        rates = [run.deliveries / run.seconds for run in seen]
        costs = [run.cpu / run.deliveries for run in seen]
        raw_rates = [run.deliveries / run.seconds for run in runs[RAW]]
        raw_costs = [run.cpu / run.deliveries for run in runs[RAW]]
        rows[name] = {
            "deliveries/s": float(round(statistics.median(rates))),
            f"/ {RAW}": Ratio.of(rates, raw_rates),
            "p50 ms": statistics.median(run.p50 for run in seen) * 1e3,
            "p99 ms": statistics.median(run.p99 for run in seen) * 1e3,
            "CPU us/delivery": statistics.median(costs) * 1e6,
            f"CPU / {RAW}": Ratio.of(costs, raw_costs),
        }
    return Sheet.on(table, rows)


async def compare(server: str, members: int, options: argparse.Namespace) -> list[Table]:
    """Measure all contenders on one server with so many members."""
    tables: list[Table] = []
    wait = 0.0 if options.spin else 0.001
    with ExitStack() as stack:
        arenas = {
            name: stack.enter_context(Arena(server, name, members, options.size, wait))
            for name in dict.fromkeys([RAW, *options.contender])
        }
        for in_flight in options.in_flight:
            title = f"{server}, {members:,} members, {in_flight} in flight"
            print(title, file=sys.stderr)
            runs: dict[str, list[Run]] = {name: [] for name in arenas}
            measures = {
                name: measure(arena, in_flight, options.seconds, runs[name])
                for name, arena in arenas.items()
            }
            samples = await take_turns(measures, options.rounds)
            counted = {name: seen[1:] for name, seen in runs.items()}  # without the warm-up
            table = Table.of(title, "delivery", samples, [RAW])
            tables.append(sheet(table, counted))
    return tables


async def run(options: argparse.Namespace) -> list[Table]:
    """Measure on each server with each number of members."""
    return [
        table
        for server in options.server
        for members in options.members
        for table in await compare(server, members, options)
    ]


def main() -> None:
    """Run the benchmark as the arguments say."""
    parser = crowd_arguments(__doc__, rounds=9, contenders=CONTENDERS)
    parser.add_argument(
        "--members",
        nargs="+",
        type=int,
        default=(10, 100, 1000, 5000),
        help="default: %(default)s",
    )
    parser.add_argument(
        "--in-flight",
        nargs="+",
        type=int,
        default=IN_FLIGHT,
        help="broadcasts on their way at the same time, default: %(default)s",
    )
    parser.add_argument(
        "--size", type=int, default=100, help="bytes of a message, default: %(default)s"
    )
    parser.add_argument(
        "--seconds", type=float, default=1.0, help="per measurement, default: %(default)s"
    )
    parser.add_argument(
        "--spin",
        action="store_true",
        help="clients never sleep, so that the server need not wake them; for a quiet machine",
    )
    options = parser.parse_args()
    allow_files(max(options.members))
    tables = asyncio.run(run(options))
    report(NOTE, environment(*PACKAGES), tables, options.json)


if __name__ == "__main__":
    main()
