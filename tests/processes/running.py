"""
Server processes on one engine, and a process that only publishes: start, talk to, and end them.

Nothing here waits by sleeping: a server is ready when it has said which port it has.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from tests.clusters import RedisCluster
from tests.engines import Postgres, Redis
from tests.servers.harness import Tail

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence

PATIENCE: Final = 20.0
"""Seconds that anything may take before it is given up; the machine may be busy."""

HOST: Final = "127.0.0.1"
ROOT: Final = Path(__file__).parent.parent.parent
APPLICATION: Final = "tests.processes.asgi:application"

COMMANDS: Final = {
    "daphne": ["daphne", "-b", HOST, "-p", "0", APPLICATION],
    "uvicorn": ["uvicorn", "--host", HOST, "--port", "0", APPLICATION],
}
"""The system gives each its port; it says which."""

READY: Final = re.compile(rf"\b{re.escape(HOST)}:(\d+)")

SQLITE: Final = {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}

Engine = Redis | RedisCluster | Postgres

PREFIX: Final = "processes"
"""What the names of groups begin with in the engine."""


def environment(engine: Engine | None, **more: str) -> dict[str, str]:
    """
    Return the environment of a process whose groups are carried by this engine.

    ``more`` are variables besides; without an engine, they say which.
    """
    database = SQLITE
    groups: dict[str, Any] = {"BACKEND": "wsconsumer.groups.redis.RedisBackend"}
    if isinstance(engine, Postgres):
        database = engine.settings
        groups = {"BACKEND": "wsconsumer.groups.postgres.PostgresBackend", "LOCATION": "default"}
    elif isinstance(engine, RedisCluster):
        groups |= {"LOCATION": engine.urls, "OPTIONS": {"CLUSTER": True}}
    elif engine is not None:
        groups["LOCATION"] = engine.url
    return {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "tests.processes.settings",
        "PROCESSES_DATABASE": json.dumps(database),
        "PROCESSES_GROUPS": json.dumps({**groups, "PREFIX": PREFIX}),
        "PYTHONPATH": str(ROOT),
        "PYTHONUNBUFFERED": "1",
        **more,
    }


class Server:
    """A server process; all that it prints is kept."""

    def __init__(self, name: str, engine: Engine | None, **variables: str) -> None:
        self.name = name
        self._process = subprocess.Popen(
            [sys.executable, "-m", *COMMANDS[name]],
            env=environment(engine, **variables),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert self._process.stdout is not None
        self._output: Tail[str] = Tail(self._process.stdout, str)
        self.port = 0

    @property
    def url(self) -> str:
        """Where members connect."""
        return f"ws://{HOST}:{self.port}/ws/"

    @property
    def output(self) -> str:
        """What it has printed so far."""
        return "".join(self._output.all())

    def wait_until_ready(self) -> None:
        """Return when it answers."""
        assert self._output.wait(lambda lines: any(map(READY.search, lines)), PATIENCE), self.output
        found = READY.search(self.output)
        assert found is not None
        self.port = int(found[1])

    def said(self, text: str) -> int:
        """Return how many lines had this text so far."""
        return sum(text in line for line in self._output.all())

    async def says(self, text: str, times: int) -> None:
        """Wait until it has said so this many times."""

        def is_said(lines: list[str]) -> bool:
            return sum(text in line for line in lines) >= times

        said = await asyncio.to_thread(self._output.wait, is_said, PATIENCE)
        assert said, f"{self.name} did not say {text!r}:\n{self.output}"

    @property
    def pid(self) -> int:
        """The process that serves."""
        return self._process.pid

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Let it hang while the block runs: connections stay, and nothing answers."""
        self._process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)

    async def publish(self, order: dict[str, Any]) -> Any:
        """Let the sync view do an order."""
        return (await self.ask("/publish/", order))["done"]

    async def ask(self, path: str, order: dict[str, Any] | None = None) -> Any:
        """Send an order to a view, or get a page; return the JSON that it answers with."""
        method, body = ("GET", b"") if order is None else ("POST", json.dumps(order).encode())
        head = (
            f"{method} {path} HTTP/1.1\r\nHost: {HOST}:{self.port}\r\nConnection: close\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        async with asyncio.timeout(PATIENCE):
            reader, writer = await asyncio.open_connection(HOST, self.port)
            writer.write(head.encode() + body)
            answer = await reader.read()
            writer.close()
            await writer.wait_closed()
        if b" 200 " not in answer.partition(b"\r\n")[0]:
            raise ConnectionError(f"{self.name} answered {answer!r}")
        # What is around it may be the length of a chunk.
        return json.loads(answer[answer.index(b"{") : answer.rindex(b"}") + 1])

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self._process.send_signal(number)

    def stop(self) -> None:
        """Ask it to stop; kill it if it does not."""
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(PATIENCE)
        finally:
            self.kill()

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()
        self._process.wait(PATIENCE)
        self._output.join()


@contextmanager
def serving(engine: Engine, names: Sequence[str], **variables: str) -> Iterator[list[Server]]:
    """Start servers, all at once; they answer, and are stopped in the end."""
    with ExitStack() as stack:
        servers = []
        for name in names:
            servers.append(Server(name, engine, **variables))
            stack.callback(servers[-1].stop)
        for server in servers:
            server.wait_until_ready()
        yield servers


class Script:
    """A process without an event loop that broadcasts what it is told to."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._process = process
        self._stdin = process.stdin
        self._stdout = process.stdout

    @classmethod
    async def start(
        cls, engine: Engine | None, module: str = "tests.processes.publishing", **variables: str
    ) -> Self:
        """Start one that runs a module."""
        return cls(
            await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", module),
                env=environment(engine, **variables),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                limit=16 * 1024 * 1024,
            )
        )

    async def stop(self) -> None:
        """Let it end."""
        self._stdin.close()
        async with asyncio.timeout(PATIENCE):
            await self._process.wait()

    async def kill(self) -> None:
        """End it at once."""
        self._process.kill()
        await self._process.wait()

    async def publish(self, order: dict[str, Any]) -> Any:
        """Let it do an order."""
        self._stdin.write(json.dumps(order).encode() + b"\n")
        async with asyncio.timeout(PATIENCE):
            line = await self._stdout.readline()
        if not line:
            raise ConnectionError("the script ended")
        return json.loads(line)["done"]


@asynccontextmanager
async def script(engine: Engine) -> AsyncIterator[Script]:
    """Start a publishing process, and end it."""
    process = await Script.start(engine)
    try:
        yield process
    finally:
        await process.stop()


COMMAND: Final = """
import sys, django
django.setup()
from django.core.management import call_command
from wsconsumer.management.commands.websockets import Command
call_command(Command(), *sys.argv[1:])
"""


async def command(engine: Engine, *arguments: str) -> str:
    """Run ``manage.py websockets`` in a process of its own; return what it printed."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-W", "error", "-c", COMMAND, *arguments),
        env=environment(engine),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(PATIENCE):
        out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    assert err == b""
    return out.decode()
