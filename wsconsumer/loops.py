"""
Event loops: whether one runs here, one object for each, which any connection can find, tasks that
belong to no connection, and threads that nobody waits for.
"""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future
from contextvars import Context
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

T = TypeVar("T")
F = TypeVar("F", bound="Callable[[], Coroutine[Any, Any, None]]")


class PerLoop(Generic[T]):
    """Makes an object for an event loop when it is first asked for, and forgets closed loops."""

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._made: dict[asyncio.AbstractEventLoop, T] = {}

    def __len__(self) -> int:
        return len(self._made)

    def get(self) -> T:
        """Return the running loop's object."""
        loop = asyncio.get_running_loop()
        found = self._made.get(loop)
        if found is None:
            for old in tuple(self._made):
                if old.is_closed():
                    self._made.pop(old, None)
            found = self._made[loop] = self._make()
        return found

    def peek(self) -> T | None:
        """Return it if it was made before."""
        return self._made.get(asyncio.get_running_loop())

    def pop(self) -> T | None:
        """Return and forget it."""
        return self._made.pop(asyncio.get_running_loop(), None)

    def put(self, made: T) -> None:
        """Let this be the running loop's object."""
        self._made[asyncio.get_running_loop()] = made


_endings: list[Callable[[], Coroutine[Any, Any, None]]] = []


def at_end(function: F) -> F:
    """Have an async function called in each event loop that ``end_loop()`` is called in."""
    _endings.append(function)
    return function


async def end_loop() -> None:
    """End what runs in this event loop beside the connections: its server stops."""
    for function in _endings:
        await function()


def in_event_loop() -> bool:
    """Return whether an event loop runs in this thread."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def start_task(
    coroutine: Coroutine[Any, Any, T], context: Context | None = None
) -> asyncio.Task[T]:
    """
    Start a task that belongs to no connection, in an empty context unless another is given.

    It begins in the next turn of the loop, even where ``asyncio.eager_task_factory`` is set: what
    it sets at its end would be overwritten by the one who started it.
    """
    loop = asyncio.get_running_loop()
    return asyncio.Task(coroutine, loop=loop, context=Context() if context is None else context)


def in_thread(work: Callable[[], T]) -> Future[T]:
    """
    Run what may block in a thread of its own.

    Neither the end of the event loop nor that of the process waits for it, as both would for a
    thread of an executor.
    """
    done: Future[T] = Future()
    done.set_running_or_notify_cancel()  # from now on nobody can cancel it

    def run() -> None:
        try:
            done.set_result(work())
        except Exception as error:  # noqa: BLE001  # it is told to who waits
            done.set_exception(error)
        except BaseException as error:  # noqa: BLE001  # an event loop would end by it
            done.set_exception(RuntimeError(f"{type(error).__name__}: {error}"))

    threading.Thread(target=run, name="wsconsumer-thread", daemon=True).start()
    return done
