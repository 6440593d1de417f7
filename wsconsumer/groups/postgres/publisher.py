"""
Publishing from the event loop, on a connection of its own that is opened at the first publish.

A batch is one statement: a transaction, and one round trip.
"""

from __future__ import annotations

import asyncio
from contextvars import Context
from typing import TYPE_CHECKING, Final

import psycopg

from ...loops import start_task
from ..batching import Batcher
from .link import Link, array, settings

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
        self._settings = settings(timeout)
        self._batcher = Batcher(self._send, max_bytes=BATCH, timeout=timeout)
        self._link: Link | None = None
        self._opening: asyncio.Task[Link | Exception] | None = None
        self._refusal: Exception | None = None
        self._retry_at = 0.0

    async def publish(self, payloads: list[str]) -> None:
        """Send one body; return when PostgreSQL has taken it, raise what prevented it."""
        await self._batcher.publish(payloads, sum(map(len, payloads)))

    async def aclose(self) -> None:
        """Fail what waits, and close the connection."""
        await self._batcher.aclose()
        self.release()

    async def _send(self, batch: Sequence[Waiting[list[str]]]) -> None:
        payloads = array(text for waiting in batch for text in waiting.item)
        try:
            await (await self._open_link()).execute(PUBLISH, self._channel, payloads)
        except BaseException:
            self.drop_link()
            raise

    async def _open_link(self) -> Link:
        """
        Return the connection; open another if there is none, or the server has closed it.

        If a batch has no time left to wait for it, the next one finds it.
        """
        if self._link is not None:
            try:
                self._link.check()
            except psycopg.OperationalError:
                self.drop_link()
            else:
                return self._link
        if self._opening is None or self._opening.done():
            if self._refusal is not None and asyncio.get_running_loop().time() < self._retry_at:
                raise ConnectionError(f"{self._refusal} (moments ago)") from self._refusal
            self._opening = start_task(self._connect(), Context())
        opened = await asyncio.shield(self._opening)
        if isinstance(opened, Exception):
            raise opened
        return opened

    async def _connect(self) -> Link | Exception:
        """Open the connection; return it, or what prevented it."""
        try:
            self._link = await Link.open(self._way, self._prepare)
        except Exception as error:  # noqa: BLE001  # who waits for it raises it
            self._refusal = error
            self._retry_at = asyncio.get_running_loop().time() + PAUSE
            return error
        self._refusal = None
        return self._link

    async def _prepare(self, link: Link, _: dict[str, str]) -> None:
        await link.configure(self._settings)

    def drop_link(self) -> None:
        """Close the connection; the next publish opens another."""
        if self._link is not None:
            self._link.close()
            self._link = None

    def release(self) -> None:
        """Let go of the connection for good, also of one that is being opened."""
        self.drop_link()
        if self._opening is not None:
            self._opening.cancel()
