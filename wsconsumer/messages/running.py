"""
One handler that runs as a task: a stream, or one that is ``concurrent``.

Its ``ref`` is answered exactly once, whoever ends it, so a client's ``cancel`` interrupts only the
handler's own code, and never a reply that is on its way.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Final, TypeVar

from .errors import CANCELLED, CODES, MessageError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine

T = TypeVar("T")

_END: Any = object()

REPLIES_PER_TURN: Final = 16
"""Replies of a stream after which others get a turn, if neither handler nor server ever waits."""


class Running:
    """A handler that the client can cancel; make it before its task begins."""

    __slots__ = ("_interrupted", "_is_cancelled", "_task")

    def __init__(self) -> None:
        self._is_cancelled = False
        self._task: asyncio.Task[Any] | None = None  # while the handler's own code runs
        self._interrupted: asyncio.Task[Any] | None = None

    def cancel(self) -> None:
        """End it, since the client wants nothing more of it."""
        if self._task is not None and not self._is_cancelled:
            self._interrupted = self._task
            self._task.cancel()
        self._is_cancelled = True

    async def reply(self, handling: Coroutine[Any, Any, T]) -> T:
        """Return what a handler returns; raise ``MessageError`` if it was cancelled."""
        if self._is_cancelled:
            handling.close()
        else:
            try:
                return await self._interruptibly(handling)
            except asyncio.CancelledError:
                if not self._is_clients():
                    raise
        raise MessageError(CANCELLED, CODES[CANCELLED])

    async def stream(
        self, replies: AsyncGenerator[T, None], send: Callable[[T], Awaitable[None]]
    ) -> None:
        """Send what a handler yields, each when the one before is sent, to the end or a cancel."""
        count = 0
        async with aclosing(replies):
            while not self._is_cancelled:
                try:
                    reply = await self._interruptibly(anext(replies, _END))
                except asyncio.CancelledError:
                    if not self._is_clients():
                        raise
                    return
                if reply is _END or self._is_cancelled:
                    return
                await send(reply)
                count += 1
                if count % REPLIES_PER_TURN == 0:
                    await asyncio.sleep(0)

    async def _interruptibly(self, handling: Awaitable[T]) -> T:
        self._task = asyncio.current_task()
        try:
            return await handling
        finally:
            self._task = None
            if self._interrupted is not None:  # the request to end is carried out, or swallowed
                self._interrupted.uncancel()
                self._interrupted = None

    def _is_clients(self) -> bool:
        """Whether it was the client's ``cancel``, and nobody else's, that interrupted."""
        task = asyncio.current_task()
        return self._is_cancelled and task is not None and not task.cancelling()
