"""Limits of connections across server processes that are killed and paused, on each engine."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import tempfile
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from tests.engines import Postgres, Redis
from tests.processes.running import PATIENCE, PREFIX, ROOT, environment, serving

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.processes.running import Server

LEASE: Final = 2.0
LIMIT: Final = 3
KEY: Final = "address:{}:tests.processes.consumers.Counted"


class OnRedis(Redis):
    """Knows what is counted there, and can lose it."""

    def counted(self, name: str) -> int:
        """Return how many of a name count, dead processes not."""
        tag = f"{{{PREFIX}:wsconsumer:processes}}"
        seconds, _ = self.command("TIME")
        held = set(self.command("ZRANGEBYSCORE", f"{tag}:l", seconds * 1000, "+inf"))
        counts: dict[bytes, bytes] = self.command("HGETALL", f"{tag}:c:{KEY.format(name)}")
        return sum(int(number) for process, number in counts.items() if process in held)

    def lose(self) -> None:
        """Lose everything."""
        self.command("FLUSHALL")


class OnPostgres(Postgres):
    """Knows what is counted there, and can lose it."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        subprocess.run(
            [sys.executable, "-m", "django", "migrate", "-v0"],
            env=environment(self), cwd=ROOT, check=True, timeout=60,
        )  # fmt: skip

    def counted(self, name: str) -> int:
        """Return how many of a name count, dead processes not."""
        ((total,),) = self.query(
            "SELECT coalesce(sum(count), 0) FROM wsconsumer_count"
            " JOIN wsconsumer_process ON id = process WHERE key = %s AND held_until > now()",
            KEY.format(name),
        )
        return int(total)

    def lose(self) -> None:
        """Lose everything."""
        self.query("TRUNCATE wsconsumer_process CASCADE")


Engine = OnRedis | OnPostgres


@contextmanager
def started(kind: type[Any]) -> Iterator[Any]:
    """Start an engine."""
    # Not below pytest's own directory, which only its owner may enter.
    with tempfile.TemporaryDirectory() as directory:
        engine = kind(Path(directory))
        yield engine
        engine.stop()


@pytest.fixture(scope="module", params=[OnRedis, OnPostgres], ids=["redis", "postgres"])
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    """Each engine in turn."""
    with started(request.param) as engine:
        yield engine


@pytest.fixture
def servers(engine: Engine) -> Iterator[list[Server]]:
    """Two servers with short leases."""
    with serving(engine, ["uvicorn", "daphne"], PROCESSES_LEASE=f"{LEASE}") as servers:
        yield servers


class Crowd:
    """Clients of one name."""

    def __init__(self, name: str, stack: AsyncExitStack) -> None:
        self.name = name
        self._stack = stack
        self._open: list[tuple[Server, Any]] = []

    async def come(self, *servers: Server) -> int:
        """Let a client come to each of these servers, all at once; return how many are let in."""
        return sum(await asyncio.gather(*map(self._come, servers)))

    async def _come(self, server: Server) -> bool:
        url = f"{server.url}counted/?name={self.name}"
        socket = connect(url, proxy=None, open_timeout=PATIENCE, close_timeout=1)
        try:
            self._open.append((server, await self._stack.enter_async_context(socket)))
        except InvalidStatus:
            return False
        return True

    async def go(self) -> Server:
        """Let the one that came first go; return where it was."""
        server, socket = self._open.pop(0)
        await socket.close()
        return server

    def lost(self, server: Server) -> int:
        """Forget those of a server that was killed; return how many are left."""
        self._open = [one for one in self._open if one[0] is not server]
        return len(self._open)


async def until_counted(engine: Engine, name: str, number: int) -> None:
    """Wait until the engine has this count."""
    found = -1
    try:
        async with asyncio.timeout(5 * LEASE):
            while found != number:
                found = await asyncio.to_thread(engine.counted, name)
    except TimeoutError:
        raise AssertionError(f"{found} are counted, expected {number}") from None


@pytest.fixture
async def stack() -> Any:
    """What is to be closed in the end."""
    async with AsyncExitStack() as stack:
        yield stack


async def test_two_servers(engine: Engine, servers: list[Server], stack: AsyncExitStack) -> None:
    """
    Together they let in as many as the limit says, whatever happens to them and to the engine.

    One test, since it takes long to start them.
    """
    first, second = servers
    crowd, other = Crowd("a", stack), Crowd("b", stack)
    assert await crowd.come(*servers * 5) == LIMIT
    assert await other.come(first, first, second) == LIMIT
    assert await crowd.come(*servers) == 0
    await crowd.go()
    assert await crowd.come(*servers) == 1
    await until_counted(engine, "a", LIMIT)

    # The engine loses everything: the servers count anew.
    await asyncio.to_thread(engine.lose)
    await until_counted(engine, "a", LIMIT)
    await until_counted(engine, "b", LIMIT)
    assert await crowd.come(*servers) == 0

    # One is paused for longer than its lease, and comes back.
    first.signal(signal.SIGSTOP)
    await until_counted(engine, "b", 1)
    first.signal(signal.SIGCONT)
    await until_counted(engine, "b", LIMIT)
    assert await other.come(*servers) == 0

    # It is killed: what it had counts until its lease has lapsed, and no longer.
    first.signal(signal.SIGKILL)
    left = crowd.lost(first)
    await until_counted(engine, "b", 1)
    assert await other.come(second, second, second) == 2
    assert await crowd.come(*[second] * LIMIT) == LIMIT - left

    # The other stops in good order, and takes all with it at once.
    await asyncio.to_thread(second.stop)
    assert (engine.counted("a"), engine.counted("b")) == (0, 0)
