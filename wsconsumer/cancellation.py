"""
Whose cancellation is it? Asked and answered here, for the task that serves a connection.

A ``CancelledError`` says that a task was cancelled, but not by whom. asyncio counts the requests
(``Task.cancelling()``); the code that made one takes it back (``Task.uncancel()``) when it is done.
``Cancellations`` remembers those that are ours: any others are the server's, and an error while
nothing is counted came out of something else that had been cancelled. ``Cause`` is the table of
answers.
"""

from __future__ import annotations

import asyncio
import enum
import sys
from typing import Final

CANCEL_TIMEOUT: Final = 5.0
"""Seconds that a task beside the hooks has to end, once it is cancelled, or it is left behind."""


class Cause(enum.Enum):
    """Why a hook, or the wait for the next event, was cancelled."""

    SERVER = "the server is stopping, or the code that runs the application wants it to end"
    CLIENT_LEFT = "the client has left while a hook was running for it"
    CLOSED = "somebody else than the hook closed, such as a limit, and the client answered"
    UNDECIDED = "connect() did not decide within connect_timeout"
    OVERDUE = "a hook did not end in time after its own close()"
    CLOSE_UNANSWERED = "the server did not report the end of a connection that we closed"
    STRAY = "something that a hook awaited had been cancelled: an error like any other"


class Cancellations:
    """The cancellations of one task that we asked for ourselves."""

    __slots__ = ("_cause", "_count", "_others", "_task")

    def __init__(self, task: asyncio.Task[None]) -> None:
        self._task: asyncio.Task[None] | None = task
        self._cause: Cause | None = None
        self._count = 0
        self._others = 0  # requests that were counted before ours

    def is_current(self) -> bool:
        """Return whether the task is the one that runs."""
        return self._task is not None and is_current(id(self._task))

    def is_abandoned(self, error: BaseException, task: int | None = None) -> bool:
        """
        Return whether the coroutine of a hook is being thrown away.

        Python then raises ``GeneratorExit`` in it, and nothing can be awaited any more. A hook that
        raises one of its own does so while its task runs; ``task`` is the ``id()`` of another one.
        """
        if not isinstance(error, GeneratorExit):
            return False
        return not (self.is_current() if task is None else is_current(task))

    def coroutine(self) -> object:
        """Return the coroutine of the task, as far as it can be seen."""
        # A server's own kind of task may not show it.
        get_coro = getattr(self._task, "get_coro", None)
        return None if get_coro is None else get_coro()

    def release(self) -> None:
        """Let go of the task, which has ended: its exception may lead back to us."""
        self._task = None

    def request(self, cause: Cause) -> None:
        """Cancel the task."""
        if self._task is not None:
            if self._cause is None:
                self._others = self._task.cancelling()
            self._cause = cause
            self._count += 1
            self._task.cancel()

    def take_back(self) -> Cause | None:
        """Return why we cancelled, if we did: it has done its work, so let the task go on."""
        cause, count = self._cause, self._count
        self._cause, self._count = None, 0
        if self._task is not None:
            for _ in range(count):
                self._task.uncancel()
        return cause

    def judge(self, error: BaseException) -> Cause:
        """Return the cause of what came up to us; a cancellation of ours is taken back by it."""
        task = self._task
        if task is None or not self.is_current():
            return Cause.SERVER if is_cancelled() else Cause.STRAY
        others = self._others
        ours = self.take_back()
        if ours is None and sys.version_info < (3, 13) and isinstance(error, BaseExceptionGroup):
            # There a TaskGroup whose child fails while the group ends leaves its request behind.
            for _ in range(task.cancelling()):  # pragma: no cover  # run by older Pythons
                task.uncancel()
        if task.cancelling() > (0 if ours is None else others):
            return Cause.SERVER
        return ours or Cause.STRAY

    async def absorb(self) -> None:
        """
        Let a cancellation that is still on its way arrive, unless it is the server's.

        A ``TaskGroup`` whose child fails while we cancel its parent cancels the parent again as it
        ends, and this one strikes at the next ``await``; from Python 3.13 on, taking it back calls
        it off.
        """
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            if is_cancelled():  # pragma: no branch  # older Pythons take the other one
                raise


def is_cancelled() -> bool:
    """Return whether somebody asked the running task to end, and has not taken it back."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def is_current(task: int) -> bool:
    """
    Return whether the task with this ``id()`` is the one that runs.

    By its id: a reference to a task also keeps its exception alive, and every frame in that.
    """
    try:
        return id(asyncio.current_task()) == task
    except RuntimeError:  # no event loop is running
        return False


def consists_of(error: BaseException, kind: type[BaseException]) -> bool:
    """Return whether an exception is of a kind, or is a group of nothing else."""
    if isinstance(error, BaseExceptionGroup):
        return all(consists_of(member, kind) for member in error.exceptions)
    return isinstance(error, kind)


def contains(error: BaseException, kind: type[BaseException]) -> bool:
    """Return whether an exception is of a kind, or is a group with one in it."""
    if isinstance(error, BaseExceptionGroup):
        return any(contains(member, kind) for member in error.exceptions)
    return isinstance(error, kind)
