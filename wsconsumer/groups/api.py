"""
``broadcast()`` and ``abroadcast()``: how code outside of consumers reaches a group.

From views, signals, tasks and management commands; in any thread of any process that the backend
reaches.
"""

from __future__ import annotations

import logging
from functools import partial
from typing import Any

from asgiref.sync import sync_to_async
from django.conf import settings
from django.core.exceptions import SynchronousOnlyOperation
from django.db import DEFAULT_DB_ALIAS, connections, transaction

from ..counters import counters
from ..escaping import quote
from ..exceptions import BackendError
from ..log_thread import log
from ..loops import in_event_loop
from .hub import started_hub
from .loading import sync_backend
from .publication import Publication, keeping

logger = logging.getLogger("wsconsumer.groups")


def broadcast(
    group: str,
    data: Any,
    *,
    on_commit: bool | None = None,
    using: str | None = None,
    key: str | None = None,
) -> None:
    """
    Send ``data`` to every member of a group, in every process that the backend reaches.

    ``data``: ``str`` as text, ``bytes`` as binary, anything else as JSON, encoded now and once.
    ``on_commit``: wait for the commit of the transaction on the database ``using`` (an alias, the
    default one unless given), and broadcast nothing if it is rolled back; without a transaction, at
    once. A failure after the commit is logged: it is too late for an error. In a transaction, a
    group that keeps waits for the commit unless you say otherwise: a page that is rendered in
    between would have the position of something that it can't see yet. On PostgreSQL it is a part
    of a transaction on the database that keeps it, and can't be lost in between.
    ``key``: for a group that keeps, a name for what is said, such as ``"order-5"``; it is then said
    only once, however often it is tried.

    Delivery is at most once, and in order from one publisher to one group. Raises ``BackendError``
    if the engine does not take it, ``TypeError`` or ``ValueError`` for what can't be sent, and
    ``SynchronousOnlyOperation`` where an event loop runs: there it is ``abroadcast()``.
    """
    if in_event_loop():
        raise SynchronousOnlyOperation(
            "broadcast() may wait for the engine behind the groups, and can't be called where an "
            "event loop runs. Write `await abroadcast(...)`, or in a consumer "
            "`await self.broadcast(...)`."
        )
    publication = Publication.of(group, data, key=key)
    if on_commit is None and publication.keep is not None:
        is_meant = using is not None or _is_in_transaction(DEFAULT_DB_ALIAS)
        on_commit = is_meant and not _is_part_of(publication, using or DEFAULT_DB_ALIAS)
    elif not on_commit and using is not None:
        raise TypeError(f"broadcast() has using={quote(using)} without on_commit=True. Write both.")
    if on_commit:
        _warn_of_another_transaction(group, using or DEFAULT_DB_ALIAS)
        transaction.on_commit(partial(publish_after_commit, publication), using)
    else:
        if settings.DEBUG:
            _warn_of_transaction(publication)
        _publish(publication)


async def abroadcast(
    group: str,
    data: Any,
    *,
    on_commit: bool | None = None,
    using: str | None = None,
    key: str | None = None,
) -> None:
    """Do what ``broadcast()`` does, from async code."""
    here = started_hub()
    if here is not None and not on_commit and using is None:
        await here.publish(group, data, key=key)
    else:
        # No websocket in this loop joined a group, so it may be a short-lived one: nothing may be
        # left open in it. And a transaction belongs to a thread.
        await sync_to_async(broadcast)(group, data, on_commit=on_commit, using=using, key=key)


def _is_in_transaction(alias: str) -> bool:
    """Whether this thread is in a transaction on a database; opens no connection to find out."""
    opened = connections.all(initialized_only=True)
    return any(connection.alias == alias and connection.in_atomic_block for connection in opened)


def _is_part_of(publication: Publication, alias: str) -> bool:
    """Whether it would be kept as a part of this thread's transaction on a database."""
    if publication.keep is None:
        return False
    return keeping(sync_backend()).is_part_of_transaction(alias)


def _warn_of_another_transaction(group: str, using: str) -> None:
    """Say so if this thread is in a transaction, but not in the one that was meant."""
    aliases = [c.alias for c in connections.all(initialized_only=True) if c.in_atomic_block]
    if aliases and using not in aliases:
        log(
            logger,
            logging.WARNING,
            "A broadcast to %r with on_commit=True does not wait: there is no transaction on %r, "
            "but there is one on %r. Write using=%r if that is the one to wait for.",
            group,
            using,
            aliases[0],
            aliases[0],
        )


def _warn_of_transaction(publication: Publication) -> None:
    """Say so, to those who develop, if what is told may be rolled back."""
    for connection in connections.all(initialized_only=True):
        blocks: list[Any] = connection.atomic_blocks
        # A test's own transaction is never committed.
        is_real = not all(block._from_testcase for block in blocks)  # noqa: SLF001  # as Django asks
        if is_real and not _is_part_of(publication, connection.alias):
            log(
                logger,
                logging.WARNING,
                "A broadcast to %r in a transaction on %r goes out before the commit: members look "
                "for what is not there yet, and a rollback does not take it back. Write "
                "broadcast(..., on_commit=True).",
                publication.group,
                connection.alias,
            )


def _publish(publication: Publication) -> None:
    backend = sync_backend()
    publication.announce()
    publication.publish_sync(backend)


def publish_after_commit(publication: Publication) -> None:
    """Publish what has waited for a commit; it is too late for an error."""
    try:
        _publish(publication)
    except BackendError as error:
        counters["broadcast_failed"] += 1
        text = "A broadcast to %r after the commit was lost."
        log(logger, logging.ERROR, text, publication.group, error=error)
