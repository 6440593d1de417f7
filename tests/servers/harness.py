"""One server process: start it, talk to it, read what it wrote, stop it.

Start at `running()`. The process tells what happens inside it through the journal, a named pipe
(see `project/journal.py`); everything it prints is kept as its output.
"""

import asyncio
import http.client
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Generic, TypeVar

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

PATIENCE = 10.0
"""Seconds that anything may take before the test gives up."""

QUIET = 0.3
"""Seconds without an event after which whatever makes them is taken to have stopped."""

SOON = 3.0
"""Seconds in which the client must hear of a close that nothing holds up."""

HOST = "127.0.0.1"
HERE = Path(__file__).parent
APPLICATION = "tests.servers.project.asgi:application"

COMMANDS = {
    "daphne": ["daphne", "-b", HOST, "-p", "{port}"],
    "uvicorn-websockets": ["uvicorn", "--host", HOST, "--port", "{port}", "--ws", "websockets"],
    "uvicorn-sansio": ["uvicorn", "--host", HOST, "--port", "{port}", "--ws", "websockets-sansio"],
    "uvicorn-wsproto": ["uvicorn", "--host", HOST, "--port", "{port}", "--ws", "wsproto"],
    "hypercorn": ["hypercorn", "-b", f"{HOST}:{{port}}"],
    # Its other runtime mode may abort at shutdown (https://github.com/emmett-framework/granian/issues/884).
    "granian": [
        *("granian", "--interface", "asgi", "--runtime-mode", "st"),
        *("--host", HOST, "--port", "{port}"),
    ],
}

Event = dict[str, Any]
T = TypeVar("T")

_numbers = itertools.count(1)
_ports = iter(range(20_000 + os.getpid() % 10_000, 32_000))


def new_key() -> str:
    """Return a name for a connection that no other connection has."""
    return f"c{next(_numbers):05}"


class NothingHappened(AssertionError):
    """A connection never had the event that the test waits for."""


class ServerFailed(Exception):
    """The server process did not do what every scenario relies on."""


class Tail(Generic[T]):
    """The lines of a stream, parsed in a thread as they come; anyone may wait for one."""

    def __init__(self, stream: IO[str], parse: Callable[[str], T]) -> None:
        self._stream = stream
        self._parse = parse
        self._lines: list[T] = []
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        with self._stream:
            for line in self._stream:
                with self._changed:
                    self._lines.append(self._parse(line))
                    self._changed.notify_all()

    def all(self) -> list[T]:
        with self._changed:
            return list(self._lines)

    def wait(self, is_there: Callable[[list[T]], bool], timeout: float) -> bool:
        """Wait until the lines satisfy `is_there`, and return whether they do."""
        with self._changed:
            return self._changed.wait_for(lambda: is_there(self._lines), timeout)

    def wait_for_more(self, than: int, timeout: float) -> bool:
        """Wait for more lines than there were."""
        return self.wait(lambda lines: len(lines) > than, timeout)

    def join(self) -> None:
        """Wait for the end of the stream."""
        self._thread.join(PATIENCE)


@dataclass
class Story:
    """All that happened to one connection, in order."""

    events: list[Event]

    @property
    def names(self) -> list[str]:
        return [event["event"] for event in self.events]

    @property
    def disconnects(self) -> list[tuple[int, str]]:
        """The arguments of each call of `disconnect()`."""
        return [(e["code"], e["reason"]) for e in self.events if e["event"] == "disconnect"]

    def how(self, event: str) -> str:
        """Return how something that has an end came to it."""
        how: str = next(e["how"] for e in self.events if e["event"] == event)
        return how


class Journal:
    """The events that the server process wrote."""

    def __init__(self, pipe: Path) -> None:
        os.mkfifo(pipe)
        self._pipe = pipe
        # Opened for reading first, since a pipe without a reader cannot be opened for writing. Our
        # own writing end keeps the reader from seeing the end of the stream before `close()`.
        reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
        self._writer: int | None = os.open(pipe, os.O_WRONLY)
        os.set_blocking(reader, True)
        self._events: Tail[Event] = Tail(os.fdopen(reader, encoding="utf-8"), json.loads)

    def close(self) -> None:
        """Read what is left; the server process must be gone."""
        if self._writer is not None:
            os.close(self._writer)
            self._writer = None
        self._events.join()
        self._pipe.unlink()

    def events(self) -> list[Event]:
        """Return all that the server process has written by now, to the last line."""
        if self._writer is not None:
            mark = {"key": "", "event": f"mark {next(_numbers)}"}
            os.write(self._writer, json.dumps(mark).encode() + b"\n")
            self._events.wait(lambda events: mark in events, PATIENCE)
        return self._events.all()

    def story(self, key: str) -> Story:
        """Return what has happened to one connection so far."""
        return Story([event for event in self.events() if event["key"] == key])

    def logged(self, text: str = "") -> list[Event]:
        """
        Return the log records so far that contain `text`, in the message or the traceback.

        Those of the access log, which say how each connection ended, are left out.
        """
        logs = [e for e in self.events() if e["event"] == "log" and text in e["text"]]
        return [each for each in logs if each["logger"] != "wsconsumer.access"]

    async def wait_for_log(self, text: str) -> list[Event]:
        """Wait for a log record that contains `text`; they are written by a thread of their own."""

        def happened(events: list[Event]) -> bool:
            return any(e["event"] == "log" and text in e["text"] for e in events)

        await asyncio.to_thread(self._events.wait, happened, PATIENCE)
        return self.logged(text)

    async def wait(self, *keys: str, event: str) -> None:
        """Wait until each of the connections has had the event."""

        def happened(events: list[Event]) -> bool:
            return set(keys) <= {e["key"] for e in events if e["event"] == event}

        if not await asyncio.to_thread(self._events.wait, happened, PATIENCE):
            stories = {key: self.story(key).names for key in keys}
            missing = {key: names for key, names in stories.items() if event not in names}
            raise NothingHappened(f"no {event!r} within {PATIENCE} s, only {missing}")

    async def wait_for_times(
        self, key: str, event: str, times: int, patience: float = PATIENCE
    ) -> None:
        """Wait until a key has had an event so many times."""

        def happened(events: list[Event]) -> bool:
            return [(e["key"], e["event"]) for e in events].count((key, event)) >= times

        if not await asyncio.to_thread(self._events.wait, happened, patience):
            raise NothingHappened(
                f"no {event!r} of {key} {times} times, only {self.story(key).names}"
            )

    async def count(self, key: str, event: str) -> int:
        """Wait until the connection has the event no more, and return how often it had it."""
        count = 0

        def counted(events: list[Event]) -> int:
            return sum(e["key"] == key and e["event"] == event for e in events)

        def happened(events: list[Event]) -> bool:
            return counted(events) > count

        while await asyncio.to_thread(self._events.wait, happened, QUIET):
            count = counted(self._events.all())
        return count


@dataclass
class Server:
    """A server process that answers on a port."""

    name: str
    port: int
    process: subprocess.Popen[str]
    journal: Journal
    output: Tail[str]

    @asynccontextmanager
    async def connect(self, path: str, **options: Any) -> AsyncIterator[ClientConnection]:
        """Open a websocket, and close it when the block ends; bound the time the block takes."""
        async with asyncio.timeout(PATIENCE), await self.open(path, **options) as websocket:
            yield websocket

    async def open(self, path: str, **options: Any) -> ClientConnection:
        """Open a websocket that the caller, or the server, closes."""
        return await connect(self.url(path), **self._options(options))

    @asynccontextmanager
    async def raw(
        self, path: str, patience: float = PATIENCE, **options: Any
    ) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        """Open a websocket by hand, behind its handshake, for clients that misbehave."""
        where: dict[str, Any] = {} if "sock" in options else {"host": HOST, "port": self.port}
        async with asyncio.timeout(patience):
            reader, writer = await asyncio.open_connection(**where, **options)
            try:
                writer.write(
                    f"GET {path} HTTP/1.1\r\nHost: {HOST}:{self.port}\r\n"
                    "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                    "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n".encode()
                )
                head = await reader.readuntil(b"\r\n\r\n")
                assert head.startswith(b"HTTP/1.1 101 "), head
                yield reader, writer
            finally:
                writer.close()

    def url(self, path: str) -> str:
        return f"ws://{HOST}:{self.port}{path}"

    @staticmethod
    def _options(options: dict[str, Any]) -> dict[str, Any]:
        bounds = {"open_timeout": PATIENCE, "close_timeout": 3, "ping_interval": None}
        return {**bounds, "proxy": None, **options}

    @contextmanager
    def http(self) -> Iterator[http.client.HTTPConnection]:
        """Open an HTTP connection, kept alive until the block ends."""
        connection = http.client.HTTPConnection(HOST, self.port, timeout=PATIENCE)
        try:
            yield connection
        finally:
            connection.close()

    async def ended(self, key: str) -> Story:
        """Wait until the application is through with a connection, and return its whole story.

        Nothing can happen to the connection any more, so what is not there will not come.
        """
        await self.journal.wait(key, event="end")
        return self.journal.story(key)

    def terminate(self) -> None:
        """Send the SIGTERM that asks a server to stop."""
        self.process.send_signal(signal.SIGTERM)

    def has_exited(self, within: float = PATIENCE) -> bool:
        """Wait for the process to exit by itself, and return whether it did."""
        try:
            self.process.wait(within)
        except subprocess.TimeoutExpired:
            return False
        return True

    def close(self) -> None:
        """Kill what is left of the process and its children, and read what is left to read."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(PATIENCE)
        self.output.join()
        self.journal.close()


def frame(opcode: int, payload: bytes, *, fin: bool = True) -> bytes:
    """Return a client's frame with a short payload, masked with zeros (RFC 6455 section 5.2)."""
    return bytes((fin << 7 | opcode, 0x80 | len(payload))) + bytes(4) + payload


async def remaining(websocket: ClientConnection) -> list[str | bytes]:
    """Read messages until the connection is closed, however it is closed."""
    messages = []
    with suppress(ConnectionClosed):
        while True:
            messages.append(await websocket.recv())
    return messages


@contextmanager
def running(
    name: str,
    folder: Path,
    application: str = APPLICATION,
    *,
    command: Sequence[str] = (),
    options: Sequence[str] = (),
    port: str = "",
    **environment: str,
) -> Iterator[Server]:
    """Start a server in a folder, wait until it answers, and stop it in the end.

    `command` takes the place of the server's own in `COMMANDS`; `options` are more of either. It
    gets a port that nobody has, unless `port` says which.
    """
    words = [*(command or COMMANDS[name]), *options, application]
    server = _start(name, folder, words, environment, int(port or free_port()))
    try:
        _wait_until_ready(server)
        yield server
        server.terminate()
        server.has_exited()
    finally:
        server.close()


def _start(
    name: str, folder: Path, command: list[str], environment: dict[str, str], port: int
) -> Server:
    journal = Journal(folder / "journal")
    process = subprocess.Popen(
        [sys.executable, "-m", *(part.format(port=port) for part in command)],
        cwd=folder,
        env={**_environment(folder), **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,  # so that workers can be killed along with their parent
    )
    assert process.stdout is not None
    return Server(name, port, process, journal, Tail(process.stdout, str))


def _environment(folder: Path) -> dict[str, str]:
    root = HERE.parent.parent
    return {
        **os.environ,
        "JOURNAL": str(folder / "journal"),
        "PYTHONPATH": str(root),
        "PYTHONUNBUFFERED": "1",
    }


def free_port() -> int:
    """Return a port nobody has, below those that the system gives to clients.

    One of theirs might be taken by a connection of our own before the server binds it.
    """
    for port in _ports:
        with socket.socket() as listener, suppress(OSError):
            listener.bind((HOST, port))
            return port
    raise ServerFailed("every port is taken")


def _wait_until_ready(server: Server) -> None:
    """Try the port whenever the process has written something, or every 50 ms."""
    deadline = time.monotonic() + PATIENCE
    while not _answers(server.port):
        output = server.output.all()
        if server.process.poll() is not None or time.monotonic() > deadline:
            raise ServerFailed(f"{server.name} did not start:\n{''.join(output)}")
        server.output.wait_for_more(len(output), 0.05)


def _answers(port: int) -> bool:
    try:
        socket.create_connection((HOST, port), PATIENCE).close()
    except ConnectionRefusedError:
        return False
    return True
