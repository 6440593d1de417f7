"""
What ``fanout.py`` and ``stalled.py`` share: a process that is a whole crowd of members and one
publisher, over TCP on this machine, and the process of the server that they talk to.
"""

from __future__ import annotations

import asyncio
import gc
import multiprocessing
import os
import resource
import select
import socket
import time
from array import array
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self, TypeAlias

from benchmarks.contenders import SERVERS, serve
from benchmarks.rounds import BrokenContenderError, Ratio, Table, arguments

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping, Sequence

HOST = "127.0.0.1"

SPARE_FILES = 64
"""What a process opens besides the sockets of the crowd."""

AT_ONCE = 32
"""Handshakes at the same time; daphne lets 50 wait to be taken."""

STALLED_BUFFER = 4096
"""
Bytes that the kernel may take at the end of a member that never reads. At the server's end it takes
as much as it likes, some megabytes, before the server notices.
"""


def _serve(server: str, contender: str, port: int, members: int) -> None:
    pin(0)
    allow_files(members)
    serve(server, contender, HOST, port)


def pin(cpu: int) -> None:
    """Stay on one CPU, servers on the first and clients on the last, where that can be said."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[-cpu]})


def allow_files(members: int) -> None:
    """Raise the number of files that this process may open, or say that it can't be done."""
    needed = members + SPARE_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if resource.RLIM_INFINITY in (soft, hard) or needed <= soft:
        return
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, max(needed, hard)))
    except (OSError, ValueError) as error:
        raise SystemExit(
            f"{members} members need {needed} open files (`ulimit -n`), and this process may open "
            f"no more than {hard}: {error}. Raise the limit, or ask for fewer --members."
        ) from error


@dataclass(frozen=True, slots=True)
class Run:
    """What a crowd saw in one run; times in seconds. ``missing`` is what nobody ever got."""

    broadcasts: int
    deliveries: int
    missing: int
    seconds: float
    cpu: float
    p50: float
    p99: float


class Crowd:
    """The members and the publisher, in one process, on plain sockets."""

    def __init__(self, pid: int, port: int, members: int, size: int, wait: float) -> None:
        self._wait = wait
        self._cpu_clock = ~pid << 3 | 2  # what clock_getcpuclockid() gives for a process
        self._port = port
        self._size = size
        self._stalled: list[socket.socket] = []
        self._publisher = self._open("/publisher", 1)[0]
        self._poll = select.epoll()
        self._members = {
            member.fileno(): member for member in open_websockets(port, "/member", members)
        }
        for member in self._members:
            self._poll.register(member, select.EPOLLIN)

    def _open(self, path: str, count: int, buffer: int = 0) -> list[socket.socket]:
        return open_websockets(self._port, path, count, buffer)

    def stall(self, count: int) -> None:
        """Let members in who never read."""
        self._stalled += self._open("/member", count, STALLED_BUFFER)

    def run(self, in_flight: int, seconds: float, least: int, patience: float) -> Run:
        """
        Publish for so long, and at least so much; return when all members who read have got it.

        The next broadcast goes out when fewer than ``in_flight`` are on their way to anybody. Every
        byte that comes is compared with what has to come. Without a byte for ``patience`` seconds
        the rest is missing.
        """
        begin = time.monotonic_ns()
        cpu = time.clock_gettime(self._cpu_clock)
        tape, frame_size = bytearray(), 0
        places = dict.fromkeys(self._members, 0)
        sent: list[int] = []
        left: list[int] = []
        latencies = array("q")
        under_way, now, patient_until = 0, begin, begin + patience * 1e9
        read_size = max(4096, min(2 * self._size, 1 << 18))
        while True:
            while under_way < in_flight and (len(sent) < least or now < begin + seconds * 1e9):
                payload = f"{len(sent):010d}".ljust(self._size, "x").encode()
                header = header_of(len(payload))
                tape += b"\x81" + bytes(header) + payload
                frame_size = 1 + len(header) + len(payload)
                sent.append(time.monotonic_ns())
                left.append(len(places))
                under_way += 1
                # Masked, as a client has to, with zeros.
                masked = bytes((0x81, header[0] | 0x80)) + header[1:] + bytes(4) + payload
                self._publisher.sendall(masked)
            if not under_way or now > patient_until:
                break
            for member, _ in self._poll.poll(self._wait):
                data = os.read(member, read_size)
                now = time.monotonic_ns()
                place = places[member]
                if not data or not tape.startswith(data, place):
                    raise BrokenContenderError(f"a member got {data[:80]!r}, lost or reordered")
                places[member] = end = place + len(data)
                for index in range(place // frame_size, end // frame_size):
                    latencies.append(now - sent[index])
                    left[index] -= 1
                    under_way -= not left[index]
                patient_until = now + patience * 1e9
            now = time.monotonic_ns()
        ordered = sorted(latencies) or [0]
        return Run(
            broadcasts=len(sent),
            deliveries=len(latencies),
            missing=sum(left),
            seconds=(now - begin) / 1e9,
            cpu=time.clock_gettime(self._cpu_clock) - cpu,
            p50=ordered[len(ordered) // 2] / 1e9,
            p99=ordered[len(ordered) * 99 // 100] / 1e9,
        )


def open_websockets(port: int, path: str, count: int, buffer: int = 0) -> list[socket.socket]:
    """Open so many websockets, some at a time; the kernel may buffer so much for each, if given."""
    opened: list[socket.socket] = []
    while len(opened) < count:
        batch = [_ask(port, path, buffer) for _ in range(min(AT_ONCE, count - len(opened)))]
        for client in batch:
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                head += (received := client.recv(4096))
                if not received:
                    raise BrokenContenderError(f"{path} was answered with {head!r}")
            if not head.startswith(b"HTTP/1.1 101 "):
                raise BrokenContenderError(f"{path} was answered with {head!r}")
        opened += batch
    return opened


def _ask(port: int, path: str, buffer: int) -> socket.socket:
    client = socket.socket()
    if buffer:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    client.settimeout(60)
    client.connect((HOST, port))
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    client.sendall(
        f"GET {path} HTTP/1.1\r\nHost: {HOST}:{port}\r\nUpgrade: websocket\r\n"
        "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n".encode()
    )
    return client


def header_of(length: int) -> bytes:
    """Return the part of a frame's header that tells the length (RFC 6455 section 5.2)."""
    if length < 126:
        return bytes((length,))
    if length < 1 << 16:
        return b"\x7e" + length.to_bytes(2, "big")
    return b"\x7f" + length.to_bytes(8, "big")


# In the client process.

_crowd: Crowd


def _gather(pid: int, port: int, members: int, size: int, wait: float) -> None:
    global _crowd
    pin(1)
    allow_files(members)
    _crowd = Crowd(pid, port, members, size, wait)
    gc.freeze()
    gc.disable()


def _call(method: str, *arguments: Any) -> Any:
    gc.collect()
    return getattr(_crowd, method)(*arguments)


class Arena:
    """A contender on a server, and its crowd, each in a process of its own."""

    def __init__(
        self, server: str, contender: str, members: int, size: int, wait: float = 0.001
    ) -> None:
        context = multiprocessing.get_context("spawn")
        port = free_port()
        self.process = context.Process(
            target=_serve, args=(server, contender, port, members), daemon=True
        )
        self.process.start()
        self.pid = self.process.pid or 0
        wait_for(port)
        self._clients = ProcessPoolExecutor(1, context)
        self._clients.submit(_gather, self.pid, port, members, size, wait).result()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.join()
        self._clients.shutdown()

    async def stall(self, count: int) -> None:
        """Let members in who never read."""
        await self._ask("stall", count)

    async def run(self, in_flight: int, seconds: float, least: int, patience: float) -> Run:
        """Let the crowd run; see ``Crowd.run``."""
        run: Run = await self._ask("run", in_flight, seconds, least, patience)
        return run

    async def _ask(self, method: str, *arguments: Any) -> Any:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._clients, _call, method, *arguments)


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.create_server((HOST, 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def wait_for(port: int) -> None:
    """Return when a server listens there."""
    deadline = time.monotonic() + 30
    while True:
        try:
            socket.create_connection((HOST, port)).close()
        except ConnectionRefusedError:
            if time.monotonic() > deadline:
                raise BrokenContenderError(f"no server came up on port {port}") from None
            time.sleep(0.05)
        else:
            return


Cell: TypeAlias = float | str | Ratio | None


@dataclass(frozen=True, slots=True)
class Sheet(Table):
    """A table with columns of its own; what ``Table`` has is written to JSON only."""

    rows: Mapping[str, Mapping[str, Cell]]

    @classmethod
    def on(cls, table: Table, rows: Mapping[str, Mapping[str, Cell]]) -> Sheet:
        """Add columns to a table."""
        return cls(table.title, table.unit, table.results, rows)

    def __str__(self) -> str:
        lines = [["", *next(iter(self.rows.values()))]]
        lines += [[name, *map(in_words, row.values())] for name, row in self.rows.items()]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        texts = [
            line[0].ljust(widths[0])
            + "".join(
                f"  {cell:>{width}}" for cell, width in zip(line[1:], widths[1:], strict=True)
            )
            for line in lines
        ]
        return "\n".join([self.title, "", *map(str.rstrip, texts), ""])


def in_words(cell: Cell) -> str:
    """Return a figure as a table shows it."""
    if isinstance(cell, float):
        return f"{cell:,.{0 if cell >= 1000 else 1}f}"
    return "-" if cell is None else str(cell)


def crowd_arguments(
    description: str | None, rounds: int, contenders: Sequence[str]
) -> argparse.ArgumentParser:
    """Return a parser with the arguments that both programs have."""
    parser = arguments(description, rounds)
    parser.add_argument(
        "--server", nargs="+", choices=SERVERS, default=SERVERS, help="default: all of them"
    )
    parser.add_argument(
        "--contender",
        nargs="+",
        choices=contenders,
        default=contenders,
        help="default: all of them; the raw loop takes part in any case",
    )
    return parser
