"""
The lanes: a few long-lived threads for sync code and the ORM, each connection pinned to one.

Through asgiref's ``ThreadSensitiveContext`` every ``sync_to_async`` and every async ORM call of a
connection runs in its lane: in order, with database connections that are bounded by the number of
lanes, and without stopping the connections in other lanes.
"""

from __future__ import annotations

import threading
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import cache
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from asgiref.sync import AsyncToSync, SyncToAsync, ThreadSensitiveContext
from django.db import connections

from . import conf

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

P = ParamSpec("P")
R = TypeVar("R")


class Lane(ThreadPoolExecutor):
    """One thread, which looks after its database connections before each piece of work."""

    def __init__(self, number: int) -> None:
        super().__init__(max_workers=1, thread_name_prefix=f"wsconsumer-lane-{number}")
        self.pinned = 0

    def submit(self, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Future[R]:
        return super().submit(_with_usable_connections, fn, *args, **kwargs)  # type: ignore[arg-type]


def _with_usable_connections(fn: Callable[..., R], *args: Any, **kwargs: Any) -> R:
    """Drop what broke, whoever caught the error: a database restart costs a lane one error."""
    for connection in connections.all(initialized_only=True):
        if connection.errors_occurred:
            connection.close_if_unusable_or_obsolete()
    return fn(*args, **kwargs)


class Lanes:
    """A fixed number of lanes; the one with the fewest connections takes the next."""

    def __init__(self, number: int) -> None:
        self._lanes = [Lane(index) for index in range(number)]
        self._lock = threading.Lock()

    def take(self) -> Lane:
        """Pin a connection to the least used lane."""
        with self._lock:
            lane = min(self._lanes, key=lambda lane: lane.pinned)
            lane.pinned += 1
        return lane

    def give_back(self, lane: Lane) -> None:
        """Unpin a connection."""
        with self._lock:
            lane.pinned -= 1


@cache
def lanes() -> Lanes:
    """Return this process's lanes, made at first use from ``WSCONSUMER["THREADS"]``."""
    return Lanes(conf.get("THREADS"))


@asynccontextmanager
async def lane() -> AsyncIterator[None]:
    """
    Run a connection's sync code in a lane.

    Where a caller has already said which thread that code belongs to (a thread that waits in
    ``async_to_sync``, as under Django's ``TestCase``, or a ``ThreadSensitiveContext``) it has the
    last word: there the connection shares the caller's thread and its open transaction.
    """
    if _is_decided():
        yield
        return
    pool = lanes()
    executor = pool.take()
    try:
        async with ThreadSensitiveContext(executor=executor):
            yield
    finally:
        pool.give_back(executor)


def _is_decided() -> bool:
    return (
        getattr(AsyncToSync.executors, "current", None) is not None
        or SyncToAsync.thread_sensitive_context.get(None) is not None
    )
