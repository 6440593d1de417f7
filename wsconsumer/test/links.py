"""
The database connections that a live server's project makes, in whatever threads it likes.

One that stays open would keep the database of the tests from being dropped. Lanes, handshakes and
pages close theirs; the threads of ``asyncio.to_thread()``, for one, know of no end.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.db import connections
from django.db.backends.signals import connection_created

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper


class DatabaseLinks:
    """Notes which connections are made, until ``stop()``."""

    def __init__(self) -> None:
        self._made: set[BaseDatabaseWrapper] = set()
        connection_created.connect(self._note)

    def let_go(self) -> None:
        """Close them, but those of this thread, which are the test's. Nobody may be using them."""
        own = connections.all(initialized_only=True)
        while self._made:
            connection = self._made.pop()
            if connection not in own:
                connection.inc_thread_sharing()
                connection.close()
                connection.dec_thread_sharing()

    def stop(self) -> None:
        """Note no more."""
        connection_created.disconnect(self._note)

    def _note(self, connection: BaseDatabaseWrapper, **_: Any) -> None:
        self._made.add(connection)
