"""
What waits for one slow connection: a queue bounded in bytes, and the task that drains it.

The task exists only while something waits: while the server takes messages at once, a broadcast
costs nothing of this. See ``Member.deliver`` for what is put in.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from contextvars import copy_context
from types import coroutine
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

from ..cancellation import CANCEL_TIMEOUT
from ..counters import counters
from ..log_thread import log
from ..loops import start_task

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Generator
    from contextvars import Context

    from ..limits import Limits

logger = logging.getLogger("wsconsumer.groups")

OVERHEAD: Final = 100
"""Bytes that a waiting message costs besides its payload."""


class Entry(NamedTuple):
    """
    One thing that waits: its bytes, who waits for it to be sent, if anybody does, and the group
    that it was broadcast to, if any.
    """

    item: Any
    size: int
    waiter: asyncio.Future[None] | None
    group: str | None = None


class Outbox:
    """
    A bounded queue before ``sink``, which is awaited with one item after the other, in the context
    in which the outbox was made.

    ``owner`` is the name that the log speaks of. ``on_full`` is called where the policy is to
    close, ``on_drop``, with the group, where it is to drop, ``on_error`` when the sink failed for a
    message that nobody waits for, ``on_idle`` when nothing waits any more.
    """

    __slots__ = (
        "_context",
        "_entries",
        "_limit",
        "_on_drop",
        "_on_error",
        "_on_full",
        "_on_idle",
        "_owner",
        "_policy",
        "_progress",
        "_sending",
        "_sink",
        "_stopped",
        "_stuck_since",
        "_task",
        "_timeout",
        "dropped",
        "is_held",
        "size",
    )

    def __init__(
        self,
        owner: str,
        sink: Callable[[Any], Awaitable[None]],
        limits: Limits,
        *,
        on_full: Callable[[], None],
        on_drop: Callable[[str | None], None],
        on_error: Callable[[Exception], None],
        on_idle: Callable[[], None],
    ) -> None:
        self.size = 0
        self.dropped = 0
        self.is_held = False
        self._owner = owner
        self._sink = sink
        self._limit = limits.outbox_limit
        self._policy = limits.outbox_policy
        self._timeout = limits.send_timeout
        self._on_full = on_full
        self._on_drop = on_drop
        self._on_error = on_error
        self._on_idle = on_idle
        self._entries: deque[Entry] = deque()
        self._task: asyncio.Task[None] | None = None
        self._context = copy_context()
        self._stuck_since: float | None = None
        self._sending: str | None = None
        self._progress: asyncio.Future[None] | None = None
        self._stopped: Exception | None = None

    @property
    def is_busy(self) -> bool:
        """Whether something waits or is being sent."""
        return self._task is not None or bool(self._entries)

    def has_room(self, size: int) -> bool:
        """Whether a message of so many bytes can wait without the policy's doing anything."""
        return self.size + size + OVERHEAD <= self._limit or not self.is_busy

    def put(self, item: Any, size: int, group: str | None = None) -> None:
        """Let a message wait, if the policy finds room for it."""
        if self.has_room(size) or self._make_room(size + OVERHEAD, group):
            self._append(Entry(item, size + OVERHEAD, None, group))

    def put_uncounted(self, item: Any, group: str) -> None:
        """Let a message wait, whatever the limit; it leaves all the room to others."""
        self._append(Entry(item, 0, None, group))

    def drop_uncounted(self, group: str) -> None:
        """Drop what waits uncounted of a group, since what is put next makes it useless."""
        kept = (entry for entry in self._entries if entry.size or entry.group != group)
        self._entries = deque(kept)

    def put_first(self, sending: Coroutine[Any, Any, None], waits_for: Any, size: int) -> None:
        """Take over a send that was begun by hand, and is not done; nothing else waits yet."""
        self.size += size + OVERHEAD
        self._start(finish(sending, waits_for), size + OVERHEAD)

    def put_and_wait(self, item: Any) -> asyncio.Future[None]:
        """
        Let something wait for its turn, whatever the limit; return a future for when it was sent.

        ``None`` is not sent; it only waits for everything before it.
        """
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._append(Entry(item, 0, waiter))
        return waiter

    def hold(self) -> None:
        """Let everything wait until ``release()``."""
        self.is_held = True

    def drop_group(self, group: str) -> None:
        """Drop what waits of a group, since the connection has left it."""
        kept = [entry for entry in self._entries if entry.group != group]
        self.size -= sum(entry.size for entry in self._entries if entry.group == group)
        self._entries = deque(kept)
        self._note_progress()

    def is_sending(self, group: str) -> bool:
        """Whether a message of this group is being sent, after it had to wait."""
        return self._sending == group

    def progress(self) -> asyncio.Future[None]:
        """Return a future for when something was sent or dropped; wait for it, don't cancel it."""
        if self._progress is None:
            self._progress = asyncio.get_running_loop().create_future()
        return self._progress

    def _note_progress(self) -> None:
        if self._progress is not None:
            self._progress.set_result(None)
            self._progress = None

    def coroutine(self) -> object:
        """Return the coroutine that sends, if one does."""
        return None if self._task is None else self._task.get_coro()

    def context(self) -> Context:
        """Return a copy of the connection's context, to run in what a publisher has caused."""
        return self._context.copy()

    def release(self) -> None:
        """Begin to send what was held."""
        self.is_held = False
        if self._entries and self._task is None:
            self._start()

    def clear(self, error: Exception) -> None:
        """Drop what waits, since the connection closes; those who wait for it get ``error``."""
        lost = 0
        for entry in self._entries:
            self.size -= entry.size
            lost += entry.waiter is None
            _fail(entry.waiter, error)
        self._entries.clear()
        self._note_progress()
        if lost:
            counters["outbox_dropped"] += lost
            self._log(logging.INFO, "%s is closing. Broadcasts not sent: %d.", lost)

    async def stop(self, error: Exception) -> None:
        """Cancel what is being sent, too. Nothing may be put in afterwards."""
        self._stopped = error
        task = self._task
        if task is not None:
            task.cancel()
            await asyncio.wait([task], timeout=CANCEL_TIMEOUT)
        # One that was cancelled before it began has not even forgotten itself.
        if task is not None and not task.done():
            log(
                logger,
                logging.WARNING,
                "%s: group_message() did not end within %d seconds of its cancellation; it is left "
                "behind.",
                self._owner,
                CANCEL_TIMEOUT,
            )
        if self.dropped:
            self._log(logging.INFO, "%s: broadcasts dropped in all: %d.", self.dropped)
        # They refer to the member, which refers to us.
        self._on_full = self._on_idle = _nothing
        self._on_error = self._on_drop = _nothing
        self._sink = cast("Any", _nothing)

    def is_stuck(self, now: float) -> bool:
        """
        Return whether one message has been pending for longer than ``send_timeout``.

        To be asked now and then; ``now`` in seconds.
        """
        if self._task is None:
            return False
        if self._stuck_since is None:
            self._stuck_since = now
        return now - self._stuck_since > self._timeout

    def _make_room(self, size: int, group: str | None) -> bool:
        if self._policy == "close" and not self.is_held:
            self._on_full()
            return False
        if self._policy == "drop_oldest" and size <= self._limit:
            while self.size + size > self._limit and self._drop_oldest():
                pass
        if self.size + size <= self._limit:
            return True
        self._drop(group)
        return False

    def _drop(self, group: str | None) -> None:
        counters["outbox_dropped"] += 1
        self.dropped += 1
        if self.dropped == 1:
            self._log(
                logging.WARNING,
                "%s: broadcasts to a slow client are dropped. At the end, the log says how many.",
            )
        self._on_drop(group)

    def _log(self, level: int, text: str, *arguments: object) -> None:
        self.context().run(log, logger, level, text, self._owner, *arguments)

    def _drop_oldest(self) -> bool:
        for index, entry in enumerate(self._entries):
            if entry.waiter is None and entry.size:
                self.size -= entry.size
                del self._entries[index]
                self._drop(entry.group)
                return True
        return False

    def _append(self, entry: Entry) -> None:
        self._entries.append(entry)
        self.size += entry.size
        if self._task is None and not self.is_held:
            self._start()

    def _start(self, first: Awaitable[None] | None = None, size: int = 0) -> None:
        self._stuck_since = None
        self._task = start_task(self._drain(first, size), self._context)

    async def _drain(self, first: Awaitable[None] | None, size: int) -> None:
        try:
            if first is not None:
                await self._send(first, size, None)
            while self._entries:
                item, size, waiter, self._sending = self._entries.popleft()
                if waiter is None or not waiter.done():
                    await self._send(None if item is None else self._sink(item), size, waiter)
        finally:
            self._task = None
        self._on_idle()

    async def _send(
        self,
        sending: Awaitable[None] | None,
        size: int,
        waiter: asyncio.Future[None] | None,
    ) -> None:
        try:
            if sending is not None:
                await sending
        except Exception as error:
            if waiter is None:
                self._on_error(error)
            _fail(waiter, error)
        except asyncio.CancelledError:
            _fail(waiter, self._stopped or asyncio.CancelledError())
            raise
        else:
            if waiter is not None and not waiter.done():
                waiter.set_result(None)
        finally:
            self.size -= size
            self._sending = None
            self._stuck_since = None
            self._note_progress()


def _nothing(*_: object) -> None:
    """Do nothing: the connection has ended."""


def _fail(waiter: asyncio.Future[None] | None, error: BaseException) -> None:
    if waiter is not None and not waiter.done():
        waiter.set_exception(error)


@coroutine
def finish(sending: Coroutine[Any, Any, None], waits_for: Any) -> Generator[Any, Any, None]:
    """
    Await the rest of a coroutine that was begun by hand with ``send(None)``.

    ``waits_for`` is what it yielded then: to the task that awaits us it looks as if it did so now.
    """
    while True:
        thrown: BaseException | None = None
        try:
            result = yield waits_for
        except BaseException as error:
            thrown = error
        try:
            waits_for = sending.send(result) if thrown is None else sending.throw(thrown)
        except StopIteration:
            return
