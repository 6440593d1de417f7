"""
The sync side: queries on Django's connections, as a part of the caller's transaction if it has one.

Outside of a transaction an error is a ``BackendError``. In one it is Django's own, as of any query,
because the transaction is broken by it.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import psycopg
from django.db import Error, connections

from .aliases import Aliases, connect, is_in_transaction
from .kept import APPEND, NOTHING, OUTBOX, READ, STANDS, lacks_tables, positions
from .payload import decode_position, token

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import TypeAlias

    from django.db.backends.base.base import BaseDatabaseWrapper

    from ...exceptions import BackendError
    from ..base import Position
    from .publisher import Kept

    Failed: TypeAlias = Callable[[BaseException], BackendError]
    Away: TypeAlias = BaseException | None

PUBLISH: Final = "SELECT pg_notify(%s, payload) FROM unnest(%s::text[]) AS payload"


class Threads:
    """
    What is asked of PostgreSQL in threads.

    Each call takes a function ``failed`` that makes a ``BackendError`` of an error, and the error
    of an outage: while there is one, nobody outside of a transaction waits.
    """

    def __init__(self, location: str, using: str, channel: str, timeout: float) -> None:
        self._aliases = Aliases(location, using, timeout)
        self._channel = channel
        self._timeout = timeout

    def is_part_of(self, alias: str) -> bool:
        """Whether what is said now is a part of this thread's transaction on an alias."""
        return is_in_transaction(connections[alias]) and self._aliases.choose() == alias

    def publish(self, payloads: list[str], failed: Failed, away: Away) -> None:
        """Send the payloads of a body."""
        with self._connection(failed, away) as connection, connection.cursor() as cursor:
            cursor.execute(PUBLISH, [self._channel, payloads])

    def append(self, kept: Kept, failed: Failed, away: Away) -> Position | None:
        """Have a body kept and sent, now or at the commit; return its position if it has one."""
        with self._connection(failed, away) as connection, connection.cursor() as cursor:
            if is_in_transaction(connection):
                cursor.execute(OUTBOX, [self._channel, *kept])
                return None
            cursor.execute(APPEND, [self._channel, *kept])
            return decode_position(cursor.fetchone()[0])

    def read(self, groups: Sequence[str], failed: Failed, away: Away) -> dict[str, Position]:
        """Return where groups stand, as the transaction sees it if there is one."""
        names = {token(group): group for group in groups}
        with self._connection(failed, away) as connection, connection.cursor() as cursor:
            cursor.execute(STANDS, [self._channel, list(names)])
            found = positions(cursor.fetchall(), names)
        missing = [name for name in names if names[name] not in found]
        if missing:
            found |= positions(self._begin(connection.alias, missing, failed), names)
        return found

    def _begin(self, alias: str, tokens: list[str], failed: Failed) -> list[tuple[str, str, int]]:
        """Begin histories, at once: in a transaction of the caller's all others would wait."""
        arguments = [self._channel, tokens, [NOTHING] * len(tokens)]
        try:
            with connect(alias, self._timeout) as connection:
                return connection.execute(READ, arguments).fetchall()
        except psycopg.Error as error:
            raise failed(error) from error

    @contextmanager
    def _connection(self, failed: Failed, away: Away) -> Iterator[BaseDatabaseWrapper]:
        try:
            connection = connections[self._aliases.choose()]
        except ConnectionError as error:
            raise failed(error) from error
        if away is not None and not is_in_transaction(connection):
            raise failed(away) from away
        try:
            yield connection
        except Error as error:
            if not is_in_transaction(connection):
                # Nobody else may do so in a thread that serves no requests.
                connection.close_if_unusable_or_obsolete()
            elif not lacks_tables(error):
                raise
            raise failed(error) from error
