"""
Publishing from the event loop, on a connection of its own that is opened at the first publish.

A batch is one statement: a transaction, and one round trip.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import psycopg

from ..batching import Batcher
from .link import Link, array

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..batching import Waiting

BATCH: Final = 512 * 1024
"""Bytes of payloads after which no more bodies go into one statement."""

PAUSE: Final = 0.5
"""Seconds after a failed attempt to connect in which there is no other."""

PUBLISH: Final = "SELECT pg_notify($1, payload) FROM unnest($2::text[]) AS payload"


class Publisher:
    """Sends the payloads of bodies, in order."""

    def __init__(self, alias: str, channel: str, timeout: float) -> None:
        self._alias = alias
        self._channel = channel
        self._batcher = Batcher(self._send, max_bytes=BATCH, timeout=timeout)
        self._link: Link | None = None
        self._refusal: Exception | None = None
        self._retry_at = 0.0

    async def publish(self, payloads: list[str]) -> None:
        """Send one body; return when PostgreSQL has taken it, raise what prevented it."""
        await self._batcher.publish(payloads, sum(map(len, payloads)))

    async def aclose(self) -> None:
        """Fail what waits, and close the connection."""
        await self._batcher.aclose()
        self.drop_link()

    async def _send(self, batch: Sequence[Waiting[list[str]]]) -> None:
        payloads = array(text for waiting in batch for text in waiting.item)
        try:
            await (await self._open_link()).execute(PUBLISH, self._channel, payloads)
        except BaseException:
            self.drop_link()
            raise

    async def _open_link(self) -> Link:
        """Return the connection; open another if there is none, or the server has closed it."""
        if self._link is not None:
            try:
                self._link.check()
            except psycopg.OperationalError:
                self.drop_link()
        if self._link is None:
            self._link = await self._connect()
        return self._link

    async def _connect(self) -> Link:
        loop = asyncio.get_running_loop()
        if self._refusal is not None and loop.time() < self._retry_at:
            raise ConnectionError(f"{self._refusal} (moments ago)") from self._refusal
        try:
            link = await Link.open(self._alias)
        except Exception as error:
            self._refusal = error
            self._retry_at = loop.time() + PAUSE
            raise
        self._refusal = None
        return link

    def drop_link(self) -> None:
        """Close the connection; the next publish opens another."""
        if self._link is not None:
            self._link.close()
            self._link = None
