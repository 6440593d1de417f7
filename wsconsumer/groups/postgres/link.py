"""
One connection to PostgreSQL on the event loop: psycopg opens it, libpq's own calls do the rest.

psycopg's ``execute()`` and ``notifies()`` won't do here: when they are cancelled or time out while
the server is silent they first try to cancel the query there, which takes up to ten seconds more.
A ``Link`` is dropped instead. It belongs to one task, and after an error only ``close()`` is left.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, Self

from django.core.exceptions import ImproperlyConfigured
from django.db import connections

from ...escaping import quote

try:
    import psycopg
    from psycopg import pq
    from psycopg.conninfo import make_conninfo
except ImportError as error:
    raise ImproperlyConfigured(
        "The postgres backend of groups needs psycopg 3, which can't be imported: "
        f"{error}. Write: pip install 'wsconsumer[postgres]'"
    ) from error

if TYPE_CHECKING:
    from collections.abc import Iterable

    from psycopg.pq.abc import PGresult

DEFAULTS: Final = {
    "fallback_application_name": "wsconsumer",
    "keepalives_idle": "30",
    "keepalives_interval": "10",
    "keepalives_count": "3",
}
"""What libpq is told where the database's ``OPTIONS`` say nothing else."""


def check_alias(alias: str) -> None:
    """Raise ``ImproperlyConfigured`` if this is no alias of a PostgreSQL database."""
    if alias not in connections.settings:
        raise ImproperlyConfigured(
            "WSCONSUMER['GROUPS'] names the postgres backend, whose LOCATION is an alias in "
            f"DATABASES, got {quote(alias)}. There are {', '.join(map(repr, connections))}."
        )
    if connections.create_connection(alias).vendor != "postgresql":
        raise ImproperlyConfigured(
            "WSCONSUMER['GROUPS'] names the postgres backend, which needs a PostgreSQL database, "
            f"but DATABASES[{alias!r}] is {connections.settings[alias]['ENGINE']!r}. Name the "
            "alias of one in LOCATION, or another BACKEND."
        )


def parameters(alias: str) -> dict[str, str]:
    """
    Return what libpq needs to know to connect, as Django has it in its settings now.

    What ``OPTIONS`` say to Django or psycopg, such as ``pool`` or ``isolation_level``, is left out.
    """
    known = {option.keyword.decode() for option in pq.Conninfo.get_defaults()}
    given = connections.create_connection(alias).get_connection_params()
    return DEFAULTS | {
        name: str(value) for name, value in given.items() if name in known and value is not None
    }


class Link:
    """A connection in autocommit mode. Get it from ``open()``, and ``close()`` it in any case."""

    def __init__(self, connection: psycopg.AsyncConnection) -> None:
        self._connection = connection  # for as long as it is open: psycopg warns otherwise
        self._pgconn = connection.pgconn
        self._socket = self._pgconn.socket
        self._loop = asyncio.get_running_loop()

    @classmethod
    async def open(cls, alias: str) -> Self:
        """Connect to a database of Django's settings."""
        return cls(await psycopg.AsyncConnection.connect(make_conninfo(**parameters(alias))))

    def close(self) -> None:
        """Close it at once."""
        self._pgconn.finish()

    @property
    def pid(self) -> int:
        """The process in the server, as it introduced itself."""
        return self._pgconn.backend_pid

    def check(self) -> None:
        """Raise ``psycopg.OperationalError`` if the server is known to have ended it."""
        # The first call may read the server's last words, the second finds that they were.
        self._pgconn.consume_input()
        self._pgconn.consume_input()

    async def execute(self, sql: str, *arguments: str) -> str | None:
        """Run one statement; return its first value."""
        encoded = [argument.encode() for argument in arguments]
        self._pgconn.send_query_params(sql.encode(), encoded)
        while self._pgconn.flush():
            await self._read(or_write=True)
        value = None
        while (result := await self._result()) is not None:
            if result.status == pq.ExecStatus.FATAL_ERROR:
                raise psycopg.OperationalError(result.error_message.decode(errors="replace"))
            value = result.get_value(0, 0) if result.ntuples else None
        return None if value is None else value.decode()

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
        ready = asyncio.Event()
        self._loop.add_reader(self._socket, ready.set)
        if or_write:
            self._loop.add_writer(self._socket, ready.set)
        try:
            await ready.wait()
        finally:
            self._loop.remove_reader(self._socket)
            self._loop.remove_writer(self._socket)
        self._pgconn.consume_input()


def array(texts: Iterable[str]) -> str:
    """Return an array of texts as PostgreSQL reads it."""
    quoted = (text.replace("\\", "\\\\").replace('"', '\\"') for text in texts)
    return "{" + ",".join(f'"{text}"' for text in quoted) + "}"
