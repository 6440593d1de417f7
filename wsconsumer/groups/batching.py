"""
Publishing from an event loop to an engine: in order, many at once, and bounded in time.

What is published while a batch is on its way goes together in the next one, so a busy process needs
one round trip for many broadcasts. A ``Batcher`` waits for the answer to a batch before it sends
the next; a ``Pipeline`` does not when the engine is far. Nobody waits longer than the timeout,
counted from when it was published; if a batch can't be sent, everything that waits fails as well,
since it would only wait for the same.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import asynccontextmanager
from contextvars import Context
from typing import TYPE_CHECKING, Any, Final, Generic, NamedTuple, TypeVar

from ..escaping import quote
from ..exceptions import BackendError
from ..loops import start_task

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
    from contextlib import AbstractAsyncContextManager

T = TypeVar("T")

GATHER: Final = 0.002
"""
Seconds that a pipeline waits for an answer before it sends the next batch. An engine nearby answers
within this, and what gathers meanwhile goes in one batch, which is cheaper than many.
"""


class Waiting(NamedTuple, Generic[T]):
    """Something that waits to be published, and a future for when the engine has taken it."""

    item: T
    size: int
    deadline: float
    done: asyncio.Future[Any]

    def succeed(self, answer: Any = None) -> None:
        """The engine has taken it."""
        if not self.done.done():  # its publisher may have been cancelled
            self.done.set_result(answer)

    def fail(self, error: Exception) -> None:
        """The engine has not taken it."""
        if not self.done.done():
            self.done.set_exception(error)


class Batcher(Generic[T]):
    """
    Hands batches to ``send``, one after the other; its task exists while something waits.

    A batch is full above ``max_bytes``. ``send`` raises if a batch failed; it may fail single items
    of it before it returns. ``timeout`` is in seconds.
    """

    def __init__(
        self,
        send: Callable[[Sequence[Waiting[T]]], Awaitable[None]],
        *,
        max_bytes: int,
        timeout: float,
    ) -> None:
        self._send = send
        self._max_bytes = max_bytes
        self._timeout = timeout
        self._waiting: deque[Waiting[T]] = deque()
        self._task: asyncio.Task[None] | None = None
        self._is_closed = False

    async def publish(self, item: T, size: int) -> Any:
        """
        Return what the engine answered when it has taken an item of so many bytes; raise what
        prevented it.
        """
        if self._is_closed:
            raise ConnectionError("the backend is closed")
        loop = asyncio.get_running_loop()
        waiting = Waiting(item, size, loop.time() + self._timeout, loop.create_future())
        self._waiting.append(waiting)
        if self._task is None or self._task.done():
            # It belongs to no connection, so it has the context of none.
            self._task = start_task(self._send_all(), Context())
        return await waiting.done

    async def finish(self) -> None:
        """Take nothing any more, and return when everything that waits was sent."""
        self._is_closed = True
        if self._task is not None:
            await asyncio.wait([self._task])

    async def aclose(self) -> None:
        """Fail everything that waits, and take nothing any more."""
        self._is_closed = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _send_all(self) -> None:
        batch: list[Waiting[T]] = []
        reason: Exception = ConnectionError("the backend was closed")
        try:
            while batch := self._next_batch():
                async with answering_until(batch[0].deadline):
                    await self._send(batch)
                await self._sent(batch)
        except Exception as error:  # noqa: BLE001  # whatever it is, the publishers are told
            reason = error
        finally:
            for waiting in (*batch, *self._waiting):
                waiting.fail(reason)
            self._waiting.clear()

    async def _sent(self, batch: Sequence[Waiting[T]]) -> None:
        """Go on after a batch that was sent."""
        for waiting in batch:
            waiting.succeed()

    def _next_batch(self) -> list[Waiting[T]]:
        batch: list[Waiting[T]] = []
        size = 0
        while self._waiting and size < self._max_bytes:
            waiting = self._waiting.popleft()
            if not waiting.done.done():
                batch.append(waiting)
                size += waiting.size
        return batch


class Pipeline(Batcher[T]):
    """
    Sends the next batch before the last is answered, if that takes long.

    Here ``send`` returns when a batch was written. Whoever reads the answers settles each item, by
    its deadline at the latest.
    """

    async def _sent(self, batch: Sequence[Waiting[T]]) -> None:
        await asyncio.wait({batch[-1].done}, timeout=GATHER)


@asynccontextmanager
async def answering(seconds: float | None) -> AsyncIterator[asyncio.Timeout]:
    """Limit a block in time; running out of it raises a ``TimeoutError`` that says so."""
    try:
        async with asyncio.timeout(seconds) as limit:
            yield limit
    except TimeoutError as error:
        within = "in time" if seconds is None else f"within {seconds:.1f} seconds"
        raise TimeoutError(f"no answer {within}") from error


def answering_until(deadline: float) -> AbstractAsyncContextManager[asyncio.Timeout]:
    """Do the same until a time of the event loop's clock."""
    return answering(max(0, deadline - asyncio.get_running_loop().time()))


def not_accepted(engine: str, group: str, error: BaseException) -> BackendError:
    """Return the error for a broadcast that an engine did not take."""
    reason = f"{type(error).__name__}: {str(error).rstrip('.')}"
    return BackendError(
        f"{engine} did not accept a broadcast to {quote(group)}: {reason}. It may not have reached "
        "anybody. Broadcast again if it still matters; counters['engine_lost'] and the log say "
        "whether the engine is away."
    )


def not_counted(engine: str, error: BaseException | None, advice: str = "") -> BackendError:
    """Return the error for leases and counts that an engine did not take or tell."""
    reason = f"{type(error).__name__}: {str(error).rstrip('.')}"
    return BackendError(
        f"{engine} does not count the connections of all processes: {reason}.{advice}"
    )
