"""
The lanes: a few long-lived threads for sync code and the ORM, each connection pinned to one.

Through asgiref's ``ThreadSensitiveContext`` every ``sync_to_async`` and every async ORM call of a
connection runs in its lane: in order, with database connections that are bounded by the number of
lanes, and without stopping the connections in other lanes.
"""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple, ParamSpec, TypeVar

from asgiref.sync import AsyncToSync, SyncToAsync, ThreadSensitiveContext
from django.db import connections
from django.db.backends.signals import connection_created

from . import conf

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextvars import Token

    from django.db.backends.base.base import BaseDatabaseWrapper

MIN_CONNECTION_AGE: Final = 60.0
"""Seconds for which a lane keeps a database connection at least, if nothing goes wrong."""

P = ParamSpec("P")
R = TypeVar("R")


class Lane(ThreadPoolExecutor):
    """One thread, which looks after its database connections before each piece of work."""

    def __init__(self, number: int) -> None:
        super().__init__(max_workers=1, thread_name_prefix=f"wsconsumer-lane-{number}")
        self.pinned = 0
        self.pending = 0
        # One context for all connections of the lane: to asgiref it is only the way to the thread.
        self.context = ThreadSensitiveContext(executor=self)
        SyncToAsync.context_to_thread_executor[self.context] = self
        self._lock = threading.Lock()

    def submit(self, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Future[R]:
        with self._lock:
            self.pending += 1
        future = super().submit(_with_usable_connections, fn, *args, **kwargs)  # type: ignore[arg-type]
        future.add_done_callback(self._done)
        return future

    def _done(self, future: Future[Any]) -> None:
        with self._lock:
            self.pending -= 1


def _with_usable_connections(fn: Callable[..., R], *args: Any, **kwargs: Any) -> R:
    """
    Drop connections that broke, whoever caught the error, or are old; then do the work.

    So a database restart costs a lane one error at the most.
    """
    _thread.is_lane = True
    for connection in connections.all(initialized_only=True):
        if connection.errors_occurred or _is_old(connection):
            connection.close_if_unusable_or_obsolete()
    return fn(*args, **kwargs)


def _is_old(connection: BaseDatabaseWrapper) -> bool:
    return connection.close_at is not None and time.monotonic() >= connection.close_at


def _keep(connection: BaseDatabaseWrapper, **_: Any) -> None:
    """
    Let a lane keep its connection for a while, whatever ``CONN_MAX_AGE`` says of requests.

    Django's default closes it at the end of each request: here the end of any handshake in the
    lane, which is nothing to the other websockets that use it. A pool knows better by itself.
    """
    is_pooled = connection.settings_dict["OPTIONS"].get("pool", False)
    if getattr(_thread, "is_lane", False) and connection.close_at is not None and not is_pooled:
        connection.close_at = max(connection.close_at, time.monotonic() + MIN_CONNECTION_AGE)


_thread = threading.local()
connection_created.connect(_keep, dispatch_uid="wsconsumer.threads")


class Lanes:
    """A fixed number of lanes; the one with the least to do takes the next connection."""

    def __init__(self, number: int) -> None:
        self.all = [Lane(index) for index in range(number)]
        self._lock = threading.Lock()

    def take(self) -> Lane:
        """Pin a connection to the lane with the least work, then the fewest connections."""
        with self._lock:
            lane = min(self.all, key=lambda lane: (lane.pending, lane.pinned))
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


def close_lanes() -> None:
    """End the lanes, with their threads and database connections; new ones are made at need."""
    if lanes.cache_info().currsize:
        for lane in lanes().all:
            lane.submit(connections.close_all).result()
            lane.shutdown()
        lanes.cache_clear()


class Pin(NamedTuple):
    """A connection in its lane."""

    lanes: Lanes
    lane: Lane
    token: Token[ThreadSensitiveContext]


def pin() -> Pin | None:
    """
    Let the sync code of the current task, and of tasks that it starts, run in a lane.

    Where a caller has already decided which thread that code belongs to (a thread that waits in
    ``async_to_sync``, as under Django's ``TestCase``, or a ``ThreadSensitiveContext``), nothing
    changes: the connection shares the caller's thread and its open transaction.
    """
    if is_decided():
        return None
    pool = lanes()
    lane = pool.take()
    return Pin(pool, lane, SyncToAsync.thread_sensitive_context.set(lane.context))


def unpin(pinned: Pin | None) -> None:
    """Take a connection out of its lane."""
    if pinned is not None:
        # A coroutine that is thrown away ends in another context, which has nothing to restore.
        with suppress(ValueError):
            SyncToAsync.thread_sensitive_context.reset(pinned.token)
        pinned.lanes.give_back(pinned.lane)


def is_decided() -> bool:
    """Return whether a caller has decided in which thread sync code runs."""
    return (
        getattr(AsyncToSync.executors, "current", None) is not None
        or SyncToAsync.thread_sensitive_context.get(None) is not None
    )
