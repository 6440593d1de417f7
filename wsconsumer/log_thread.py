"""
The thread that emits what connections have to say at WARNING and ERROR.

A log handler is the project's own code: it may send a mail, ask a database, wait for a server. On
the event loop it would stop every websocket of the process for as long as that takes. So a record
is made where something happens, with its time, its exception and its context, and is emitted here,
together with the signals for error trackers. What waits is bounded.
"""

from __future__ import annotations

import asyncio
import atexit
import logging
import os
import threading
from collections import deque
from contextlib import contextmanager
from contextvars import copy_context
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from django.conf import settings
from django.db import connections

from .counters import counters
from .log_fields import ConnectionFilter, current_fields

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

logger = logging.getLogger("wsconsumer.server")

LOGGERS: Final = (
    "wsconsumer.access",
    "wsconsumer.consumer",
    "wsconsumer.groups",
    "wsconsumer.handshake",
    "wsconsumer.server",
)
"""All loggers of this package."""

LIMIT: Final = 1_000
"""Records that may wait; beyond it, those that any stranger can cause are dropped first."""

FLUSH_TIMEOUT: Final = 2.0
"""Seconds that a process waits at its end for what has not been emitted yet."""


class Job(NamedTuple):
    """Something to emit, and whether anybody who connects can cause it."""

    emit: Callable[[], object]
    from_stranger: bool


class LogThread:
    """
    A thread that exists once there is something to emit, and the queue before it.

    ``name`` is the thread's, ``what`` the log's word for what is emitted, and ``counter`` counts
    what was not.
    """

    def __init__(
        self,
        name: str = "wsconsumer-log",
        what: str = "log records",
        counter: str = "log_dropped",
    ) -> None:
        self._name = name
        self._what = what
        self._counter = counter
        self._jobs: deque[Job] = deque()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._is_busy = False
        self._has_been_awaited = False
        self._dropped = 0
        self._in_place = 0

    def submit(self, emit: Callable[[], object], *, from_stranger: bool = False) -> None:
        """Emit something soon, after what was submitted before."""
        if self.is_in_place:
            emit()
            return
        with self._changed:
            if len(self._jobs) < LIMIT or self._make_room(from_stranger):
                self._jobs.append(Job(emit, from_stranger))
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def flush(self, seconds: float = FLUSH_TIMEOUT) -> bool:
        """Wait until everything is emitted; return whether it was within so many seconds."""
        with self._changed:
            return self._changed.wait_for(lambda: not (self._jobs or self._is_busy), seconds)

    async def aflush(self, seconds: float = FLUSH_TIMEOUT) -> None:
        """Do what ``flush()`` does, and let the event loop run meanwhile."""
        if not self.flush(0):
            self._has_been_awaited = not await asyncio.to_thread(self.flush, seconds)

    def close_connections(self) -> bool:
        """
        Close the thread's database connections, once it has emitted what waits.

        Return whether that was soon; if a stop has waited in vain already, nothing is waited for.
        """
        with self._changed:
            if self._thread is None:
                return True
            self._jobs.append(Job(connections.close_all, from_stranger=False))
            self._changed.notify_all()
        return self.flush(0 if self._has_been_awaited else FLUSH_TIMEOUT)

    @property
    def is_in_place(self) -> bool:
        """Whether everything is emitted at once."""
        return self._in_place > 0

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Emit at once, in the caller's thread, while the block runs: for tests."""
        self.flush()
        self._change_in_place(1)
        try:
            yield
        finally:
            self._change_in_place(-1)

    def _change_in_place(self, change: int) -> None:
        with self._changed:
            self._in_place += change

    def _make_room(self, from_stranger: bool) -> bool:
        self._dropped += 1
        counters[self._counter] += 1
        stranger = None if from_stranger else next((j for j in self._jobs if j.from_stranger), None)
        if stranger is not None:
            self._jobs.remove(stranger)
        return stranger is not None

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._jobs)
                job = self._jobs.popleft()
                dropped, self._dropped = self._dropped, 0
                self._is_busy = True
            try:
                _emit(job.emit, dropped, self._what)
            finally:
                del job  # it holds an exception, with all its frames
                with self._changed:
                    self._is_busy = False
                    self._has_been_awaited &= bool(self._jobs)
                    self._changed.notify_all()


def _emit(emit: Callable[[], object], dropped: int, what: str) -> None:
    if dropped:
        logger.warning("More %s came than could be emitted. Dropped: %d.", what, dropped)
    try:
        emit()
    except BaseException:  # not even SystemExit may end the thread
        # A handler's own errors are logging's business; this one came out of it.
        logger.exception("A log record was not emitted.")
    for connection in connections.all(initialized_only=True):
        connection.close_if_unusable_or_obsolete()


class GuestThread(LogThread):
    """
    The same for the receivers of our signals, which may take longer than log handlers.

    Where the log is emitted in place, so are they.
    """

    def __init__(self) -> None:
        super().__init__("wsconsumer-signals", "signals", "signal_dropped")

    @property
    def is_in_place(self) -> bool:
        """Whether everything is emitted at once."""
        return log_thread().is_in_place


_threads: list[LogThread] = [LogThread()]
_guests: list[GuestThread] = [GuestThread()]


def log_thread() -> LogThread:
    """Return this process's thread for the log."""
    return _threads[0]


def guest_thread() -> GuestThread:
    """Return this process's thread for the receivers of signals."""
    return _guests[0]


async def aflush() -> None:
    """Wait a little for what both have to emit: the server stops."""
    await guest_thread().aflush()  # it has something to log where a receiver fails
    await log_thread().aflush()


def close_connections() -> bool:
    """Close the database connections of both; return whether that was soon."""
    return guest_thread().close_connections() & log_thread().close_connections()


def _forget_thread() -> None:
    """Start over in a forked process, which has no such thread."""
    _threads[0] = LogThread()  # pragma: no cover  # runs in forked processes
    _guests[0] = GuestThread()  # pragma: no cover  # as above


def let_end() -> None:
    """
    Let the process end, also where a handler is never done with what it emits.

    It holds its lock meanwhile, for which ``logging.shutdown()`` would wait as long as that takes.
    """
    if close_connections():
        return
    for handler in _handlers():
        if handler.lock is None:
            continue
        if handler.lock.acquire(blocking=False):
            handler.lock.release()
        else:
            handler.createLock()


def _handlers() -> Iterator[logging.Handler]:
    """Return the handlers of our loggers."""
    for name in LOGGERS:
        source: logging.Logger | None = logging.getLogger(name)
        while source is not None:
            yield from source.handlers
            source = source.parent if source.propagate else None


os.register_at_fork(after_in_child=_forget_thread)
atexit.register(let_end)


def _add_filters() -> None:
    for name in LOGGERS:
        logging.getLogger(name).addFilter(ConnectionFilter())


_add_filters()


def enable_loggers() -> None:
    """
    Enable the loggers that ``setup()`` has disabled, unless ``LOGGING`` names them.

    An ``asgi.py`` imports us first, and ``dictConfig()`` disables each logger that is there before
    it. Those that a project's own modules make come after it, and are not disabled.
    """
    configuration: object = settings.LOGGING  # for a LOGGING_CONFIG of its own, anything
    named = configuration.get("loggers", {}) if isinstance(configuration, dict) else {}
    for name in LOGGERS:
        if name not in named:
            logging.getLogger(name).disabled = False


def log(
    source: logging.Logger,
    level: int,
    message: str,
    *arguments: object,
    error: BaseException | None = None,
    extra: Mapping[str, Any] | None = None,
    signal: Callable[[], object] | None = None,
    from_stranger: bool = False,
) -> None:
    """
    Make a log record now, and let the thread emit it.

    ``arguments`` are formatted there: pass what does not change. ``signal`` is sent first, whatever
    the level, and in the same context: an error tracker that hears both knows the error again.
    ``from_stranger``: anybody who connects can cause this.
    """
    jobs: list[Callable[[], object]] = [] if signal is None else [signal]
    if source.isEnabledFor(level):
        record = make_record(source, level, message, arguments, error, extra)
        jobs.append(partial(source.handle, record))
    context = copy_context()
    for job in jobs:
        log_thread().submit(partial(context.run, job), from_stranger=from_stranger)


def make_record(
    source: logging.Logger,
    level: int,
    message: str,
    arguments: tuple[object, ...],
    error: BaseException | None,
    extra: Mapping[str, Any] | None,
) -> logging.LogRecord:
    """Return the record for a call of ``log()``, or of another caller at the same depth."""
    path, line, function, stack = source.findCaller(stacklevel=3)
    exc_info = None if error is None else (type(error), error, error.__traceback__)
    # Here and not by the filter, which looks at it when the connection may have ended.
    extra = {**current_fields(), **(extra or {})}
    return source.makeRecord(
        source.name, level, path, line, message, arguments, exc_info, function, extra, stack
    )
