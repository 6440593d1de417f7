"""
A connection as a group sees it: ``deliver()`` takes each broadcast, never waits and never raises.

A server that takes a message at once is done with it at once. One that lets us wait is left with
that one message, and what comes meanwhile goes to the outbox. Before the connection is accepted all
of it does. Read ``Member.follow`` first: how ``deliver`` changes with the connection's state.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, Final, Protocol, cast

from ..connection.outbox import Outbox
from ..counters import counters
from ..protocol import CloseCode, ConnectionState
from ..servers import completes_in_place

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from ..connection.connection import Connection
    from ..limits import Limits
    from ..protocol import Event

logger = logging.getLogger("wsconsumer.groups")

_OPEN: Final = ConnectionState.OPEN
_CONNECTING: Final = ConnectionState.CONNECTING


class Message(Protocol):
    """What is broadcast: the ASGI event that all members share, and its size in bytes."""

    @property
    def event(self) -> Event: ...

    @property
    def size(self) -> int: ...


class Member:
    """
    A connection that has joined groups; made at its first join.

    ``listener`` takes the broadcasts in the client's stead, one after the other, if there is one.
    ``groups`` are the names of those it is in, ``token`` tells it from all others in any process.
    """

    __slots__ = (
        "__weakref__",
        "_begin",
        "_farewell",
        "_is_direct",
        "_listener",
        "_outbox",
        "_send",
        "connection",
        "deliver",
        "groups",
        "token",
    )

    def __init__(
        self,
        connection: Connection,
        limits: Limits,
        listener: Callable[[Any], Awaitable[None]] | None = None,
    ) -> None:
        self.connection = connection
        self.groups: dict[str, None] = {}
        self.token = b""
        self.deliver: Callable[[Any], None] = _ignore
        self._farewell: asyncio.Task[None] | None = None
        self._send = connection.server_send
        self._begin = cast("Callable[[Event], Coroutine[Any, Any, None]]", self._send)
        self._listener = listener
        self._is_direct = listener is None and completes_in_place(self._send)
        self._outbox = Outbox(
            connection.owner,
            self._send if listener is None else listener,
            limits,
            on_full=self._on_full,
            on_error=self._on_error,
            on_idle=self._on_idle,
        )
        connection.attach(self)

    def follow(self, state: ConnectionState) -> None:
        """Let broadcasts take the way that the connection's state has for them."""
        if state is _CONNECTING:
            self._outbox.hold()
            self.deliver = self._queue
        elif state is not _OPEN:
            self.deliver = _ignore
        else:
            if self._outbox.is_busy:
                self._go_behind()
            else:
                self._on_idle()
            self._outbox.release()

    def _on_idle(self) -> None:
        """Nothing waits (any more): the next message goes the shortest way."""
        if self.connection.state is not _OPEN:
            return
        self.deliver = self._deliver_now if self._is_direct else self._queue
        self.connection.undivert()

    def _deliver_now(self, message: Message) -> None:
        """Begin to send; most servers are done with it at once, without a task of its own."""
        sending = self._begin(message.event)
        try:
            waits_for = sending.send(None)
        except StopIteration:
            return
        except Exception as error:
            self._on_error(error)
        else:
            self._outbox.put_first(sending, waits_for, message.size)
            self._go_behind()

    def _queue(self, message: Message) -> None:
        self._outbox.put(message if self._listener else message.event, message.size)
        if self._outbox.is_busy and self.connection.state is _OPEN:
            self._go_behind()

    def _go_behind(self) -> None:
        """Let what comes from now on go behind what waits, the consumer's own messages too."""
        self.deliver = self._queue
        if self._listener is None:
            self.connection.divert(self._send_behind)

    async def _send_behind(self, event: Event) -> None:
        await self._outbox.put_and_wait(event)

    async def flush(self) -> None:
        """Return when all is sent that waits now; a listener's own task can't wait for itself."""
        if self._listener is None and self._outbox.is_busy:
            await self._outbox.put_and_wait(None)

    def look_after(self, now: float) -> None:
        """Give up a client that has not taken a message for too long; ``now`` in seconds."""
        if self._listener is None and self._outbox.is_stuck(now):
            self._too_slow("it has not taken a message for too long")

    def _on_full(self) -> None:
        self._too_slow("its outbox is full")

    def _too_slow(self, why: str) -> None:
        connection = self.connection
        if connection.state is _OPEN:
            counters["outbox_closed"] += 1
            logger.warning("%s: closing with 1013, the client is slow: %s.", connection.owner, why)
            connection.begin_close(CloseCode.TRY_AGAIN_LATER.value, "too slow")
            self._outbox.clear(connection.closed_error())
            self._farewell = asyncio.create_task(connection.finish_close())

    def _on_error(self, error: Exception) -> None:
        connection = self.connection
        connection.log_not_sent("a broadcast", error)
        connection.lose()
        self._outbox.clear(connection.closed_error())

    async def stop(self) -> None:
        """End with the connection."""
        if self._farewell is not None:
            self._farewell.cancel()
            await asyncio.wait([self._farewell])
        error = self.connection.closed_error()
        if self.connection.accepted:
            self._outbox.clear(error)
        await self._outbox.stop(error)


def _ignore(message: Message) -> None:
    """Take a broadcast that the connection will not see: it is closing or closed."""
