"""
The thread in which a tested application's sync code and ORM run: one that uses the database
connections of the test itself, so that both see the same rows, in the same open transaction.

It is what Django's ``LiveServerThread`` does, for every engine. Where the test itself waits in
``async_to_sync``, as an async test of Django's ``TestCase`` does, its own thread is used instead.
"""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final, TypeVar

from asgiref.sync import ThreadSensitiveContext, sync_to_async
from django.db import connections

from ..threads import is_decided

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Iterator

    from django.db.backends.base.base import BaseDatabaseWrapper

R = TypeVar("R")

PATIENCE: Final = 2.0
"""
Seconds that the kit waits for anything: for an application before a test is told that it hangs, and
at a test's end for sync code that nobody awaits any more.
"""


@asynccontextmanager
async def shared_database() -> AsyncIterator[dict[str, BaseDatabaseWrapper]]:
    """
    Run thread-sensitive code inside this block with the database connections of this thread.

    What it yields are those, by alias; they are used in that code only.
    """
    if is_decided():
        held = await sync_to_async(hold_connections)()
        try:
            yield held
        finally:
            await sync_to_async(let_go)(held)
        return
    assistant = Assistant.take()
    try:
        with assistant.at_work():
            yield assistant.shared
    finally:
        try:
            await asyncio.wait([asyncio.wrap_future(assistant.mark())], timeout=PATIENCE)
        finally:
            assistant.give_back()


@contextmanager
def shared_database_for_fixture() -> Iterator[None]:
    """
    Do the same for all that a test awaits, from a fixture that is not async.

    Without it, ORM calls of a test under pytest-asyncio run in a thread with connections of its
    own, which does not see what is in the test's open transaction.
    """
    assistant = Assistant.take()
    try:
        with assistant.at_work():
            yield
    finally:
        wait([assistant.mark()], timeout=PATIENCE)
        assistant.give_back()


class Assistant:
    """
    A thread that works with the database connections of another one, the test's.

    A test has one at the most, however many websockets it opens at a time: their pieces of work
    must not meet in a connection.
    """

    _of_thread = threading.local()

    def __init__(self) -> None:
        self.executor = ThreadPoolExecutor(1, "wsconsumer-test")
        self._users = 0
        self.shared: dict[str, BaseDatabaseWrapper] = {}

    @classmethod
    def take(cls) -> Assistant:
        """Return the assistant of this thread, to be given back."""
        assistant: Assistant | None = getattr(cls._of_thread, "assistant", None)
        if assistant is None:
            assistant = cls._of_thread.assistant = cls()
            assistant._share()
        assistant._users += 1
        return assistant

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Run thread-sensitive code in the thread, as far as this context reaches."""
        context: Any = ThreadSensitiveContext(executor=self.executor)
        _at_once(context.__aenter__())
        try:
            yield
        finally:
            # Entered in another task, as by a fixture's first half, it has nothing to restore.
            with suppress(ValueError):
                _at_once(context.__aexit__(None, None, None))

    def mark(self) -> Future[None]:
        """Return a future that is done when all is that was given to the thread by now."""
        return self.executor.submit(_nothing)

    def give_back(self) -> None:
        """Let the thread end, unless another one of its users is left."""
        self._users -= 1
        if self._users:
            return
        del self._of_thread.assistant
        self.executor.shutdown(wait=False)
        for connection in self.shared.values():
            connection.dec_thread_sharing()
        let_go(self.shared)

    def _share(self) -> None:
        self.shared = _outside_of_the_loop(hold_connections)
        for connection in self.shared.values():
            connection.inc_thread_sharing()
        self.executor.submit(_use, self.shared)


def hold_connections() -> dict[str, BaseDatabaseWrapper]:
    """
    Keep this thread's connections open until ``let_go()``, and return them.

    The signals of a handshake make Django close old connections, for which it takes one with an
    open transaction. Its own test client turns that off, too.
    """
    held = {alias: connections[alias] for alias in connections}
    for connection in held.values():
        _held[connection] += 1
        connection.close_if_unusable_or_obsolete = _nothing  # type: ignore[method-assign]  # of this one alone
    return held


def let_go(held: dict[str, BaseDatabaseWrapper]) -> None:
    """Let Django close the connections again, unless somebody else holds them."""
    for connection in held.values():
        _held[connection] -= 1
        if not _held[connection]:
            del _held[connection], connection.close_if_unusable_or_obsolete


_held: Counter[BaseDatabaseWrapper] = Counter()


def _outside_of_the_loop(function: Callable[[], R]) -> R:
    """Call a function as if no event loop ran: with one Django hands out other connections."""
    loop = asyncio._get_running_loop()  # noqa: SLF001  # asyncio exports both
    asyncio._set_running_loop(None)  # noqa: SLF001  # documented for event loops
    try:
        return function()
    finally:
        asyncio._set_running_loop(loop)  # noqa: SLF001  # documented for event loops


def _use(shared: dict[str, BaseDatabaseWrapper]) -> None:
    for alias, connection in shared.items():
        connections[alias] = connection


def _nothing() -> None:
    pass


def _at_once(coroutine: Coroutine[Any, Any, Any]) -> None:
    """Run a coroutine that waits for nothing."""
    with suppress(StopIteration):
        coroutine.send(None)
