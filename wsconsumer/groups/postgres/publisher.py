"""
Publishing from the event loop, on a connection of its own that is opened at the first publish.

A batch is one statement: a transaction. It does not wait for the answer to the one before.
"""

from __future__ import annotations

import asyncio
from contextvars import Context
from typing import TYPE_CHECKING, Final

from ...loops import start_task
from ..batching import Pipeline
from .link import Link, array, settings
from .wire import Wire

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..batching import Waiting
    from .connecting import Way

BATCH: Final = 512 * 1024
"""Bytes of payloads after which no more bodies go into one statement."""

PAUSE: Final = 0.5
"""Seconds after a failed attempt to connect in which there is no other."""

PUBLISH: Final = "SELECT pg_notify($1, payload) FROM unnest($2::text[]) AS payload"


class Publisher:
    """Sends the payloads of bodies, in order."""

    def __init__(self, way: Way, channel: str, timeout: float) -> None:
        self._way = way
        self._channel = channel
        self._timeout = timeout
        self._pipeline: Pipeline[list[str]] = Pipeline(self._send, max_bytes=BATCH, timeout=timeout)
        self._wire: Wire | None = None
        self._opening: asyncio.Task[Wire | Exception] | None = None
        self._refusal: Exception | None = None
        self._retry_at = 0.0

    async def publish(self, payloads: list[str]) -> None:
        """Send one body; return when PostgreSQL has taken it, raise what prevented it."""
        await self._pipeline.publish(payloads, sum(map(len, payloads)))

    async def aclose(self) -> None:
        """Fail what waits, and close the connection."""
        await self._pipeline.aclose()
        self.release()

    async def _send(self, batch: Sequence[Waiting[list[str]]]) -> None:
        payloads = array(text for waiting in batch for text in waiting.item)
        wire = self._wire
        if wire is None or not wire.look():
            wire = await self._open()
        await wire.send(batch, PUBLISH, self._channel, payloads)

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
        await link.configure(settings(self._timeout))

    def release(self) -> None:
        """Let go of the connection for good, also of one that is being opened."""
        if self._opening is not None:
            self._opening.cancel()
        if self._wire is not None:
            self._wire.close(ConnectionError("the backend was closed"))
