"""
One session of PostgreSQL on the event loop, with libpq's own calls.

psycopg's ``execute()`` and ``notifies()`` won't do here: when they are cancelled or time out while
the server is silent they first try to cancel the query there, which takes up to ten seconds more.
A ``Link`` is dropped instead. It belongs to one task, and after an error only ``close()`` is left.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Self

import psycopg
from psycopg import pq

from ..batching import answering
from .connecting import connect, ready

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping

    from psycopg.pq.abc import PGconn, PGresult

    from .connecting import Way

_CONFIGURE: Final = (
    "SELECT set_config(name, value, false) FROM unnest($1::text[], $2::text[]) AS ours(name, value)"
    " JOIN pg_settings USING (name) WHERE context = 'user'"
)
"""Older servers lack some parameters, and there may be those where not everybody can set them."""


class Link:
    """A session in autocommit mode. Get it from ``open()``, and ``close()`` it in any case."""

    def __init__(self, pgconn: PGconn) -> None:
        self._pgconn = pgconn
        self._socket = pgconn.socket
        self.is_pooled = False
        """Whether a pooler is in between, which has sessions of its own."""

    @classmethod
    async def open(
        cls, way: Way, prepare: Callable[[Self, dict[str, str]], Awaitable[None]]
    ) -> Self:
        """Connect to the first primary on the way that can be prepared for its use."""

        async def attempt(told: dict[str, str]) -> Self:
            link = await cls.connect(told)
            try:
                await prepare(link, told)
            except BaseException:
                link.close()
                raise
            return link

        return await way.open(attempt)

    @classmethod
    async def connect(cls, told: dict[str, str]) -> Self:
        """Connect to a primary, with what to tell libpq."""
        link = cls(await connect(told))
        try:
            await link._introduce()
        except BaseException:
            link.close()
            raise
        return link

    async def _introduce(self) -> None:
        """Find out who serves us; a pooler does not show its clients the process that does."""
        pid, is_standby = await self.execute("SELECT pg_backend_pid(), pg_is_in_recovery()")
        if is_standby == "t":
            raise ConnectionError("it is a standby, which takes neither LISTEN nor NOTIFY")
        self.is_pooled = int(pid) != self._pgconn.backend_pid

    def close(self) -> None:
        """Close it at once."""
        self._pgconn.finish()

    def hand_over(self) -> PGconn:
        """Return the connection to who takes care of it from now on; this is of no more use."""
        return self._pgconn

    async def configure(self, settings: Mapping[str, str]) -> None:
        """
        Set parameters for this session, as far as the server knows them.

        Not in the packet that opens it: poolers refuse what they don't know there.
        """
        await self.execute(_CONFIGURE, array(settings), array(settings.values()))

    async def execute(self, sql: str, *arguments: str) -> list[str]:
        """Run one statement; return the values of its first row, NULL as an empty text."""
        self._send(sql, *arguments)
        while self._pgconn.flush():
            await self._read(or_write=True)
        row: list[str] = []
        while (result := await self._result()) is not None:
            if result.status == pq.ExecStatus.FATAL_ERROR:
                raise psycopg.OperationalError(result.error_message.decode(errors="replace"))
            if result.ntuples:
                values = (result.get_value(0, column) for column in range(result.nfields))
                row = [(value or b"").decode() for value in values]
        return row

    async def beat(self, seconds: float) -> None:
        """
        Raise ``TimeoutError`` if the server says nothing for so long after it was asked.

        Whatever comes is a sign of life: there may be a lot before the answer.
        """
        self._send("SELECT 1")
        self._pgconn.flush()
        while self._pgconn.is_busy():
            async with answering(seconds):
                await self._read()
        while await self._result() is not None:
            pass

    def _send(self, sql: str, *arguments: str) -> None:
        self._pgconn.send_query_params(sql.encode(), [argument.encode() for argument in arguments])

    async def _result(self) -> PGresult | None:
        while self._pgconn.is_busy():
            await self._read()
        return self._pgconn.get_result()

    async def notifications(self) -> list[bytes]:
        """Return the payloads of the notifications that came; wait for one if there are none."""
        while not (found := self._notifications()):
            await self._read()
        return found

    def _notifications(self) -> list[bytes]:
        found = []
        while (notification := self._pgconn.notifies()) is not None:
            found.append(notification.extra)
        return found

    async def _read(self, *, or_write: bool = False) -> None:
        """Wait until there is something to read (or room to write), and read it."""
        await ready(self._socket, to_write=or_write)
        self._pgconn.consume_input()


def array(texts: Iterable[str]) -> str:
    """Return an array of texts as PostgreSQL reads it."""
    quoted = (text.replace("\\", "\\\\").replace('"', '\\"') for text in texts)
    return "{" + ",".join(f'"{text}"' for text in quoted) + "}"


def settings(timeout: float) -> dict[str, str]:
    """
    Return the parameters of a session of ours: nobody ends it because it is idle, and what a role
    or a database limits otherwise, ``timeout`` (in seconds) limits here.
    """
    milliseconds = str(max(1, round(timeout * 1000)))
    return {
        "idle_session_timeout": "0",
        "transaction_timeout": "0",
        "statement_timeout": milliseconds,
        "lock_timeout": milliseconds,
    }
