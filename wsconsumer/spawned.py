"""The tasks that a consumer spawned: they belong to its connection, and end with it."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from .cancellation import CANCEL_TIMEOUT
from .escaping import escape, quote
from .log_thread import log

if TYPE_CHECKING:
    from collections.abc import Coroutine

logger = logging.getLogger("wsconsumer.consumer")


class SpawnedTasks:
    """The tasks of one connection; ``owner`` is the name that the log uses."""

    __slots__ = ("_owner", "_tasks")

    def __init__(self, owner: str) -> None:
        self._owner = owner
        self._tasks: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._tasks)

    def start(
        self, guarded: Coroutine[Any, Any, None], coroutine: Coroutine[Any, Any, Any]
    ) -> asyncio.Task[None]:
        """Run ``guarded``, which awaits the user's ``coroutine``, as a task."""
        task = asyncio.create_task(guarded, name=name_of(coroutine))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        # A task that is cancelled before it began has never awaited it.
        task.add_done_callback(lambda _: coroutine.close())
        return task

    async def end(self) -> None:
        """
        Cancel the tasks and wait for them, within ``CANCEL_TIMEOUT``.

        A task may spawn another one as it ends. One that swallows its cancellation is left behind,
        or nothing that comes after it could run, and the server could never stop.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + CANCEL_TIMEOUT
        while (left := tuple(self._tasks)) and (seconds := deadline - loop.time()) > 0:
            for task in left:
                task.cancel()
            await asyncio.wait(left, timeout=seconds)
        for task in self._tasks:
            log(
                logger,
                logging.WARNING,
                "%s: the spawned task '%s' did not end within %d seconds of its cancellation; it "
                "is left behind.",
                self._owner,
                escape(task.get_name()),
                CANCEL_TIMEOUT,
            )


def check_coroutine(coroutine: object, owner: str) -> None:
    """Raise ``TypeError`` for what can't be spawned."""
    if not asyncio.iscoroutine(coroutine):
        raise TypeError(
            f"{owner}.spawn() expects a coroutine, got {quote(coroutine)}. "
            "Call the async function: self.spawn(self.ticker())."
        )


def name_of(coroutine: object) -> str:
    """Return the name of the function that a coroutine came from."""
    name: str = getattr(coroutine, "__name__", "spawn")
    return name
