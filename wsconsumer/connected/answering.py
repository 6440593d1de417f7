"""
How an event loop answers: in slices, so that ten thousand connections hold nobody up.

One question is answered at a time, however many are asked. Between two slices the loop does what
else there is to do.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, deque
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final, cast

import msgspec

from ..connection.monitor import monitor
from ..counters import counters
from ..disconnecting import CLOSABLE, close
from ..escaping import escape
from ..exceptions import BackendError
from ..groups.hub import started_hub
from ..groups.orders import heard_by
from ..log_fields import label_of
from ..log_thread import log
from ..loops import PerLoop, start_task
from ..processes import this_process
from ..protocol import check_close
from ..serving import is_draining
from ..throttle import MINUTE, Seldom
from .facts import facts_of, loop_name
from .questions import Answer, Disconnect, WhoIsConnected, channel_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from ..connection.monitor import Watched
    from .facts import Facts

logger = logging.getLogger("wsconsumer.groups")

SLICE: Final = 0.002
"""Seconds of the event loop that one slice of the work takes."""

PIECE: Final = 64 * 1024
"""Bytes after which a piece of an answer is sent."""

MAX_WAITING: Final = 50
"""Questions that may wait for their answer."""

dropped: Final = Seldom(MINUTE)

_encode: Final = msgspec.json.encode


class Answering:
    """The questions to one event loop, answered one after the other."""

    def __init__(self) -> None:
        self._waiting: deque[WhoIsConnected | Disconnect] = deque()
        self._task: asyncio.Task[None] | None = None

    def take(self, question: WhoIsConnected | Disconnect) -> None:
        """Answer soon."""
        if isinstance(question, Disconnect):
            check_close(question.code, question.reason)
        if len(self._waiting) >= MAX_WAITING:
            counters["question_dropped"] += 1
            if times := dropped.count():
                text = "Too many ask at once who is connected. Not answered: %s. Times: %d."
                log(logger, logging.WARNING, text, type(question).__name__, times)
            return
        self._waiting.append(question)
        if self._task is None:
            self._task = start_task(self._answer_all())

    async def _answer_all(self) -> None:
        try:
            while self._waiting:
                question = self._waiting.popleft()
                try:
                    await self._answer(question)
                except BackendError as error:
                    text = "An answer to who is connected was not sent: %s"
                    log(logger, logging.WARNING, text, escape(error))
                except Exception as error:  # noqa: BLE001  # the next question is another matter
                    text = "A question for who is connected was not answered: %s."
                    log(logger, logging.ERROR, text, type(question).__name__, error=error)
        finally:
            self._task = None

    async def _answer(self, question: WhoIsConnected | Disconnect) -> None:
        pieces = Pieces(question.reply)
        if isinstance(question, Disconnect):
            await self._disconnect(question, pieces)
        else:
            await self._report(question, pieces)

    async def _report(self, question: WhoIsConnected, pieces: Pieces) -> None:
        now = asyncio.get_running_loop().time()
        limit = question.limit
        async for session in _selected(question.selection.test(), pieces):
            if limit is None or pieces.meant <= limit:
                pieces.add(_encode(facts_of(session, now)))
                if pieces.is_full:
                    await pieces.send()
        await pieces.send(is_last=True)

    async def _disconnect(self, order: Disconnect, pieces: Pieces) -> None:
        async for session in _selected(order.selection.test(), pieces):
            if session.connection.state in CLOSABLE:
                close(session, order.code, order.reason, "owner_closed")
                pieces.closed += 1
        if pieces.closed:
            log(
                logger,
                logging.WARNING,
                "Closing with %d by order of %s: %s. Connections: %d.",
                order.code,
                escape(order.by),
                escape(order.selection),
                pieces.closed,
            )
        await pieces.send(is_last=True)


async def _selected(is_meant: Callable[[Watched], bool], pieces: Pieces) -> AsyncIterator[Watched]:
    """Yield the sessions of this event loop that are meant, and let others run now and then."""
    watching = monitor()
    left = deque(watching.sessions)
    pieces.total = len(left)
    began = perf_counter()
    while left:
        session = left.popleft()  # nothing may hold it once it has ended
        if watching.is_watching(session) and is_meant(session):
            pieces.count(session)
            yield session
        del session
        if perf_counter() - began > SLICE:
            await pieces.begin()
            await asyncio.sleep(0)
            began = perf_counter()


class Pieces:
    """The pieces of an answer."""

    def __init__(self, reply: str) -> None:
        self._channel = channel_of(reply)
        self._rows: list[msgspec.Raw] = []
        self._size = 0
        self._number = 0
        self.total = 0
        self.meant = 0
        self.closed = 0
        self._consumers: Counter[str] = Counter()

    @property
    def is_full(self) -> bool:
        """Whether the piece has to be sent."""
        return self._size >= PIECE

    def count(self, session: Watched) -> None:
        """Count a session that is meant."""
        self.meant += 1
        self._consumers[label_of(type(session.consumer))] += 1

    def add(self, row: bytes) -> None:
        """Add a row to the piece."""
        self._rows.append(msgspec.Raw(row))
        self._size += len(row)

    async def begin(self) -> None:
        """Say, once, that there will be an answer, since it takes a while."""
        if not self._number:
            await self.send()

    async def send(self, *, is_last: bool = False) -> None:
        """Send the piece, and begin another."""
        last: dict[str, Any] = {}
        if is_last:
            last = {
                "total": self.total,
                "consumers": self._consumers,
                "closed": self.closed,
                "is_draining": is_draining(),
            }
        rows = cast("list[Facts]", self._rows)  # encoded already
        answer = Answer(this_process(), loop_name(), self._number, rows, is_last, **last)
        self._rows, self._size, self._number = [], 0, self._number + 1
        hub = started_hub()
        if hub is not None:  # or the server stops
            await hub.tell(self._channel, _encode(answer))


_answering = PerLoop(Answering)


def _take(question: WhoIsConnected | Disconnect) -> None:
    _answering.get().take(question)


heard_by(WhoIsConnected, _take)
heard_by(Disconnect, _take)
