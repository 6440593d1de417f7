"""
What one member that never reads does to the others and to the server's memory: long messages to 99
who read, without and then with one who does not; a raw ASGI loop, wsconsumer, Channels, Litestar.

Run it with ``python benchmarks/stalled.py``; ``benchmarks/README.md`` says how to read it.
"""

from __future__ import annotations

import asyncio
import math
import re
import statistics
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.contenders import RAW
from benchmarks.crowd import Arena, Cell, Run, Sheet, crowd_arguments
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
    from collections.abc import Sequence

NOTE = """\
Why this misleads: the clients are on the same machine, and a stalled one stalls at once; what the
kernel takes for it (some megabytes) is not in the server's memory. One broadcast is in flight, so
nobody else is ever behind. Compare only figures of one row, or of one table.

Contenders take turns in rounds, each time with a new server: first everybody reads, then somebody
more comes who does not. A ratio compares the two parts of one measurement; the table has the median
over all rounds (and the quartiles). Memory is the server's peak with less its peak without.
"""

PACKAGES = ("daphne", "uvicorn", "channels", "litestar", "websockets", "autobahn", "twisted")
CONTENDERS = (RAW, "wsconsumer", "wsconsumer, drop_oldest", "litestar", "channels")
WARM_UP = 20


@dataclass(frozen=True, slots=True)
class Seen:
    """What one measurement saw; ``growth`` in bytes for each member that never reads."""

    without: Run
    stalled: Run
    growth: float


def forget_peak(pid: int) -> None:
    """Let the peak of a process's memory begin anew (see proc_pid_clear_refs(5))."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def peak(pid: int) -> int:
    """Return the peak of a process's resident memory, in bytes."""
    status = Path(f"/proc/{pid}/status").read_text()
    found = re.search(r"^VmHWM:\s+(\d+) kB$", status, re.MULTILINE)
    if found is None:
        raise BrokenContenderError(f"the server {pid} has ended")
    return int(found[1]) * 1024


def measure(server: str, name: str, options: argparse.Namespace, seen: list[Seen]) -> Measure:
    """Return the measurement of one contender, which puts all that it saw into ``seen``."""

    async def run() -> float:
        with Arena(server, name, options.readers, options.size) as arena:

            async def part(broadcasts: int) -> tuple[Run, int]:
                forget_peak(arena.pid)
                found = await arena.run(1, 0, broadcasts, options.patience)
                return found, peak(arena.pid)

            await part(WARM_UP)
            without, peak_without = await part(options.broadcasts)
            if without.missing:
                raise BrokenContenderError(f"{without.missing} deliveries were never made")
            await arena.stall(options.stalled)
            stalled, peak_stalled = await part(options.broadcasts)
            growth = (peak_stalled - peak_without) / options.stalled
            seen.append(Seen(without, stalled, growth))
            return math.inf if stalled.missing else stalled.p99

    return run


def row(seen: Sequence[Seen]) -> dict[str, Cell]:
    """Return the figures of one contender."""
    stopped = [one.stalled.broadcasts for one in seen if one.stalled.missing]
    going = [one for one in seen if not one.stalled.missing]
    cells: dict[str, Cell] = {
        "p50 ms": statistics.median(one.without.p50 for one in seen) * 1e3,
        "p99 ms": statistics.median(one.without.p99 for one in seen) * 1e3,
        "p50 with": None,
        "p99 with": None,
        "p50 with/without": None,
        "p99 with/without": None,
        "MiB more": statistics.median(one.growth for one in seen) / 2**20,
        "MiB, at most": max(one.growth for one in seen) / 2**20,
        "": f"stopped in {len(stopped)} of {len(seen)} at {min(stopped)}" if stopped else "",
    }
    if len(going) > 1:
        cells |= {
            "p50 with": statistics.median(one.stalled.p50 for one in going) * 1e3,
            "p99 with": statistics.median(one.stalled.p99 for one in going) * 1e3,
            "p50 with/without": Ratio.of(
                [one.stalled.p50 for one in going], [one.without.p50 for one in going]
            ),
            "p99 with/without": Ratio.of(
                [one.stalled.p99 for one in going], [one.without.p99 for one in going]
            ),
        }
    return cells


async def compare(server: str, options: argparse.Namespace) -> Table:
    """Measure all contenders on one server."""
    print(server, file=sys.stderr)
    seen: dict[str, list[Seen]] = {name: [] for name in options.contender}
    measures = {name: measure(server, name, options, seen[name]) for name in seen}
    await take_turns(measures, options.rounds)
    title = (
        f"{server}, {options.readers} members who read, {options.stalled} who never does, "
        f"{options.size:,} bytes"
    )
    return Sheet(title, "broadcast", {}, {name: row(all_[1:]) for name, all_ in seen.items()})


async def run(options: argparse.Namespace) -> list[Table]:
    """Measure on each server."""
    return [await compare(server, options) for server in options.server]


def main() -> None:
    """Run the benchmark as the arguments say."""
    parser = crowd_arguments(__doc__, rounds=5, contenders=CONTENDERS)
    parser.add_argument("--readers", type=int, default=99, help="default: %(default)s")
    parser.add_argument("--stalled", type=int, default=1, help="default: %(default)s")
    parser.add_argument(
        "--size", type=int, default=65536, help="bytes of a message, default: %(default)s"
    )
    parser.add_argument(
        "--broadcasts", type=int, default=400, help="in each part, default: %(default)s"
    )
    parser.add_argument(
        "--patience",
        type=float,
        default=5.0,
        help="seconds without a byte to anybody that count as stopped, default: %(default)s",
    )
    options = parser.parse_args()
    tables = asyncio.run(run(options))
    report(NOTE, environment(*PACKAGES), tables, options.json)


if __name__ == "__main__":
    main()
