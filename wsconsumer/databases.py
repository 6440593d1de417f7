"""
The database connections of our threads, which live long and serve many clients.

Before a piece of work a thread drops the connections that broke or are old, and has those checked
that have been idle, if the project wants that (``CONN_HEALTH_CHECKS``). After it no transaction
may be open, or the next client would work in it. A connection that came from Django's connection
pool goes back when its thread has been idle for a while.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final

from django.db import Error, connections
from django.db.backends.signals import connection_created
from django.db.transaction import TransactionManagementError

from .counters import counters
from .log_thread import log

if TYPE_CHECKING:
    from collections.abc import Iterator

    from django.db.backends.base.base import BaseDatabaseWrapper

logger = logging.getLogger("wsconsumer.consumer")

MIN_CONNECTION_AGE: Final = 60.0
"""Seconds for which a thread of ours keeps a working database connection at least."""

IDLE: Final = 1.0
"""Seconds without work after which a thread's connections may have been lost meanwhile."""

_IN_TRANSACTION: Final = frozenset({1, 2, 3})
"""libpq's PQTRANS_ACTIVE, PQTRANS_INTRANS and PQTRANS_INERROR; the others are idle and unknown."""

_thread = threading.local()


def prepare() -> None:
    """
    Drop the connections of this thread that broke, whoever caught the error, or are old.

    So a restart of the database costs a thread one error at most, and none after an idle while with
    ``CONN_HEALTH_CHECKS``: then the first query checks its connection, as in a request.
    """
    _thread.is_ours = True
    now = time.monotonic()
    was_idle = now - getattr(_thread, "used_at", now) >= IDLE
    _thread.used_at = now
    for connection in connections.all(initialized_only=True):
        if connection.errors_occurred or _is_old(connection):
            connection.close_if_unusable_or_obsolete()
        if was_idle:
            connection.health_check_done = False  # type: ignore[attr-defined]  # not in the stubs


def _is_old(connection: BaseDatabaseWrapper) -> bool:
    # One from a pool is always old to Django, which gives it back at the end of each request.
    if connection.close_at is None or _is_pooled(connection):
        return False
    return time.monotonic() >= connection.close_at


def _keep(connection: BaseDatabaseWrapper, **_: Any) -> None:
    """
    Let a thread of ours keep its connection for a while.

    With the default of ``CONN_MAX_AGE`` Django would close it at the end of each handshake.
    """
    if not getattr(_thread, "is_ours", False):
        return
    _note_opened(connection)
    if connection.close_at is not None and not _is_pooled(connection):
        connection.close_at = max(connection.close_at, time.monotonic() + MIN_CONNECTION_AGE)


connection_created.connect(_keep, dispatch_uid="wsconsumer.databases")


# The end of the process

_opened: set[BaseDatabaseWrapper] = set()
_lock = threading.Lock()


def _note_opened(connection: BaseDatabaseWrapper) -> None:
    with _lock:
        _opened.difference_update([one for one in _opened if one.connection is None])
        _opened.add(connection)


def close_opened() -> None:
    """
    Close what our threads have left open, when they have ended.

    Python ends executors' threads before anything could run in them to close their connections.
    """
    with _lock:
        for connection in _opened:
            connection.inc_thread_sharing()
            with suppress(Exception):  # nobody is left to be told
                connection.close()
        _opened.clear()


atexit.register(close_opened)
# The connections of a forked process are its parent's.
os.register_at_fork(after_in_child=_opened.clear)


# Transactions


@contextmanager
def no_transaction_left(owner: str) -> Iterator[None]:
    """
    Raise ``TransactionManagementError`` if the block leaves a transaction open.

    Or autocommit off. Either is ended first, so the next client starts clean. ``owner`` is the name
    of the consumer, for the log.
    """
    try:
        yield
    except BaseException as error:
        for mistake in _end_transactions(owner):
            error.add_note(mistake)
        raise
    for mistake in _end_transactions(owner):
        raise TransactionManagementError(
            f"{mistake} Other clients use the same connection. Write the whole transaction as one "
            "function, and call that with sync_to_async()."
        )


def _end_transactions(owner: str) -> list[str]:
    """End what is open; return a sentence for each."""
    mistakes = []
    for connection in connections.all(initialized_only=True):
        left = _find_left(connection)
        if left is not None:
            _reset(connection)
            counters["transaction_left"] += 1
            mistakes.append(
                f"{owner} left {left} on the database {connection.alias!r}; it was rolled back and "
                "the connection was closed."
            )
            log(logger, logging.ERROR, "%s", mistakes[-1])
    return mistakes


def _find_left(connection: BaseDatabaseWrapper) -> str | None:
    if connection.in_atomic_block:
        return "a transaction open"
    if connection.connection is None:
        return None
    if not connection.autocommit and connection.settings_dict["AUTOCOMMIT"]:
        return "autocommit off"
    return "a transaction open" if _is_in_transaction(connection) else None


def _is_in_transaction(connection: BaseDatabaseWrapper) -> bool:
    """Ask the driver, which also knows of a plain ``BEGIN``; not every driver can tell."""
    driver = connection.connection
    if connection.vendor == "postgresql":
        return driver.info.transaction_status in _IN_TRANSACTION
    return bool(getattr(driver, "in_transaction", False))


def _reset(connection: BaseDatabaseWrapper) -> None:
    """Roll back, and close; what else Django's ``atomic`` leaves on the connection goes too."""
    connection.in_atomic_block = False
    connection.closed_in_transaction = False
    connection.needs_rollback = False
    connection.savepoint_ids = []
    connection.atomic_blocks = []
    # A connection that can't be rolled back is broken: closing it ends its transaction.
    with suppress(Error):
        if connection.connection is not None:
            connection.rollback()
            connection.set_autocommit(connection.settings_dict["AUTOCOMMIT"])
    connection.close()


# Connection pools


def has_pooled() -> bool:
    """Return whether this thread has a connection from a pool."""
    return any(
        connection.connection is not None and _is_pooled(connection)
        for connection in connections.all(initialized_only=True)
    )


def give_back_pooled() -> None:
    """Give the connections from pools back, but for those that somebody is still reading from."""
    for connection in connections.all(initialized_only=True):
        is_pooled = connection.connection is not None and _is_pooled(connection)
        if is_pooled and not (connection.vendor == "postgresql" and _has_cursor(connection)):
            connection.close()


def _is_pooled(connection: BaseDatabaseWrapper) -> bool:
    return bool(connection.settings_dict["OPTIONS"].get("pool", False))


def _has_cursor(connection: BaseDatabaseWrapper) -> bool:
    """Return whether there is a cursor on the server, as for ``aiterator()`` between two chunks."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1 FROM pg_cursors WHERE is_holdable LIMIT 1")
            return cursor.fetchone() is not None
    except Error:
        # The connection is broken: the pool will notice, and replace it.
        return False
