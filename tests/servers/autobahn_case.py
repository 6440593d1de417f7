"""One case of the Autobahn suite: what the client sends, and what the server must make of it.

`play()` plays a case against a server and returns what happened; `judge()` compares that with what
the case expects, by the classes that Autobahn has: OK, NON-STRICT, INFORMATIONAL and FAILED.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum

from tests.servers.autobahn_wire import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    Frame,
    Wire,
    close,
    connected,
)
from tests.servers.harness import PATIENCE, QUIET, SOON

Event = tuple[str, bytes]
"""What the client hears: the kind, and the payload."""


@dataclass(frozen=True)
class Send:
    """Write these octets, each piece by itself."""

    pieces: tuple[bytes, ...]


@dataclass(frozen=True)
class Hear:
    """Wait for the answer to what was sent so far: so many events in all."""

    count: int


@dataclass(frozen=True)
class Pause:
    """Wait for the server to fail the connection; that it did not is an event too."""

    name: bytes
    seconds: float


FIRST_PAUSE = Pause(b"A", QUIET)
SECOND_PAUSE = Pause(b"B", SOON)
"""The pauses of the cases that fail fast: nothing is wrong at the first, all is at the second."""


@dataclass(frozen=True)
class Ending:
    """How the connection has to end.

    `codes` are the close codes that the server may send; it may also leave the code out. `is_clean`
    says that its close frame has to come before the end of the TCP connection.
    """

    by_client: bool
    codes: tuple[int, ...]
    is_clean: bool


NORMAL = Ending(by_client=True, codes=(1000,), is_clean=True)
PROTOCOL_ERROR = Ending(by_client=False, codes=(1002,), is_clean=False)
INVALID_PAYLOAD = Ending(by_client=False, codes=(1007,), is_clean=False)
REFUSED_CLOSE = Ending(by_client=True, codes=(1002,), is_clean=False)
REFUSED_REASON = Ending(by_client=True, codes=(1002, 1007), is_clean=False)


@dataclass(frozen=True)
class Case:
    """A script for the client, the events that it must hear, and the ending."""

    name: str
    script: tuple[Send | Hear | Pause, ...]
    expected: tuple[Event, ...]
    ending: Ending
    non_strict: tuple[Event, ...] | None = None
    closes_when_done: bool = False
    is_informational: bool = False


@dataclass
class Outcome:
    """What happened on the connection."""

    events: list[Event] = field(default_factory=list)
    by_client: bool | None = None
    is_clean: bool = False
    code: int | None = None
    is_dropped: bool = False
    """Whether the server has closed the TCP connection, as it has to."""


class Grade(StrEnum):
    """Autobahn's classes of behavior."""

    OK = "OK"
    NON_STRICT = "NON-STRICT"
    INFORMATIONAL = "INFORMATIONAL"
    FAILED = "FAILED"


@dataclass(frozen=True)
class Verdict:
    grade: Grade
    why: str = ""


def judge(case: Case, outcome: Outcome) -> Verdict:
    """Compare what happened with what the case expects."""
    if case.is_informational:
        return Verdict(Grade.INFORMATIONAL)
    events = tuple(outcome.events)
    if events not in (case.expected, case.non_strict):
        return Verdict(Grade.FAILED, f"expected {_short(case.expected)}, got {_short(events)}")
    if why := _wrong_ending(case.ending, outcome):
        return Verdict(Grade.FAILED, why)
    return Verdict(Grade.OK if events == case.expected else Grade.NON_STRICT)


def _wrong_ending(ending: Ending, outcome: Outcome) -> str:
    """Say what is wrong with the end of the connection, if anything is."""
    if not outcome.is_dropped:
        return "the server left the TCP connection open"
    if outcome.by_client is not None and outcome.by_client != ending.by_client:
        return f"closed by the {'client' if outcome.by_client else 'server'}"
    if ending.is_clean and not outcome.is_clean:
        return "dropped without a close frame"
    if outcome.code is not None and outcome.code not in ending.codes:
        return f"expected a close code of {ending.codes}, got {outcome.code}"
    return ""


def _short(events: tuple[Event, ...]) -> list[tuple[str, bytes, int]]:
    return [(kind, payload[:20], len(payload)) for kind, payload in events]


async def play(case: Case, port: int, path: str) -> Outcome:
    """Play the case, and return what happened by the end, or by the end of our patience."""
    async with connected(port, path) as wire:
        player = Player(case, wire)
        with suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE):
                await player.play()
    return player.outcome


class Player:
    """The client's side of a case."""

    def __init__(self, case: Case, wire: Wire) -> None:
        self.outcome = Outcome()
        self._case = case
        self._wire = wire
        self._kind = ""
        self._message = b""
        if case.ending.by_client and not case.closes_when_done:
            self.outcome.by_client = True  # the script does it

    async def play(self) -> None:
        """Follow the script, then listen until the server drops the connection."""
        for step in self._case.script:
            await self._do(step)
        if self._case.closes_when_done:
            await self._listen(lambda: tuple(self.outcome.events) == self._case.expected)
            await self._close()
        await self._listen(lambda: False)

    async def _do(self, step: Send | Hear | Pause) -> None:
        if isinstance(step, Send):
            await self._wire.write(step.pieces)
        elif isinstance(step, Hear):
            await self._listen(lambda: len(self.outcome.events) >= step.count)
        else:
            await self._pause(step)

    async def _pause(self, pause: Pause) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(pause.seconds):
                await self._listen(lambda: False)
        if self.outcome.by_client is None and not self.outcome.is_dropped:
            self.outcome.events.append(("timeout", pause.name))

    async def _close(self) -> None:
        if self.outcome.by_client is None and not self.outcome.is_dropped:
            self.outcome.by_client = True
            await self._wire.write([close(1000).masked()])

    async def _listen(self, is_done: Callable[[], bool]) -> None:
        """Take frames until there is nothing more to wait for, or nobody to hear."""
        while not self.outcome.is_dropped and not is_done():
            frame = await self._wire.frame()
            if frame is None:
                self.outcome.is_dropped = True
            else:
                await self._take(frame)

    async def _take(self, frame: Frame) -> None:
        if frame.rsv or frame.is_masked or self.outcome.is_clean:
            # No extension was agreed on, a server does not mask, and a close frame is the last.
            self.outcome.events.append(("illegal frame", frame.payload))
        elif frame.opcode == CLOSE:
            await self._take_close(frame)
        elif frame.opcode == PING:
            await self._wire.write([Frame(PONG, frame.payload).masked()])
        elif frame.opcode == PONG:
            self.outcome.events.append(("pong", frame.payload))
        else:
            self._take_data(frame)

    async def _take_close(self, frame: Frame) -> None:
        self.outcome.is_clean = True
        if frame.payload:
            self.outcome.code = int.from_bytes(frame.payload[:2])
        if self.outcome.by_client is None:
            self.outcome.by_client = False
            await self._wire.write([Frame(CLOSE, frame.payload).masked()])

    def _take_data(self, frame: Frame) -> None:
        if frame.opcode != CONTINUATION:
            self._kind, self._message = KINDS.get(frame.opcode, f"opcode {frame.opcode}"), b""
        self._message += frame.payload
        if frame.fin:
            self.outcome.events.append((self._kind, self._message))


KINDS = {TEXT: "text", BINARY: "binary"}
