"""
Threads for sync code: handshake threads, and lanes for what consumers do.

Handshakes run in a few threads of their own, like requests in the workers of a WSGI server, so slow
work of consumers never delays them. Each connection is then pinned to a lane: one thread in which
its ``sync_to_async`` and async ORM calls run, in order. No handshake ever runs in a lane, so a lane
holds nothing that middleware has left behind for somebody else. Threads of both kinds live as long
as the process, so database connections are bounded. ``databases.py`` looks after those.
"""

from __future__ import annotations

import threading
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext, suppress
from contextvars import ContextVar
from functools import cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple, ParamSpec, TypeVar

from asgiref.sync import AsyncToSync, SyncToAsync, ThreadSensitiveContext, sync_to_async
from django.db import connections
from django.utils.module_loading import import_string

from . import conf, databases

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from contextlib import AbstractContextManager
    from contextvars import Token

    from django.http import HttpRequest

MAX_WAITING: Final = 1000
"""Handshakes that may wait for a thread; those beyond it are refused at once."""

POOL_TIMEOUT: Final = 1.0
"""Seconds after which an idle lane gives its connections back to Django's connection pool."""

P = ParamSpec("P")
R = TypeVar("R")


class Client(NamedTuple):
    """Whose sync code runs: the name of the consumer, and the request of its handshake."""

    name: str
    request: HttpRequest


_client: ContextVar[Client | None] = ContextVar("wsconsumer_client", default=None)


class Workers(ThreadPoolExecutor):
    """Threads that know how much work is waiting for them."""

    def __init__(self, number: int, name: str) -> None:
        super().__init__(max_workers=number, thread_name_prefix=name)
        self.pending = 0
        self._lock = threading.Lock()

    def submit(self, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Future[R]:
        with self._lock:
            self.pending += 1
        try:
            future = super().submit(self._wrap(fn), *args, **kwargs)
        except BaseException:
            self._count_done()
            raise
        future.add_done_callback(self._count_done)
        return future

    def _wrap(self, fn: Callable[P, R]) -> Callable[P, R]:
        def work(*args: P.args, **kwargs: P.kwargs) -> R:
            databases.prepare()
            return fn(*args, **kwargs)

        return work

    def _count_done(self, _: object = None) -> None:
        with self._lock:
            self.pending -= 1


class HandshakeThreads(Workers):
    """The threads in which handshakes run."""

    def __init__(self, number: int) -> None:
        super().__init__(number, "wsconsumer-handshake")
        self._number = number
        self._limit = number + MAX_WAITING

    def call_in_each(self, function: Callable[[], object]) -> None:
        """Call a function once in each thread."""
        together = threading.Barrier(self._number)

        def call() -> None:
            together.wait()
            function()

        for future in [self.submit(call) for _ in range(self._number)]:
            future.result()

    @property
    def is_full(self) -> bool:
        """Whether a further handshake would have too many before it."""
        return self.pending >= self._limit


class Lane(Workers):
    """One thread for the sync code of the connections that are pinned to it."""

    def __init__(self, number: int) -> None:
        super().__init__(1, f"wsconsumer-lane-{number}")
        self.pinned = 0
        # One context for all connections of the lane: to asgiref it only leads to the thread.
        self.context = ThreadSensitiveContext(executor=self)
        SyncToAsync.context_to_thread_executor[self.context] = self
        self._arrived = threading.Event()

    def submit(self, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Future[R]:
        future = super().submit(fn, *args, **kwargs)
        self._arrived.set()
        return future

    def add_pinned(self, number: int) -> None:
        """Count connections that are pinned to this lane from now on, or no longer (-1)."""
        with self._lock:
            self.pinned += number

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        self._arrived.set()
        super().shutdown(wait, cancel_futures=cancel_futures)

    def _wrap(self, fn: Callable[P, R]) -> Callable[P, R]:
        client = _client.get()
        if client is None:
            return super()._wrap(fn)

        def work(*args: P.args, **kwargs: P.kwargs) -> R:
            databases.prepare()
            with databases.no_transaction_left(client.name), _thread_context(client.request):
                return fn(*args, **kwargs)

        return work

    def _count_done(self, _: object = None) -> None:
        super()._count_done()
        if databases.has_pooled():
            # After the end of the interpreter or of the lane there is nobody to give them back to.
            with suppress(RuntimeError):
                ThreadPoolExecutor.submit(self, self._give_back_pooled)

    def _give_back_pooled(self) -> None:
        """Give connections back to their pool, unless more work arrives soon."""
        self._arrived.clear()
        while not self.pending and databases.has_pooled():
            if self._arrived.wait(POOL_TIMEOUT):
                return
            databases.give_back_pooled()


def _thread_context(request: HttpRequest) -> AbstractContextManager[Any]:
    """Return the context manager that the project wants around a consumer's sync code."""
    path = conf.get("THREAD_CONTEXT")
    if path is None:
        return nullcontext()
    context: AbstractContextManager[Any] = import_string(path)(request)
    return context


class Lanes:
    """A fixed number of lanes; the one with the least to do takes the next connection."""

    def __init__(self, number: int) -> None:
        self.all = [Lane(index) for index in range(number)]
        self._lock = threading.Lock()

    def take(self) -> Lane:
        """Pin a connection to the lane with the least work, then the fewest connections."""
        with self._lock:
            lane = min(self.all, key=lambda lane: (lane.pending, lane.pinned))
            lane.add_pinned(1)
        return lane


@cache
def lanes() -> Lanes:
    """Return the lanes of this process, created at first use from ``WSCONSUMER["THREADS"]``."""
    return Lanes(conf.get("THREADS"))


@cache
def handshake_threads() -> HandshakeThreads:
    """Return those threads, created at first use from ``WSCONSUMER["HANDSHAKE_THREADS"]``."""
    return HandshakeThreads(conf.get("HANDSHAKE_THREADS"))


def close_threads(close_connections: Callable[[], object] = connections.close_all) -> None:
    """End all threads, with their database connections; new ones are created when needed."""
    if lanes.cache_info().currsize:
        for lane in lanes().all:
            lane.submit(close_connections).result()
            lane.shutdown()
        lanes.cache_clear()
    if handshake_threads.cache_info().currsize:
        handshake_threads().call_in_each(close_connections)
        handshake_threads().shutdown()
        handshake_threads.cache_clear()


def in_handshake_thread(function: Callable[P, R]) -> Callable[P, Coroutine[Any, Any, R]]:
    """
    Return an async function that runs a sync one in a handshake thread.

    Or in the thread that a caller has decided on, as in ``pin()``.
    """
    if is_decided():
        return sync_to_async(function)
    return sync_to_async(function, thread_sensitive=False, executor=handshake_threads())


def are_handshakes_full() -> bool:
    """Return whether too many handshakes are waiting for their threads."""
    return not is_decided() and handshake_threads().is_full


class Pin(NamedTuple):
    """A connection in its lane."""

    lane: Lane
    token: Token[ThreadSensitiveContext]


def pin(client: Client) -> Pin | None:
    """
    Let the sync code of the current task, and of tasks that it starts, run in a lane.

    Where a caller has already decided which thread that code belongs to (a thread that waits in
    ``async_to_sync``, as under Django's ``TestCase``, or a ``ThreadSensitiveContext``), nothing
    changes: the connection shares the caller's thread and its open transaction.
    """
    if is_decided():
        return None
    lane = lanes().take()
    _client.set(client)
    return Pin(lane, SyncToAsync.thread_sensitive_context.set(lane.context))


def unpin(pinned: Pin | None) -> None:
    """Take a connection out of its lane."""
    if pinned is not None:
        pinned.lane.add_pinned(-1)
        _client.set(None)
        # A coroutine that is thrown away ends in another context, which has nothing to restore.
        with suppress(ValueError):
            SyncToAsync.thread_sensitive_context.reset(pinned.token)


def is_decided() -> bool:
    """Return whether a caller has decided in which thread sync code runs."""
    return (
        getattr(AsyncToSync.executors, "current", None) is not None
        or SyncToAsync.thread_sensitive_context.get(None) is not None
    )
