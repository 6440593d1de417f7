"""
Asking all processes, from any of them: who is connected, or that somebody be disconnected.

Nobody knows how many processes there are, so whoever asks waits for a time. What has begun to
answer by then is let finish.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from concurrent.futures import TimeoutError as NotDone
from contextlib import asynccontextmanager, suppress
from secrets import token_hex
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

import msgspec

from ..counters import counters
from ..escaping import escape
from ..exceptions import BackendError
from ..groups.hub import started_hub
from ..groups.loading import current_groups, make_backend
from ..groups.orders import CHANNEL, body_of
from ..log_thread import log
from ..loops import in_thread
from ..protocol import CloseCode, check_close
from ..throttle import MINUTE, Seldom
from .questions import EVERYBODY, Answer, Disconnect, WhoIsConnected, channel_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine

    from ..groups.orders import Order
    from ..processes import Process
    from .facts import Facts
    from .questions import Selection

logger = logging.getLogger("wsconsumer.groups")

T = TypeVar("T")

TIMEOUT: Final = 2.0
"""Seconds in which a process has to begin to answer."""

QUIET: Final = 0.05
"""Seconds without another answer after which all have answered, where all are in this process."""

LONGEST: Final = 30.0
"""Seconds after which an answer that has not ended is given up."""

PATIENCE: Final = 5.0
"""Seconds in which the engine has to take a question."""

REASON: Final = "disconnected by the server's owner"
"""The reason of the close, unless another is given."""

refused: Final = Seldom(MINUTE)

_decode: Final = msgspec.json.Decoder(Answer).decode


class Report(NamedTuple):
    """
    What a process has answered.

    ``total``: its connections; ``meant``: those that were asked for; ``closed``: those that it
    closes. ``is_whole``: whether all of its answer has come. ``is_draining``: whether it takes no
    new ones, since it is going to stop.
    """

    process: Process
    total: int
    meant: int
    closed: int
    is_whole: bool = True
    is_draining: bool = False


class Answers:
    """What has been answered so far."""

    def __init__(self) -> None:
        self.rows: list[Facts] = []
        self.heard_at = 0.0
        self._loops: dict[tuple[Process, str], _Loop] = {}
        self._processes: dict[str, Process] = {}

    def add(self, answer: Answer, now: float) -> None:
        """Add a piece of an answer."""
        self.heard_at = now
        self.rows += answer.rows
        self._processes[answer.loop] = answer.process
        loop = self._loops.setdefault((answer.process, answer.loop), _Loop())
        loop.pieces += 1
        if answer.is_last:
            loop.last = answer

    @property
    def is_whole(self) -> bool:
        """Whether whoever has begun to answer has ended, too, and nothing of it was lost."""
        return all(loop.is_whole for loop in self._loops.values())

    @property
    def consumers(self) -> Counter[str]:
        """How many connections there are of each consumer, of those that are meant."""
        found: Counter[str] = Counter()
        for loop in self._loops.values():
            if loop.last is not None:
                found.update(loop.last.consumers)
        return found

    @property
    def reports(self) -> list[Report]:
        """Those that have answered, by the names of their hosts and their ids."""
        found: dict[Process, Report] = {}
        for (process, _), loop in self._loops.items():
            before = found.get(process, Report(process, 0, 0, 0))
            found[process] = loop.added_to(before)
        return sorted(found.values(), key=lambda report: report.process)

    def process_of(self, row: Facts) -> Process | None:
        """Return the process of a connection."""
        return self._processes.get(row.id.partition("-")[0])


class _Loop:
    """What an event loop has answered."""

    def __init__(self) -> None:
        self.pieces = 0
        self.last: Answer | None = None

    @property
    def is_whole(self) -> bool:
        return self.last is not None and self.last.number == self.pieces - 1

    def added_to(self, report: Report) -> Report:
        last = self.last
        if last is None:
            return report._replace(is_whole=False)
        return Report(
            report.process,
            report.total + last.total,
            report.meant + sum(last.consumers.values()),
            report.closed + last.closed,
            report.is_whole and self.is_whole,
            report.is_draining or last.is_draining,
        )


async def who_is_connected(
    selection: Selection = EVERYBODY, *, limit: int | None = None, patience: float = TIMEOUT
) -> Answers:
    """
    Ask all processes who is connected.

    ``limit``: of so many connections each event loop tells; the others are only counted.
    ``patience``: seconds in which a process has to begin to answer. Raises ``BackendError`` if the
    engine does not take the question.
    """
    return await _ask(lambda reply: WhoIsConnected(reply, selection, limit), patience)


async def disconnect(
    selection: Selection,
    *,
    by: str,
    code: int = CloseCode.DISCONNECTED,
    reason: str = REASON,
    patience: float = TIMEOUT,
) -> Answers:
    """
    Close connections in all processes, and ask how many they were.

    ``by`` says in the log who wants it. Raises ``TypeError`` or ``ValueError`` for a code or reason
    that can't be sent, ``BackendError`` as above.
    """
    check_close(code, reason)
    return await _ask(lambda reply: Disconnect(reply, selection, int(code), reason, by), patience)


def in_own_loop(ask: Callable[[], Coroutine[Any, Any, T]], patience: float = TIMEOUT) -> T:
    """
    Ask from a thread, in an event loop of its own; an engine that hangs is given up in time.

    ``patience``: that of the question.
    """
    asked = in_thread(lambda: asyncio.run(ask()))
    try:
        return asked.result(PATIENCE + max(LONGEST, patience) + PATIENCE)
    except NotDone as error:
        raise BackendError("The engine behind the groups holds up whoever asks it.") from error


async def _ask(question: Callable[[str], Order], patience: float) -> Answers:
    loop = asyncio.get_running_loop()
    answers, came, reply = Answers(), asyncio.Event(), token_hex(8)

    def hear(body: bytes) -> None:
        try:
            answers.add(_decode(body), loop.time())
        except ValueError as error:  # msgspec's errors are
            counters["body_refused"] += 1
            if times := refused.count():
                text = "Refused an answer: %s. Times: %d."
                log(logger, logging.WARNING, text, escape(error), times)
        came.set()

    async with _channel(channel_of(reply), hear) as channel:
        await _within_patience(channel.publish(CHANNEL, body_of(question(reply))))
        asked = loop.time()
        while (left := _deadline(answers, asked, patience, channel) - loop.time()) > 0:
            came.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await came.wait()
    return answers


def _deadline(answers: Answers, asked: float, patience: float, channel: _Channel) -> float:
    """Return until when to wait: longer while somebody is in the midst of an answer."""
    if not answers.is_whole:
        silence = max(patience, TIMEOUT)
        return max(asked + patience, min(answers.heard_at + silence, asked + LONGEST))
    if channel.is_local and answers.reports:
        return answers.heard_at + QUIET
    return asked + patience


class _Channel(NamedTuple):
    publish: Callable[[str, bytes], Coroutine[Any, Any, None]]
    is_local: bool


@asynccontextmanager
async def _channel(name: str, hear: Callable[[bytes], None]) -> AsyncIterator[_Channel]:
    """Have what comes to a channel heard: by the hub of this event loop, if it has one."""
    hub = started_hub()
    if hub is not None:
        try:
            await _within_patience(hub.hear(name, hear))
            yield _Channel(hub.tell, hub.is_local)
        finally:
            hub.hush(name)
        return
    backend = make_backend(current_groups())

    async def deliver(group: str, body: bytes, _: object = None) -> None:
        if group == name:
            hear(body)

    await _within_patience(backend.start(deliver))
    try:
        await _within_patience(backend.subscribe([name]))
        yield _Channel(backend.publish, backend.is_local)
    finally:
        await backend.aclose()


async def _within_patience(doing: Coroutine[Any, Any, None]) -> None:
    try:
        async with asyncio.timeout(PATIENCE):
            await doing
    except TimeoutError as error:
        text = f"The engine behind the groups did not answer within {PATIENCE:g} seconds."
        raise BackendError(text) from error
