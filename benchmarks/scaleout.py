"""
What a broadcast costs that goes through an engine: two server processes, the members spread over
both, one publisher at the first; against a raw ASGI loop with Redis, Litestar and channels_redis.

Run it with ``python benchmarks/scaleout.py``; ``benchmarks/README.md`` says how to read it.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import multiprocessing
import statistics
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import redis

from benchmarks.contenders import RAW, SERVERS
from benchmarks.crowd import (
    Cell,
    Crowd,
    Run,
    Sheet,
    allow_files,
    free_port,
    open_websockets,
    wait_for,
)
from benchmarks.rounds import (
    BrokenContenderError,
    Measure,
    Ratio,
    Table,
    arguments,
    environment,
    report,
    take_turns,
)
from benchmarks.scaleout_contenders import (
    CONTENDERS,
    CORE,
    ON_POSTGRES,
    POSTGRES,
    POSTGRES_KEPT,
    REDIS,
    REDIS_KEPT,
    Engines,
    migrate,
    new_prefix,
    private_postgres,
    private_redis,
    serve,
)

if TYPE_CHECKING:
    import argparse
    import socket
    from collections.abc import Mapping, Sequence

NOTE = """\
Why this misleads: two servers, the engine and all clients share one machine, so a contender that
makes Redis work takes that from its own servers, and no network is between them. With few CPUs,
two processes here deliver no more than one would. Only the ratios mean anything, and only to
contenders in the same table.

Contenders take turns in rounds; a ratio compares one round's figures, and the table has the median
over all rounds (and the quartiles). Latency is from the publisher's send to a member's receipt, on
one clock. CPU time is that of both servers, without the engine's. Commands and bytes are what Redis
counts, in and out; what a script calls counts too. Every byte that a member got was compared with
what was sent.
"""

PROCESSES = 2
PACKAGES = ("daphne", "uvicorn", "websockets", "redis", "channels", "channels_redis", "litestar")
IN_FLIGHT = (1, 8)

MAY_LOSE = {CORE}
"""Drops by design what is over the capacity of a channel; that is told, and no error."""

PATIENCE = 20.0
"""Seconds without a byte after which messages are lost."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What Redis counted so far."""

    commands: int
    bytes: int

    def __sub__(self, other: Usage) -> Usage:
        return Usage(self.commands - other.commands, self.bytes - other.bytes)


class Meter:
    """Asks Redis what it counted, and leaves out what the asking costs."""

    def __init__(self, url: str) -> None:
        self._client = redis.Redis.from_url(url, decode_responses=True)

    def read(self) -> Usage:
        """Return what was counted before this call."""
        stats: Any = self._client.info("stats")
        commands: Any = self._client.info("commandstats")
        return Usage(
            sum(each["calls"] for name, each in commands.items() if name != "cmdstat_info"),
            stats["total_net_input_bytes"] + stats["total_net_output_bytes"],
        )

    def begin(self) -> tuple[Usage, Usage]:
        """Return what was counted so far, and what one look at it counts for."""
        first, second = self.read(), self.read()
        return second, second - first

    def since(self, start: tuple[Usage, Usage]) -> Usage:
        """Return what was counted since then."""
        return self.read() - start[0] - start[1]

    def version(self) -> str:
        """Return that of the server."""
        facts: Any = self._client.info("server")
        return str(facts["redis_version"])


@dataclass(frozen=True, slots=True)
class Seen:
    """What one measurement saw; ``cpu`` is that of both servers, in seconds."""

    run: Run
    cpu: float
    usage: Usage

    @property
    def rate(self) -> float:
        """Deliveries per second."""
        return self.run.deliveries / self.run.seconds

    @property
    def cost(self) -> float:
        """Seconds of CPU per delivery."""
        return self.cpu / self.run.deliveries


class SpreadCrowd(Crowd):
    """A crowd whose members go to each of several servers in turn; the publisher to the first."""

    def __init__(
        self, pid: int, ports: Sequence[int], members: int, size: int, wait: float
    ) -> None:
        self._ports = itertools.cycle(ports)
        super().__init__(pid, ports[0], members, size, wait)

    def _open(self, path: str, count: int, buffer: int = 0) -> list[socket.socket]:
        if path != "/member":
            return super()._open(path, count, buffer)
        ports = itertools.islice(self._ports, count)
        return [open_websockets(port, path, 1, buffer)[0] for port in ports]


# In the client process.

_crowd: SpreadCrowd


def _gather(pid: int, ports: Sequence[int], members: int, size: int, wait: float) -> None:
    global _crowd
    allow_files(members)
    _crowd = SpreadCrowd(pid, ports, members, size, wait)
    gc.freeze()
    gc.disable()


def _run(in_flight: int, seconds: float) -> Run:
    gc.collect()
    return _crowd.run(in_flight, seconds, in_flight, PATIENCE)


class Site:
    """A contender in two processes, and its crowd in another."""

    def __init__(self, contender: str, engines: Engines, options: argparse.Namespace) -> None:
        self._meter = Meter(engines.redis)
        self._contender = contender
        context = multiprocessing.get_context("spawn")
        ports = [free_port() for _ in range(PROCESSES)]
        self._processes = [
            context.Process(
                target=serve,
                args=(options.server, contender, engines, port, options.members),
                daemon=True,
            )
            for port in ports
        ]
        for process in self._processes:
            process.start()
        for port in ports:
            wait_for(port)
        pids = [process.pid or 0 for process in self._processes]
        self._clocks = [~pid << 3 | 2 for pid in pids]  # as clock_getcpuclockid() has it
        self._clients = ProcessPoolExecutor(1, context)
        wait = 0.0 if options.spin else 0.001
        self._clients.submit(_gather, pids[0], ports, options.members, options.size, wait).result()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            process.kill()
            process.join()
        self._clients.shutdown()

    def _cpu(self) -> float:
        return sum(map(time.clock_gettime, self._clocks))

    def measure(self, in_flight: int, seconds: float, seen: list[Seen]) -> Measure:
        """Return the measurement of this contender, which puts all that it saw into ``seen``."""

        async def measure() -> float:
            loop = asyncio.get_running_loop()
            start, cpu = self._meter.begin(), self._cpu()
            run = await loop.run_in_executor(self._clients, _run, in_flight, seconds)
            if run.missing and self._contender not in MAY_LOSE:
                raise BrokenContenderError(
                    f"{self._contender}: {run.missing} deliveries were never made"
                )
            seen.append(Seen(run, self._cpu() - cpu, self._meter.since(start)))
            return run.seconds / run.deliveries

        return measure


UNKEPT = {REDIS_KEPT: REDIS, POSTGRES_KEPT: POSTGRES}


def _to_unkept(name: str, rates: Mapping[str, list[float]]) -> Ratio | None:
    """Return the rate of what is kept over that of what is not, on the same engine."""
    other = UNKEPT.get(name, "")
    return Ratio.of(rates[name], rates[other]) if other in rates else None


def sheet(table: Table, seen: Mapping[str, list[Seen]]) -> Sheet:
    """Put the figures in columns."""
    rates = {name: [each.rate for each in all_seen] for name, all_seen in seen.items()}
    costs = {name: [each.cost for each in all_seen] for name, all_seen in seen.items()}
    rows: dict[str, dict[str, Cell]] = {}
    for name, all_seen in seen.items():
        commands = [each.usage.commands / each.run.broadcasts for each in all_seen]
        sizes = [each.usage.bytes / each.run.broadcasts for each in all_seen]
        has_redis = name not in ON_POSTGRES
        rows[name] = {
            "deliveries/s": float(round(statistics.median(rates[name]))),
            f"/ {RAW}": Ratio.of(rates[name], rates[RAW]),
            "/ not kept": _to_unkept(name, rates),
            "p50 ms": statistics.median(each.run.p50 for each in all_seen) * 1e3,
            "p99 ms": statistics.median(each.run.p99 for each in all_seen) * 1e3,
            "CPU us/delivery": statistics.median(costs[name]) * 1e6,
            f"CPU / {RAW}": Ratio.of(costs[name], costs[RAW]),
            "commands": statistics.median(commands) if has_redis else None,
            "bytes": float(round(statistics.median(sizes))) if has_redis else None,
            "lost": str(sum(each.run.missing for each in all_seen)),
        }
    return Sheet.on(table, rows)


async def compare(engines: Engines, options: argparse.Namespace) -> list[Table]:
    """Measure all contenders."""
    names = [
        n
        for n in dict.fromkeys([RAW, *options.contender])
        if n not in ON_POSTGRES or engines.postgres
    ]
    tables: list[Table] = []
    with ExitStack() as stack:
        sites = {name: stack.enter_context(Site(name, engines, options)) for name in names}
        for in_flight in options.in_flight:
            title = (
                f"{options.server}, {PROCESSES} processes, {options.members:,} members, "
                f"{in_flight} in flight; commands and bytes of Redis per broadcast"
            )
            print(title, file=sys.stderr)
            seen: dict[str, list[Seen]] = {name: [] for name in names}
            measures = {
                name: site.measure(in_flight, options.seconds, seen[name])
                for name, site in sites.items()
            }
            samples = await take_turns(measures, options.rounds)
            counted = {name: all_seen[1:] for name, all_seen in seen.items()}  # without the warm-up
            tables.append(sheet(Table.of(title, "delivery", samples, [RAW]), counted))
    return tables


def main() -> None:
    """Run the benchmark as the arguments say."""
    parser = arguments(__doc__, rounds=9)
    parser.add_argument("--server", choices=SERVERS, default="uvicorn", help="default: %(default)s")
    parser.add_argument(
        "--contender",
        nargs="+",
        choices=list(CONTENDERS),
        default=list(CONTENDERS),
        help="default: all of them; the raw loop takes part in any case",
    )
    parser.add_argument(
        "--members", type=int, default=1000, help="in all processes, default: %(default)s"
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
    parser.add_argument("--spin", action="store_true", help="clients never sleep")
    parser.add_argument(
        "--redis", metavar="URL", help="a server that is there; default: one is started, and ended"
    )
    parser.add_argument(
        "--postgres",
        metavar="CONNINFO",
        help="a server, such as 'host=localhost user=me dbname=me'; 'own' starts one, and ends it",
    )
    options = parser.parse_args()
    allow_files(options.members)
    with ExitStack() as stack:
        url = options.redis or stack.enter_context(private_redis())
        conninfo = options.postgres
        if conninfo == "own":
            conninfo = stack.enter_context(private_postgres())
        if conninfo and POSTGRES_KEPT in options.contender:
            with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
                process.submit(migrate, conninfo).result()
        engines = Engines(url, conninfo, new_prefix())
        tables = asyncio.run(compare(engines, options))
        facts = environment(*PACKAGES) | {"Redis server": Meter(url).version()}
    report(NOTE, facts, tables, options.json)


if __name__ == "__main__":
    main()
