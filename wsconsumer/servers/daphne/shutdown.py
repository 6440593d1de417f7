"""
The end of daphne: applications are cancelled, and awaited, before the reactor stops.

Daphne's own sweep raises ``KeyError``, and skips the rest, when it meets a connection whose
application has finished, which an upgraded request is for up to a second.
"""

from __future__ import annotations

import asyncio
from functools import cache
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred

from ...log_thread import log_thread

_tasks: set[asyncio.Task[Any]] = set()


def end_with_the_server(task: asyncio.Task[Any] | None) -> None:
    """Have this task cancelled, and awaited, before the reactor stops."""
    if task is not None:
        _tasks.add(task)
        task.add_done_callback(_tasks.discard)
        _watch_shutdown()


@cache
def _watch_shutdown() -> None:
    reactor.addSystemEventTrigger("before", "shutdown", end_applications)  # type: ignore[arg-type]  # zope's stub has no eventType


def end_applications() -> Deferred[Any] | None:
    """Cancel each task that still runs, once; return what the reactor has to wait for."""
    if not _tasks:
        return None
    for task in _tasks:
        if not task.cancelling():
            task.cancel()
    return Deferred.fromFuture(asyncio.ensure_future(_end(_tasks.copy())))


async def _end(tasks: set[asyncio.Task[Any]]) -> None:
    """Wait for the applications, and for what they have to log."""
    await asyncio.gather(*tasks, return_exceptions=True)
    await log_thread().aflush()
