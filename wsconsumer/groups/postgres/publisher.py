"""
Publishing from the event loop, on a connection of its own that is opened at the first publish.

A batch is one statement: a transaction. It does not wait for the answer to the one before. What is
kept goes the same way, and histories are read on it.
"""

from __future__ import annotations

import asyncio
from contextvars import Context
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from ...loops import start_task
from ..batching import Pipeline
from .link import Link, array, settings
from .wire import Statement, Wire

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ..batching import Waiting
    from .connecting import Way

BATCH: Final = 512 * 1024
"""Bytes of payloads after which no more bodies go into one statement."""

PAUSE: Final = 0.5
"""Seconds after a failed attempt to connect in which there is no other."""

ISOLATION: Final = {"default_transaction_isolation": "read committed"}
"""Whoever has waited for others to append has to see what they did."""

PUBLISH: Final = Statement("SELECT pg_notify($1, payload) FROM unnest($2::text[]) AS payload")

APPEND: Final = Statement(
    "SELECT unnest(wsconsumer_append("
    "$1, $2::text[], $3::text[], $4::int[], $5::int[], $6::text[]))",
    lambda result, index: result.get_value(index, 0),
)

READ: Final = Statement(
    "SELECT * FROM wsconsumer_read($1, $2::text[], $3::bigint[])",
    lambda result, _: [
        tuple(result.get_value(row, column) for column in range(result.nfields))
        for row in range(result.ntuples)
    ],
)

CLEAN: Final = Statement(
    "SELECT CASE WHEN pg_try_advisory_lock(2004050799, 2) THEN wsconsumer_clean($1::int) END",
    lambda result, _: result.get_value(0, 0) == b"t",
)
"""Only one session cleans, until it ends."""

CLEAN_AT_ONCE: Final = 100
"""Histories that are cleaned in one transaction: whoever commits a broadcast waits for it."""


class Kept(NamedTuple):
    """A body that is kept: the token of its group, its text, and for how long; a key, or none."""

    token: str
    text: str
    size: int
    seconds: int
    key: str


class Publisher:
    """Sends the payloads of bodies, in order, and asks for what is kept."""

    def __init__(self, way: Way, channel: str, timeout: float) -> None:
        self._way = way
        self._channel = channel
        self._timeout = timeout
        self._publishing: Pipeline[list[str]] = Pipeline(
            self._publish, max_bytes=BATCH, timeout=timeout
        )
        self._appending: Pipeline[Kept] = Pipeline(self._append, max_bytes=BATCH, timeout=timeout)
        self._asking: Pipeline[tuple[Statement, tuple[str, ...]]] = Pipeline(
            self._ask, max_bytes=1, timeout=timeout
        )
        self._wire: Wire | None = None
        self._opening: asyncio.Task[Wire | Exception] | None = None
        self._refusal: Exception | None = None
        self._retry_at = 0.0

    async def publish(self, payloads: list[str]) -> None:
        """Send one body; return when PostgreSQL has taken it, raise what prevented it."""
        await self._publishing.publish(payloads, sum(map(len, payloads)))

    async def append(self, kept: Kept) -> bytes:
        """Have one body kept and sent; return its position, or raise what prevented it."""
        answer: bytes = await self._appending.publish(kept, len(kept.text))
        return answer

    async def read(self, after: Mapping[str, int]) -> list[tuple[bytes | None, ...]]:
        """Return what is kept of groups, by their tokens, after an offset of each."""
        rows: list[Any] = await self.ask(READ, array(after), array(map(str, after.values())))
        return rows

    async def clean(self) -> None:
        """Remove what nobody will read, unless another process does that."""
        while await self._asking.publish((CLEAN, (str(CLEAN_AT_ONCE),)), 1):
            pass

    async def ask(self, statement: Statement, *arguments: str) -> Any:
        """Return the answer to a statement about the channel, which is its first argument."""
        return await self._asking.publish((statement, (self._channel, *arguments)), 1)

    async def aclose(self) -> None:
        """Fail what waits, and close the connection."""
        for pipeline in (self._publishing, self._appending, self._asking):
            await pipeline.aclose()
        self.release()

    async def _publish(self, batch: Sequence[Waiting[list[str]]]) -> None:
        payloads = array(text for waiting in batch for text in waiting.item)
        await self._send(batch, PUBLISH, self._channel, payloads)

    async def _append(self, batch: Sequence[Waiting[Kept]]) -> None:
        columns = zip(*(waiting.item for waiting in batch), strict=True)
        arrays = (array(map(str, column)) for column in columns)
        await self._send(batch, APPEND, self._channel, *arrays)

    async def _ask(self, batch: Sequence[Waiting[tuple[Statement, tuple[str, ...]]]]) -> None:
        (waiting,) = batch  # one fills a batch
        statement, arguments = waiting.item
        await self._send(batch, statement, *arguments)

    async def _send(
        self, batch: Sequence[Waiting[Any]], statement: Statement, *arguments: str
    ) -> None:
        wire = self._wire
        if wire is None or not wire.look():
            wire = await self._open()
        await wire.send(batch, statement, *arguments)

    async def _open(self) -> Wire:
        """Open a connection. If a batch has no time left to wait for it, the next one finds it."""
        if self._opening is None or self._opening.done():
            if self._refusal is not None and asyncio.get_running_loop().time() < self._retry_at:
                raise ConnectionError(f"{self._refusal} (moments ago)") from self._refusal
            self._opening = start_task(self._connect(), Context())
        opened = await asyncio.shield(self._opening)
        if isinstance(opened, Exception):
            raise opened
        return opened

    async def _connect(self) -> Wire | Exception:
        """Open the connection; return it, or what prevented it."""
        try:
            link = await Link.open(self._way, self._prepare)
        except Exception as error:  # noqa: BLE001  # who waits for it raises it
            self._refusal = error
            self._retry_at = asyncio.get_running_loop().time() + PAUSE
            return error
        self._refusal = None
        self._wire = Wire(link.hand_over(), self._timeout)
        return self._wire

    async def _prepare(self, link: Link, _: dict[str, str]) -> None:
        await link.configure(settings(self._timeout) | ISOLATION)

    def release(self) -> None:
        """Let go of the connection for good, also of one that is being opened."""
        if self._opening is not None:
            self._opening.cancel()
        if self._wire is not None:
            self._wire.close(ConnectionError("the backend was closed"))
