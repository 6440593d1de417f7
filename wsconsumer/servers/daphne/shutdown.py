"""
The end of daphne: applications are cancelled, and awaited, before the reactor stops.

Daphne's own sweep raises ``KeyError``, and skips the rest, when it meets a connection whose
application has finished, which an upgraded request is for up to a second.
"""

from __future__ import annotations

import asyncio
import atexit
import threading
from functools import cache
from typing import Any, Final

from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred

from ...log_thread import aflush
from ...loops import end_loop

EXIT_TIMEOUT: Final = 5.0
"""Seconds that a process with the reactor in a thread waits for it when it exits."""

_before_exit: Final = getattr(threading, "_register_atexit", atexit.register)
"""
Have a function called when the interpreter begins to exit.

By the time of ``atexit`` no executor takes work any more, and a ``disconnect()`` could not use the
database.
"""

_tasks: set[asyncio.Task[Any]] = set()


def end_with_the_server(task: asyncio.Task[Any] | None) -> None:
    """Have this task cancelled, and awaited, before the reactor stops."""
    if task is not None:
        _tasks.add(task)
        task.add_done_callback(_tasks.discard)
        watch_shutdown()


@cache
def watch_shutdown() -> None:
    """Learn of the reactor's end, and of the interpreter's where the reactor does not."""
    reactor: Any = _reactor  # zope's stubs know neither eventType nor running
    reactor.addSystemEventTrigger("before", "shutdown", end_applications)
    thread = threading.current_thread()
    if thread is not threading.main_thread():
        _before_exit(stop_reactor, reactor, thread)


def stop_reactor(reactor: Any, thread: threading.Thread) -> None:
    """
    Stop the reactor that runs in a thread, and wait for it.

    Daphne's ``runserver`` has it in a daemon thread, which would end with the process: at a reload
    and at Ctrl-C, which only the main thread learns of.
    """
    if thread.is_alive() and reactor.running:
        reactor.callFromThread(reactor.stop)
        thread.join(EXIT_TIMEOUT)


def end_applications() -> Deferred[Any]:
    """Cancel each task that still runs, once; return what the reactor has to wait for."""
    for task in _tasks:
        if not task.cancelling():
            task.cancel()
    return Deferred.fromFuture(asyncio.ensure_future(_end(_tasks.copy())))


async def _end(tasks: set[asyncio.Task[Any]]) -> None:
    """Wait for the applications, and end what they shared; daphne tells no lifespan."""
    await asyncio.gather(*tasks, return_exceptions=True)
    await end_loop()
    await aflush()
