"""
Publishing from the event loop: one task with a connection of its own, opened at the first publish.

What is published while a statement is under way goes together in the next one: a transaction, and
one round trip. Nobody waits longer than the timeout, counted from when it was published.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Final, NamedTuple

import psycopg

from .link import Link, array, until

if TYPE_CHECKING:
    from collections.abc import Iterable

BATCH: Final = 512 * 1024
"""Bytes of payloads after which no more bodies go into one statement."""

PAUSE: Final = 0.5
"""Seconds after a failed attempt to connect in which there is no other."""

PUBLISH: Final = "SELECT pg_notify($1, payload) FROM unnest($2::text[]) AS payload"


class Job(NamedTuple):
    """A body that waits to be published; ``done`` gets what went wrong, or ``None``."""

    payloads: list[str]
    deadline: float
    done: asyncio.Future[Exception | None]


class Publisher:
    """Sends payloads in order; ``run()`` is its task."""

    def __init__(self, alias: str, channel: str, timeout: float) -> None:
        self._alias = alias
        self._channel = channel
        self._timeout = timeout
        self._jobs: deque[Job] = deque()
        self._batch: list[Job] = []
        self._some = asyncio.Event()
        self._link: Link | None = None
        self._refusal: Exception | None = None
        self._retry_at = 0.0
        self._is_over = False

    async def publish(self, payloads: list[str]) -> Exception | None:
        """Send one body; return what went wrong, or ``None`` when PostgreSQL has taken it."""
        if self._is_over:
            return ConnectionError("the backend is closed")
        loop = asyncio.get_running_loop()
        job = Job(payloads, loop.time() + self._timeout, loop.create_future())
        self._jobs.append(job)
        self._some.set()
        return await job.done

    async def run(self) -> None:
        """Send what there is to send, until cancelled."""
        try:
            while True:
                await self._some.wait()
                self._fill_batch()
                if self._batch:
                    await self._send_batch()
                else:
                    self._some.clear()
        finally:
            self._is_over = True
            self._drop_link()
            self._fail(ConnectionError("the backend was closed"))

    def _fill_batch(self) -> None:
        self._batch = []
        size = 0
        while self._jobs and size < BATCH:
            job = self._jobs.popleft()
            if not job.done.done():  # its publisher was not cancelled meanwhile
                self._batch.append(job)
                size += sum(map(len, job.payloads))

    async def _send_batch(self) -> None:
        payloads = array(text for job in self._batch for text in job.payloads)
        try:
            async with until(self._batch[0].deadline):
                await (await self._open_link()).execute(PUBLISH, self._channel, payloads)
        except Exception as error:  # noqa: BLE001  # whatever it is, the publishers are told
            self._drop_link()
            self._fail(error)
        else:
            _settle(self._batch, None)

    async def _open_link(self) -> Link:
        """Return the connection; open it anew if there is none, or the server has ended it."""
        if self._link is not None:
            try:
                self._link.check()
            except psycopg.OperationalError:
                self._drop_link()
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

    def _drop_link(self) -> None:
        if self._link is not None:
            self._link.close()
            self._link = None

    def _fail(self, error: Exception) -> None:
        """Tell all who wait: who came later would only wait longer for the same."""
        _settle((*self._batch, *self._jobs), error)
        self._jobs.clear()


def _settle(jobs: Iterable[Job], error: Exception | None) -> None:
    for job in jobs:
        if not job.done.done():
            job.done.set_result(error)
