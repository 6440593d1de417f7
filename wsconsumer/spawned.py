"""The tasks that a consumer spawned: they belong to its connection, and end with it."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from .cancellation import CANCEL_TIMEOUT
from .escaping import escape, quote
from .exceptions import InvalidState, TooManyTasks
from .log_thread import log
from .protocol import ConnectionState

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from .connection.connection import Connection
    from .limits import Limits

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


class Spawning:
    """The part of a session that runs tasks beside the hooks."""

    __slots__ = ("_spawned",)

    _spawned: SpawnedTasks | None

    if TYPE_CHECKING:
        connection: Connection
        _limits: Limits

        def _contain(
            self, hook: str, error: BaseException, task: int | None = None
        ) -> Coroutine[Any, Any, bool]: ...

    def spawn(self, coroutine: Coroutine[Any, Any, Any]) -> asyncio.Task[None]:
        """Start a task that ends with the connection."""
        owner = self.connection.owner
        check_coroutine(coroutine, owner)
        try:
            self._check_spawn(owner)
        except (InvalidState, TooManyTasks):
            coroutine.close()
            raise
        if self._spawned is None:
            self._spawned = SpawnedTasks(owner)
        return self._spawned.start(self._guard(coroutine), coroutine)

    def _check_spawn(self, owner: str) -> None:
        self.connection.check_loop("spawn()")
        if self.connection.state is ConnectionState.CLOSED:
            raise InvalidState(f"{owner}.spawn() comes too late: the connection is CLOSED.")
        if self._spawned is not None and len(self._spawned) >= self._limits.max_tasks:
            raise TooManyTasks(
                f"{owner}.spawn() is one too many: max_tasks allows {self._limits.max_tasks} at a "
                "time. Await some of them, or set max_tasks on the class."
            )

    async def _guard(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        task = id(asyncio.current_task())
        try:
            await coroutine
        except BaseException as error:
            if not await self._contain(name_of(coroutine), error, task):
                raise
