"""
What a broadcast costs that is kept, against one that is not: 1,000 members in one process, the
memory backend, uvicorn's protocol of websockets, and a transport that leads nowhere.

Run it with ``python benchmarks/kept.py``; ``benchmarks/README.md`` says how to read it.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

from django.conf import settings
from uvicorn.config import Config
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import ServerState

from benchmarks.rounds import (
    BrokenContenderError,
    Measure,
    Table,
    arguments,
    environment,
    no_garbage_collection,
    report,
    take_turns,
)
from wsconsumer import Group, WebsocketConsumer, abroadcast

if TYPE_CHECKING:
    import argparse

NOTE = """\
Why this misleads: no byte leaves the process, so what the kernel does for each delivery is missing,
and the difference looks larger than it is on a socket. Times are CPU time, which suffers little
from what else the machine does. Contenders take turns in rounds; a ratio compares one round's
times, and the table has the median over all rounds (and the quartiles).
"""

PACKAGES = ("uvicorn", "websockets")

PLAIN = "not kept"
CONTENDERS = {
    PLAIN: ("plain", False),
    "not kept, wsconsumer.v1": ("plain", True),
    "kept": ("kept", False),
    "kept, wsconsumer.v1": ("kept", True),
}
"""The group of each contender, and whether its clients speak our subprotocol."""

HANDSHAKE = (
    "GET /{path} HTTP/1.1\r\nHost: testserver\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n{more}\r\n"
)
SUBPROTOCOL = "Sec-WebSocket-Protocol: wsconsumer.v1\r\n"


class Member(WebsocketConsumer):
    """Is in the group that the path names."""

    async def connect(self) -> None:
        """Join, then be accepted."""
        await self.join(self.scope["path"].strip("/"))


class Nowhere(asyncio.Transport):
    """Counts what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.writes = 0

    def write(self, data: Any) -> None:
        """Count it."""
        self.writes += 1

    def is_closing(self) -> bool:
        """It never is."""
        return False

    def set_protocol(self, protocol: Any) -> None:
        """There is one, and it stays."""


class Crowd:
    """The members of a group, which may be one of several of the same kind."""

    def __init__(self, name: str, members: int, config: Config) -> None:
        self._name = name
        kind, is_own = CONTENDERS[name]
        self._group = f"{kind}.{list(CONTENDERS).index(name)}"
        self._transports = [Nowhere() for _ in range(members)]
        head = HANDSHAKE.format(path=self._group, more=SUBPROTOCOL if is_own else "")
        for transport in self._transports:
            protocol = WebSocketsSansIOProtocol(config, ServerState(), {})
            protocol.connection_made(transport)
            protocol.data_received(head.encode())

    @property
    def _writes(self) -> int:
        return sum(transport.writes for transport in self._transports)

    async def settle(self) -> None:
        """Return when all are in the group, and have been told where they are."""
        kind, is_own = CONTENDERS[self._name]
        writes = 2 if is_own and kind == "kept" else 1
        await self._until(writes * len(self._transports))

    async def _until(self, writes: int) -> None:
        while self._writes < writes:  # noqa: ASYNC110  # nothing tells, and an event would cost
            await asyncio.sleep(0)
        if self._writes > writes:
            raise BrokenContenderError(f"{self._writes} writes, not {writes}")

    def measure(self, broadcasts: int, size: int) -> Measure:
        """Return the measurement: seconds of CPU time per delivery."""

        deliveries = len(self._transports) * broadcasts

        async def measure() -> float:
            before = self._writes
            with no_garbage_collection():
                begin = time.process_time()
                for _ in range(broadcasts):
                    await abroadcast(self._group, "x" * size)
                await self._until(before + deliveries)
                seconds = time.process_time() - begin
            return seconds / deliveries

        return measure


async def run(options: argparse.Namespace) -> list[Table]:
    """Measure all."""
    config = Config(Member.as_asgi(), lifespan="off", log_level="error", ws_ping_interval=None)
    config.load()
    crowds = {name: Crowd(name, options.members, config) for name in CONTENDERS}
    for crowd in crowds.values():
        await crowd.settle()
    measures = {
        name: crowd.measure(options.broadcasts, options.size) for name, crowd in crowds.items()
    }
    samples = await take_turns(measures, options.rounds)
    title = f"{options.members:,} members, {options.size} bytes, memory"
    return [Table.of(title, "delivery", samples, [PLAIN])]


def main() -> None:
    """Run the benchmark as the arguments say."""
    parser = arguments(__doc__, rounds=20)
    parser.add_argument("--members", type=int, default=1000, help="default: %(default)s")
    parser.add_argument(
        "--broadcasts", type=int, default=20, help="per measurement, default: %(default)s"
    )
    parser.add_argument(
        "--size", type=int, default=100, help="bytes of a message, default: %(default)s"
    )
    options = parser.parse_args()
    settings.configure(SECRET_KEY="for a benchmark only", WSCONSUMER={})
    Group("kept.{slug}", keep=100)
    tables = asyncio.run(run(options))
    report(NOTE, environment(*PACKAGES), tables, options.json)


if __name__ == "__main__":
    main()
