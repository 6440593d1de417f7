"""
A connection as a group sees it: ``deliver()`` takes each broadcast, never waits and never raises.

A server that takes a message at once needs nothing else. If it makes us wait, that one message
stays pending, and later ones go to the outbox; before the connection is accepted all of them do.
Read ``Member.follow`` first: how ``deliver`` changes with the connection's state.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import weakref
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, ClassVar, Final, NamedTuple, Protocol, TypeAlias, cast

from ..connection.monitor import monitor
from ..connection.outbox import Outbox
from ..counters import counters
from ..log_thread import log
from ..loops import start_task
from ..protocol import CloseCode, ConnectionState
from ..servers import completes_in_place
from ..waiting import frames_of_coroutine, frames_of_hook
from .envelope import RESET

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine
    from contextvars import Context
    from types import FrameType

    from ..connection.connection import Connection
    from ..limits import Limits
    from ..metrics import Measure
    from ..protocol import Event
    from .base import Position
    from .envelope import Broadcast

logger = logging.getLogger("wsconsumer.groups")

Listener: TypeAlias = "Callable[[Any], Awaitable[None]]"
"""What takes broadcasts instead of a client, or beside it."""

_OPEN: Final = ConnectionState.OPEN
_CONNECTING: Final = ConnectionState.CONNECTING


class Message(Protocol):
    """A broadcast to a group: the ASGI event that all members share, and its size in bytes."""

    @property
    def event(self) -> Event: ...

    @property
    def group(self) -> str: ...

    @property
    def size(self) -> int: ...


class Member:
    """
    A connection that has joined groups; created at its first join.

    ``listener``, if any, takes the broadcasts instead of the client, one after the other.
    ``groups`` are the names of those it is in, ``sender_id`` names it in all processes.
    ``deliver`` takes a broadcast; it returns true, and has not taken it, if there is no room and
    waiting may help.
    """

    __slots__ = (
        "__weakref__",
        "_begin",
        "_farewell",
        "_heard",
        "_hearing",
        "_is_direct",
        "_is_waited_for",
        "_limits",
        "_listener",
        "_measure",
        "_outbox",
        "_send",
        "_told",
        "connection",
        "deliver",
        "groups",
        "sender_id",
    )

    def __init__(
        self,
        connection: Connection,
        limits: Limits,
        listener: Listener | None = None,
    ) -> None:
        self.connection = connection
        self.groups: dict[str, None] = {}
        self.sender_id = b""
        self.deliver: Callable[[Any], bool] = _ignore
        self._told: set[str] = set()  # groups of which the client knows where it is
        self._is_waited_for = True
        self._hearing: Hearing | None = None
        self._measure: Measure | None = None
        self._farewell: asyncio.Task[None] | None = None
        self._send = connection.server_send
        self._begin = cast("Callable[[Event], Coroutine[Any, Any, None]]", self._send)
        self._limits = limits
        self._listener = listener
        self._is_direct = listener is None and completes_in_place(self._send)
        self._outbox = Outbox(
            connection.owner,
            self._send if listener is None else self._hear,
            limits,
            on_full=self._on_full,
            on_drop=self._on_drop,
            on_error=self._on_error,
            on_idle=self._on_idle,
        )
        self._heard = self._outbox  # where what waits for the listener is
        connection.attach(self)

    counts_its_own: ClassVar[bool] = False
    """Whether its client counts broadcasts of its own, which it does not get."""

    def handles(self, broadcast: Broadcast) -> bool:
        """Whether it takes what is not for clients."""
        return broadcast.kind is RESET and self._listener is not None

    def tell(self, group: str, position: Position, *, is_reload: bool, seconds: int = 0) -> None:
        """Tell a client of our subprotocol where it is in a group that keeps; others ignore it."""

    def hand_over(self, message: Any) -> None:
        """Take what it missed, whatever waits already: it is as much as the group keeps."""
        outbox = self._outbox
        if self.deliver is _ignore or not (outbox.is_held or outbox.is_busy):
            self.deliver(message)
        else:
            outbox.put_uncounted(self._item(message), message.group)
            self._go_behind()

    def identify(self) -> bytes:
        """Return the name that no other member has, in any process; made when it is needed."""
        self.sender_id = self.sender_id or secrets.token_bytes(12)
        return self.sender_id

    def measure(self, measure: Measure) -> None:
        """Count what is delivered from now on."""
        self._measure = measure
        self._deliver_by(self.deliver)

    def _deliver_by(self, deliver: Callable[[Any], bool]) -> None:
        measure = self._measure
        self.deliver = deliver if measure is None else measure.counting_delivery(deliver)

    @property
    def waiting_bytes(self) -> int:
        """How many bytes wait for a client that is slow."""
        return self._outbox.size

    def follow(self, state: ConnectionState) -> None:
        """Choose how broadcasts are delivered in this state of the connection."""
        if state is _CONNECTING:
            self._outbox.hold()
            self._deliver_by(self._queue)
        elif state is not _OPEN:
            self.deliver = _ignore
        else:
            if self._outbox.is_busy:
                self._go_behind()
            else:
                self._on_idle()
            self._outbox.release()

    def _on_idle(self) -> None:
        """Nothing waits (any more): deliver the next message directly."""
        self._is_waited_for = True
        if self.connection.state is not _OPEN:
            return
        self._deliver_by(self._deliver_now if self._is_direct else self._queue)
        self.connection.undivert()

    def _deliver_now(self, message: Message) -> bool:
        """Begin to send; most servers complete it at once, so it needs no task."""
        sending = self._begin(message.event)
        try:
            waits_for = sending.send(None)
        except StopIteration:
            return False
        except Exception as error:
            self._on_error(error)
        else:
            self._outbox.put_first(sending, waits_for, message.size)
            self._go_behind()
        return False

    def _queue(self, message: Message) -> bool:
        outbox = self._outbox
        if self._is_waited_for and not outbox.has_room(message.size):
            return True
        outbox.put(self._item(message), message.size, message.group)
        if outbox.is_busy and self.connection.state is _OPEN:
            self._go_behind()
        return False

    def _item(self, message: Message) -> Any:
        """Return what waits in the outbox for a broadcast."""
        if self._listener is not None:
            return message
        # Only a server's own send may see the event that all members share.
        return message.event if self._is_direct else {**message.event}

    def _hear(self, message: Message) -> Awaitable[None]:
        """Call the listener in the outbox's task, in which ``hearing_member()`` finds us then."""
        assert self._listener is not None  # noqa: S101  # it is why this is the outbox's sink
        self._hearing = begin_hearing(self, message.group)
        return self._listener(message)

    async def wait_for_room(self, deadline: float) -> None:
        """
        Wait until something was sent, or until a time of the loop's clock.

        After the deadline we are not waited for again until nothing waits: ``deliver()`` takes
        everything, and the outbox's policy decides.
        """
        seconds = deadline - asyncio.get_running_loop().time()
        if seconds > 0:
            await asyncio.wait({self._outbox.progress()}, timeout=seconds)
        else:
            self._is_waited_for = False

    async def forget(self, group: str) -> None:
        """Drop what waits of a group; return when no ``group_message()`` of it runs, but ours."""
        self._outbox.drop_group(group)
        hearing = self._hearing
        if hearing is None or hearing.group != group or _hearing.get() is hearing:
            return
        while self.is_in(hearing):
            await asyncio.wait({self._heard.progress()})

    def is_in(self, hearing: Hearing | None) -> bool:
        """Whether this call of the listener still runs."""
        return (
            hearing is not None
            and hearing is self._hearing
            and self._heard.is_sending(hearing.group)
        )

    def _go_behind(self) -> None:
        """Queue later messages behind those that wait, the consumer's own too."""
        self._deliver_by(self._queue)
        if self._listener is None:
            self.connection.divert(self._send_behind)

    async def _send_behind(self, event: Event) -> None:
        await self._outbox.put_and_wait(event)

    async def flush(self) -> None:
        """Return when everything that waits now is sent; a listener can't wait for itself."""
        if self._listener is None and self._outbox.is_busy:
            await self._outbox.put_and_wait(None)

    def look_after(self, now: float) -> None:
        """Give up a client that takes nothing, and name a hook that is slow; ``now`` in seconds."""
        if self._listener is None and self._outbox.is_stuck(now):
            self._too_slow("it has not taken a message for too long")
        if self._hearing is not None and self.is_in(self._hearing):
            monitor().slow_hooks.look_at(self, self._hearing, now)

    @property
    def slow_hook_seconds(self) -> float | None:
        """After how many seconds a ``group_message()`` or a handler of events is slow."""
        return self._limits.slow_hook_seconds

    def hook_frames(self) -> list[FrameType]:
        """Return where it waits, outermost first."""
        return frames_of_hook(frames_of_coroutine(self._heard.coroutine()))

    def hook_context(self) -> Context:
        """Return the context of the connection, for what others find out about its hooks."""
        return self._outbox.context()

    def _on_full(self) -> None:
        self._too_slow("its outbox is full")

    def _on_drop(self, group: str | None) -> None:
        """A broadcast was dropped, since there was no room."""

    def _too_slow(self, why: str) -> None:
        connection = self.connection
        if connection.state is _OPEN:
            counters["outbox_closed"] += 1
            text = "%s: closing with 1013, the client is slow: %s."
            context, code = self._outbox.context(), CloseCode.TRY_AGAIN_LATER.value
            about, extra = (connection.owner, why), {"code": code}
            context.run(log, logger, logging.WARNING, text, *about, extra=extra)
            connection.begin_close(code, "too slow")
            self._outbox.clear(connection.closed_error())
            self._farewell = start_task(connection.finish_close(), self._outbox.context())

    def _on_error(self, error: Exception) -> None:
        connection = self.connection
        self._outbox.context().run(connection.log_not_sent, "a broadcast", error)
        connection.lose()
        self._outbox.clear(connection.closed_error())

    async def stop(self) -> None:
        """End with the connection."""
        monitor().slow_hooks.forget(self)
        if self._farewell is not None:
            self._farewell.cancel()
            await asyncio.wait([self._farewell])
        error = self.connection.closed_error()
        if self.connection.accepted:
            self._outbox.clear(error)
        await self._outbox.stop(error)


def _ignore(message: Message) -> bool:
    """Ignore a broadcast: the connection is closing or closed."""
    return False


class Hearing(NamedTuple):
    """
    One call of a member's listener; a later call is another object.

    The reference is weak, since the outbox, which belongs to the member, keeps it in its context.
    """

    member: weakref.ref[Member]
    group: str


_hearing: ContextVar[Hearing | None] = ContextVar("wsconsumer_hearing", default=None)


def begin_hearing(member: Member, group: str) -> Hearing:
    """Note that this task calls a listener of a member from now on."""
    hearing = Hearing(weakref.ref(member), group)
    _hearing.set(hearing)
    return hearing


def hearing_member() -> Member | None:
    """Return the member whose ``group_message()`` we are in, or in a task or thread of it."""
    hearing = _hearing.get()
    member = None if hearing is None else hearing.member()
    return member if member is not None and member.is_in(hearing) else None
