"""
The websockets that run in an event loop, and their end when the server stops.

Most servers shut the lifespan down when the websockets are gone. Granian does so while they run,
and stops the event loop at the answer, before their ``disconnect()`` hooks could finish.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any, Final

from ..log_thread import log
from ..loops import PerLoop

logger = logging.getLogger("wsconsumer.server")

GRACE: Final = 0.5
"""Seconds that websockets have to end by themselves, once the server shuts down."""

SHUTDOWN_TIMEOUT: Final = 5.0
"""Seconds that they have to run ``disconnect()`` after that, once they are cancelled."""


class RunningWebsockets:
    """The tasks in which the websockets of one event loop are served."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()
        self._cancelled: set[asyncio.Task[Any]] = set()

    def add(self, task: asyncio.Task[Any]) -> None:
        """A task begins to serve a websocket."""
        self._tasks.add(task)

    def discard(self, task: asyncio.Task[Any]) -> None:
        """It has served it."""
        self._tasks.discard(task)
        self._cancelled.discard(task)

    def take_back(self, task: asyncio.Task[Any]) -> bool:
        """
        Take back our cancellation; return whether the task was cancelled by nobody else.

        Granian would log it as an error of the application.
        """
        return task in self._cancelled and not task.uncancel()

    async def settle(self, seconds: float) -> None:
        """Wait for them to end by themselves, for so many seconds at the most."""
        if self._tasks:
            await _wait(self._tasks, seconds)

    async def end(self) -> None:
        """End them all, within bounds."""
        left = self._tasks
        if left:
            left = await _wait(left, GRACE)
        for task in left:
            if not task.cancelling():
                self._cancelled.add(task)
                task.cancel()
        if left and (left := await _wait(left, SHUTDOWN_TIMEOUT)):
            text = "Websockets that did not end before the server: %d."
            log(logger, logging.WARNING, text, len(left))


async def _wait(tasks: set[asyncio.Task[Any]], seconds: float) -> set[asyncio.Task[Any]]:
    """Wait for tasks; return those that still run."""
    return (await asyncio.wait(tuple(tasks), timeout=seconds))[1]


_running = PerLoop(RunningWebsockets)


def running_websockets() -> RunningWebsockets:
    """Return those of the running event loop."""
    return _running.get()
