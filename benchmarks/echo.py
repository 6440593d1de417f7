"""
What a message costs on a real server: an echo to each of 100 connections at once, against a raw
ASGI loop, Starlette and Channels on the same server.

Run it with ``python benchmarks/echo.py``; ``benchmarks/README.md`` says how to read it.
"""

from __future__ import annotations

import asyncio
import os
import select
import time
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks.crowd import (
    Cell,
    Sheet,
    allow_files,
    free_port,
    open_websockets,
    pin,
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
    from collections.abc import Mapping

    from benchmarks.rounds import Samples

NOTE = """\
Why this misleads: an echo does nothing, so it shows the framework at its most expensive. Only the
ratios mean anything, and only to contenders in the same table.

All contenders run at once, each in a server process of its own with its own connections; they take
turns in short rounds, and a ratio compares one round's figures. "rate / raw" is by the clock, "CPU
rate / raw" by the CPU time of the server process, which a busy machine disturbs less.
"""

PACKAGES = ("uvicorn", "daphne", "hypercorn", "granian", "starlette", "channels")
TEXT = b"hello, world: a chat message"


@dataclass(frozen=True, slots=True)
class Run:
    """Seconds per echo in one round, by the clock and by the server's CPU."""

    seconds: float
    cpu: float


def frame(text: bytes) -> bytes:
    """Return a client's frame of a short text, masked, as a client has to, with zeros."""
    return bytes((0x81, 0x80 | len(text))) + bytes(4) + text


class Clients:
    """
    The connections to one server, each with one message under way while ``run()`` lasts.

    ``answer`` is the frame that comes for each ``text``: an echo unless it is given.
    """

    def __init__(
        self, pid: int, port: int, connections: int, text: bytes = TEXT, answer: bytes = b""
    ) -> None:
        self._message = frame(text)
        self._answer = answer or bytes((0x81, len(text))) + text
        self._cpu_clock = ~pid << 3 | 2  # what clock_getcpuclockid() gives for a process
        self._poll = select.epoll()
        self._sockets = open_websockets(port, "/ws/echo/", connections)
        for client in self._sockets:
            self._poll.register(client, select.EPOLLIN)

    def run(self, seconds: float) -> Run:
        """Send, and send again whatever came back, for so long."""
        message, answer = self._message, self._answer
        cpu, begin = time.clock_gettime(self._cpu_clock), time.perf_counter()
        for client in self._sockets:
            client.sendall(message)
        count, under_way, deadline = 0, len(self._sockets), begin + seconds
        while under_way:
            ready = self._poll.poll(60)
            if not ready:
                raise BrokenContenderError(f"{under_way} echoes never came")
            is_over = time.perf_counter() > deadline
            for ready_client, _ in ready:
                if (data := os.read(ready_client, 4096)) != answer:
                    raise BrokenContenderError(f"{message!r} was answered with {data!r}")
                count += 1
                if is_over:
                    under_way -= 1
                else:
                    os.write(ready_client, message)
        wall = time.perf_counter() - begin
        return Run(wall / count, (time.clock_gettime(self._cpu_clock) - cpu) / count)


def measure(clients: Clients, runs: list[Run], seconds: float) -> Measure:
    """Return what one round does for one contender, which notes the run as well."""

    async def run() -> float:
        runs.append(clients.run(seconds))
        return runs[-1].seconds

    return run


async def compare(server: str, options: argparse.Namespace) -> Sheet:
    """Measure all contenders on one server."""
    rows = with_packages(list(dict.fromkeys([RAW, *options.contender])), options.package)
    runs: dict[str, list[Run]] = {name: [] for name in rows}
    with ExitStack() as stack:
        measures = {}
        for name, (contender, package) in rows.items():
            port = free_port()
            served = stack.enter_context(Served(server, contender, port, package))
            wait_for(port)
            clients = Clients(served.pid, port, options.connections)
            measures[name] = measure(clients, runs[name], options.seconds)
        samples = await take_turns(measures, options.rounds)
    return sheet(f"{server}, {options.connections} connections", samples, runs, RAW)


def sheet(title: str, samples: Samples, runs: Mapping[str, list[Run]], raw: str) -> Sheet:
    """Reduce what was measured to rates, by the clock and by the server's CPU."""
    cpu = {name: [run.cpu for run in of_one[1:]] for name, of_one in runs.items()}
    table = Table.of(title, "echo", samples, [raw])
    cells: dict[str, dict[str, Cell]] = {
        name: {
            "echoes/s": result.per_second,
            "rate / raw": Ratio.of(samples[raw], samples[name]),
            "CPU rate / raw": Ratio.of(cpu[raw], cpu[name]),
        }
        for name, result in table.results.items()
    }
    return Sheet.on(table, cells)


async def main() -> None:
    """Measure and print."""
    parser = arguments(__doc__, rounds=20)
    parser.add_argument(
        "--server", nargs="+", choices=SERVERS, default=list(SERVERS), help="default: all of them"
    )
    parser.add_argument(
        "--contender",
        nargs="+",
        choices=CONTENDERS,
        default=CONTENDERS,
        help="default: all of them; the raw loop takes part in any case",
    )
    add_package_argument(parser)
    parser.add_argument("--connections", type=int, default=100, help="default: %(default)s")
    parser.add_argument(
        "--seconds", type=float, default=0.5, help="of each turn; default: %(default)s"
    )
    options = parser.parse_args()
    allow_files(options.connections * 8)
    pin(1)
    tables = [await compare(server, options) for server in options.server]
    report(NOTE, environment(*PACKAGES), tables, options.json)


if __name__ == "__main__":
    asyncio.run(main())
