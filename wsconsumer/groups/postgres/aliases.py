"""
Which of Django's connections a broadcast from a thread goes by.

Listening takes a connection to PostgreSQL itself, so ``LOCATION`` may be an alias that nothing else
uses. NOTIFY passes any pooler, and belongs in the transaction of its caller. So it goes by the
alias of that transaction, else by the default one, if these lead to the same database.
"""

from __future__ import annotations

import math
import threading
import time
from typing import TYPE_CHECKING, Any, Final

import psycopg
from django.db import DEFAULT_DB_ALIAS, connections

if TYPE_CHECKING:
    from collections.abc import Iterator

    from django.db.backends.base.base import BaseDatabaseWrapper

ASK_AGAIN: Final = 5.0
"""Seconds for which a question that failed, or was answered by a standby, is not asked again."""

_IDENTITY: Final = """
    SELECT pg_is_in_recovery(), oid, CASE
        WHEN has_function_privilege('pg_control_system()', 'EXECUTE')
        THEN (SELECT system_identifier::text FROM pg_control_system())
        ELSE extract(epoch FROM pg_postmaster_start_time())::text
    END FROM pg_database WHERE datname = current_database()
"""


class Aliases:
    """Chooses among the aliases; ``using`` is the one to take in any case, or empty."""

    def __init__(self, location: str, using: str, timeout: float) -> None:
        self._location = location
        self._using = using
        self._timeout = timeout
        self._lock = threading.Lock()
        self._is_same: dict[tuple[Any, ...], bool] = {}
        self._standby_until: dict[tuple[Any, ...], float] = {}
        self._failure: Exception | None = None
        self._ask_at = 0.0

    def choose(self) -> str:
        """
        Return the alias for this thread, now.

        Raises what prevented the answer if it can't be found out whether two aliases lead to the
        same database.
        """
        if self._using:
            return self._using
        return next(alias for alias in self._candidates() if self._leads_there(alias))

    def _candidates(self) -> Iterator[str]:
        open_now = connections.all(initialized_only=True)
        used = [connection.alias for connection in open_now if is_in_transaction(connection)]
        if self._location not in used:
            yield from used
            if DEFAULT_DB_ALIAS not in used:
                yield DEFAULT_DB_ALIAS
        yield self._location

    def _leads_there(self, alias: str) -> bool:
        if alias == self._location:
            return True
        if connections[alias].vendor != "postgresql":
            return False
        places = (_place(alias), _place(self._location))
        if places[0] == places[1]:
            return True
        with self._lock:
            if time.monotonic() < self._standby_until.get(places, 0.0):
                return False
            if places not in self._is_same:
                is_standby, is_same = self._ask(alias)
                if is_standby:  # for now: the same name may lead to the primary after a failover
                    self._standby_until[places] = time.monotonic() + ASK_AGAIN
                    return False
                self._is_same[places] = is_same
            return self._is_same[places]

    def _ask(self, alias: str) -> tuple[bool, bool]:
        """
        Return whether an alias leads to a standby, and whether to the same database.

        Asks the servers by connections of our own: the caller's may be in a transaction.
        """
        if self._failure is not None and time.monotonic() < self._ask_at:
            raise self._failure
        try:
            is_standby, *identity = self._identity(alias)
            _, *ours = self._identity(self._location)
        except Exception as error:
            told = " ".join(str(error).split())
            self._failure = ConnectionError(
                f"whether DATABASES[{alias!r}] leads to the same database can't be found out "
                f"({told}). Name the alias for broadcast() in OPTIONS['PUBLISH_USING']"
            )
            self._ask_at = time.monotonic() + ASK_AGAIN
            raise self._failure from error
        return is_standby, identity == ours

    def _identity(self, alias: str) -> tuple[Any, ...]:
        with connect(alias, self._timeout) as connection:
            row = connection.execute(_IDENTITY).fetchone()
        return tuple(row or ())


def connect(alias: str, timeout: float) -> psycopg.Connection:
    """Return a connection of our own, in autocommit mode."""
    told = connections.create_connection(alias).get_connection_params()
    told |= {"connect_timeout": math.ceil(timeout), "autocommit": True}
    return psycopg.connect(**told)


def _place(alias: str) -> tuple[Any, ...]:
    settings = connections.settings[alias]
    names = ("NAME", "HOST", "PORT")
    return (*(settings[name] for name in names), settings["OPTIONS"].get("service"))


def is_in_transaction(connection: BaseDatabaseWrapper) -> bool:
    """Whether an open transaction of the caller's is there to be broken."""
    return connection.in_atomic_block or (
        connection.connection is not None and not connection.autocommit
    )
