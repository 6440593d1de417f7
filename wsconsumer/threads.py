"""
Threads for sync code: handshake threads, and lanes for what consumers do.

Handshakes run in a few threads of their own, like requests in the workers of a WSGI server, so slow
work of consumers never delays them. Each connection is then pinned to a lane: one thread in which
its ``sync_to_async`` and async ORM calls run, in order. No handshake ever runs in a lane, so a lane
holds nothing that middleware has left behind for somebody else. Threads of both kinds live as long
as the process, so database connections are bounded. ``databases.py`` looks after those.
"""

from __future__ import annotations

import atexit
import threading
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import nullcontext, suppress
from contextvars import ContextVar, copy_context
from functools import cache, partial
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Final, NamedTuple, ParamSpec, TypeVar

from asgiref.sync import AsyncToSync, SyncToAsync, ThreadSensitiveContext, sync_to_async
from django.db import connections
from django.utils.module_loading import import_string

from . import conf, databases

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from contextlib import AbstractContextManager
    from contextvars import Context, Token

    from django.http import HttpRequest

MAX_WAITING: Final = 1000
"""Handshakes that may wait for a thread; those beyond it are refused at once."""

POOL_TIMEOUT: Final = 1.0
"""Seconds after which an idle lane gives its connections back to Django's connection pool."""

P = ParamSpec("P")
R = TypeVar("R")


_request: ContextVar[HttpRequest | None] = ContextVar("wsconsumer_request", default=None)
"""The handshake's request of the connection whose sync code runs."""


class HandshakeThreads(ThreadPoolExecutor):
    """The threads in which handshakes run."""

    def __init__(self, number: int) -> None:
        super().__init__(max_workers=number, thread_name_prefix="wsconsumer-handshake")
        self.pending = 0
        self.number = number
        self._limit = number + MAX_WAITING
        self._lock = threading.Lock()

    def submit(self, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Future[R]:
        def work() -> R:
            databases.prepare()
            return fn(*args, **kwargs)

        future = super().submit(work)
        with self._lock:
            self.pending += 1
        future.add_done_callback(self._count_done)
        return future

    def call_in_each(self, function: Callable[[], object]) -> None:
        """Call a function once in each thread."""
        together = threading.Barrier(self.number)

        def call() -> None:
            together.wait()
            function()

        for future in [self.submit(call) for _ in range(self.number)]:
            future.result()

    @property
    def is_full(self) -> bool:
        """Whether a further handshake would have too many before it."""
        return self.pending >= self._limit

    def _count_done(self, _: object) -> None:
        with self._lock:
            self.pending -= 1


class Lane(Executor):
    """
    One thread for the sync code of the connections that are pinned to it.

    ``pinned``: how many those are; ``pending``: how much work waits or is being done.
    """

    def __init__(self, number: int) -> None:
        self.pinned = 0
        self.pending = 0
        # One context for all connections of the lane: to asgiref it only leads to the thread.
        self.context = ThreadSensitiveContext(executor=self)
        SyncToAsync.context_to_thread_executor[self.context] = self
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._lock = threading.Lock()
        # A daemon, since Python would join it before it runs what tells the thread to end.
        self._thread = threading.Thread(
            target=self._run, name=f"wsconsumer-lane-{number}", daemon=True
        )
        self._thread.start()

    def submit(self, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Future[R]:
        future: Future[R] = Future()
        with self._lock:
            self.pending += 1
        future.add_done_callback(self._count_done)
        self._jobs.put(partial(_settle, future, _request.get(), partial(fn, *args, **kwargs)))
        return future

    def end(self) -> None:
        """Wait until the work that was submitted is done, and end the thread."""
        self._jobs.put(None)
        self._thread.join()

    def add_pinned(self, number: int) -> None:
        """Count connections that are pinned to this lane from now on, or no longer (-1)."""
        with self._lock:
            self.pinned += number

    def _run(self) -> None:
        while True:
            try:
                job = self._jobs.get(timeout=POOL_TIMEOUT if databases.has_pooled() else None)
            except Empty:
                databases.give_back_pooled()
                continue
            if job is None:
                return
            job()
            del job  # it holds what the work was about

    def _count_done(self, _: object) -> None:
        with self._lock:
            self.pending -= 1


def _settle(future: Future[R], request: HttpRequest | None, work: Callable[[], R]) -> None:
    """Do a piece of work, unless it was cancelled, and give the future its result."""
    if not future.set_running_or_notify_cancel():
        return
    try:
        future.set_result(_do(request, work))
    except BaseException as error:  # noqa: BLE001  # it is the caller's
        future.set_exception(error)
        # The error's traceback holds this frame, which holds the future, which holds the error.
        del future


def _do(request: HttpRequest | None, work: Callable[[], R]) -> R:
    databases.prepare()
    if request is None:
        return work()
    with databases.no_transaction_left(_name_view(request)), _thread_context(request):
        return work()


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
    close_lanes(close_connections)
    if handshake_threads.cache_info().currsize:
        handshake_threads().call_in_each(close_connections)
        handshake_threads().shutdown()
        handshake_threads.cache_clear()


def close_lanes(close_connections: Callable[[], object] = connections.close_all) -> None:
    """End the lanes, when all work that was submitted is done."""
    if lanes.cache_info().currsize:
        for lane in lanes().all:
            lane.submit(close_connections).result()
            lane.end()
        lanes.cache_clear()


# As Python does with its own executors: the process does not end in the middle of work.
atexit.register(close_lanes)


def in_handshake_thread(function: Callable[P, R]) -> Callable[P, Coroutine[Any, Any, R]]:
    """
    Return an async function that runs a sync one in a handshake thread.

    Or in the thread that a caller has decided on, as in ``pin()``.
    """
    if is_decided():
        return sync_to_async(function)
    return sync_to_async(function, thread_sensitive=False, executor=handshake_threads())


def context_of_caller() -> Context | None:
    """Return the running context if a caller, and not ``pin()``, has decided on the thread."""
    return copy_context() if is_decided() and _request.get() is None else None


def are_handshakes_full() -> bool:
    """Return whether too many handshakes are waiting for their threads."""
    return not is_decided() and handshake_threads().is_full


class Pin(NamedTuple):
    """A connection in its lane."""

    lane: Lane
    token: Token[ThreadSensitiveContext]


def _name_view(request: HttpRequest) -> str:
    """Return the name of the consumer that serves a request."""
    match = request.resolver_match
    return getattr(match and match.func, "__name__", "a websocket application")


def pin(request: HttpRequest) -> Pin | None:
    """
    Let the sync code of the current task, and of tasks that it starts, run in a lane.

    Where a caller has already decided which thread that code belongs to (a thread that waits in
    ``async_to_sync``, as under Django's ``TestCase``, or a ``ThreadSensitiveContext``), nothing
    changes: the connection shares the caller's thread and its open transaction.
    """
    if is_decided():
        return None
    lane = lanes().take()
    _request.set(request)
    return Pin(lane, SyncToAsync.thread_sensitive_context.set(lane.context))


def unpin(pinned: Pin | None) -> None:
    """Take a connection out of its lane."""
    if pinned is not None:
        pinned.lane.add_pinned(-1)
        _request.set(None)
        # A coroutine that is thrown away ends in another context, which has nothing to restore.
        with suppress(ValueError):
            SyncToAsync.thread_sensitive_context.reset(pinned.token)


def is_decided() -> bool:
    """Return whether a caller has decided in which thread sync code runs."""
    return (
        getattr(AsyncToSync.executors, "current", None) is not None
        or SyncToAsync.thread_sensitive_context.get(None) is not None
    )
