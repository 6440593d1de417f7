"""
What groups bring to a ``MessageConsumer``: messages in its codec, and events for its handlers.

An ``Event`` is a kind of broadcast of its own, which is for no client. ``MessageMember`` stands for
a connection that handles events, or whose client has another codec than the JSON that travels.
"""

from __future__ import annotations

import asyncio
from functools import cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

import msgspec

from ..connection.outbox import Outbox
from ..groups.envelope import (
    JSON,
    STRUCT,
    Kind,
    add_kind,
    log_malformed,
    named,
    split_named,
    to_json,
)
from ..groups.framed import Framed, FramedMember
from ..groups.member import Member, begin_hearing
from ..protocol import ConnectionState
from .types import Event, known, tag

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection

    from ..connection.connection import Connection
    from ..groups.base import Position
    from ..groups.envelope import Broadcast
    from ..groups.member import Listener
    from ..limits import Limits
    from ..protocol import Event as AsgiEvent
    from .codecs import Codec

R = TypeVar("R")


def _event(payload: bytes) -> AsgiEvent:
    name, content = split_named(payload)
    return {"type": name, "json": content}


EVENT: Final = Kind(
    code=0x41,
    fits=lambda data: isinstance(data, Event),
    encode=lambda event: named(tag(type(event)), to_json(event)),
    event=_event,
    read=lambda payload, event: event["json"],
    for_clients=False,
)
add_kind(EVENT)


class Heard(NamedTuple):
    """A broadcast for ``group_message()``: a message is an instance of its class."""

    broadcast: Broadcast

    @property
    def group(self) -> str:
        """The group that it came from."""
        return self.broadcast.group

    @property
    def kind(self) -> Kind:
        """What it is."""
        return self.broadcast.kind

    @property
    def position(self) -> Position | None:
        """Where it is in the history of a group that keeps."""
        return self.broadcast.position

    @property
    def data(self) -> Any:
        """What was broadcast; raises ``ValueError`` if it can't be read."""
        return _read(self.broadcast)


def _read(broadcast: Broadcast) -> Any:
    """Return what was broadcast, a message as an instance of its class if that is known here."""
    if broadcast.kind is STRUCT:
        name, content = split_named(broadcast.payload)
        kind = known.get(name)
        if kind is not None:
            return msgspec.json.decode(content, type=kind)
    return broadcast.data


class Recoded:
    """A broadcast as the clients of another codec get it."""

    def __init__(self, event: AsgiEvent, broadcast: Broadcast) -> None:
        self.event = event
        self.group = broadcast.group
        self.size = broadcast.size
        self.position = broadcast.position
        self.sender_id = broadcast.sender_id
        self.kind = broadcast.kind
        self._framed: Any = None

    def framed(self, frame: Callable[[Any], R]) -> R:
        """As ``Broadcast.framed``."""
        if self._framed is None:
            self._framed = frame(self)
        framed: R = self._framed
        return framed


@cache
def recoder(codec: Codec) -> Callable[[Broadcast], Recoded | Broadcast | None]:
    """Return the function that encodes a broadcast anew; text and bytes stay what they are."""

    def recode(broadcast: Broadcast) -> Recoded | Broadcast | None:
        if broadcast.kind not in (JSON, STRUCT):
            return broadcast
        try:
            event = codec.event(_read(broadcast))
        except (ValueError, OverflowError, RecursionError) as error:
            log_malformed(broadcast.group, error)
            return None
        return Recoded(event, broadcast)

    return recode


class MessageMember(Member):
    """
    A member whose client has a codec of its own, or whose consumer handles events.

    ``types`` are those of the events that ``on_event`` takes, one after the other. They wait in an
    outbox of their own; if there is a ``listener``, which takes everything, in the one for that.
    """

    __slots__ = ("_are_events_waited_for", "_events", "_on_event", "_recode", "_types")

    def __init__(
        self,
        connection: Connection,
        limits: Limits,
        listener: Listener | None,
        *,
        types: Collection[str],
        on_event: Listener,
        codec: Codec,
    ) -> None:
        self._types = types
        self._on_event = on_event
        self._recode = None if codec.name == "json" else recoder(codec)
        self._are_events_waited_for = True
        self._events = Outbox(
            connection.owner,
            self._hear_event,
            limits,
            on_full=self._on_full,
            on_drop=self._on_drop,
            on_error=self._on_error,
            on_idle=self._on_events_idle,
        )
        super().__init__(connection, limits, listener)
        if listener is None:
            self._heard = self._events

    def handles(self, broadcast: Broadcast) -> bool:
        """Whether it is an event that the consumer has a handler for."""
        if broadcast.kind is EVENT:
            return broadcast.event["type"] in self._types
        return super().handles(broadcast)

    def follow(self, state: ConnectionState) -> None:
        """Let events wait until the connection is accepted, as broadcasts do."""
        super().follow(state)
        if state is ConnectionState.CONNECTING:
            self._events.hold()
        elif state is ConnectionState.OPEN:
            self._events.release()

    def _deliver_now(self, message: Any) -> bool:
        if message.kind is EVENT:
            return self._put_event(message)
        recoded = message if self._recode is None else message.recoded(self._recode)
        return recoded is not None and super()._deliver_now(recoded)

    def _queue(self, message: Any) -> bool:
        if self._listener is not None:
            return super()._queue(message)
        if message.kind is EVENT:
            return self._put_event(message)
        recoded = message if self._recode is None else message.recoded(self._recode)
        return recoded is not None and super()._queue(recoded)

    def hand_over(self, message: Any) -> None:
        """Take what it missed: an event for its handlers, or anything else in its codec."""
        if self._listener is not None:
            super().hand_over(message)
        elif message.kind is EVENT:
            self._events.put_uncounted(message, message.group)
        else:
            recoded = message if self._recode is None else message.recoded(self._recode)
            if recoded is not None:
                super().hand_over(recoded)

    def _put_event(self, broadcast: Broadcast) -> bool:
        events = self._events
        if self._are_events_waited_for and not events.has_room(broadcast.size):
            return True
        events.put(broadcast, broadcast.size, broadcast.group)
        return False

    def _hear_event(self, broadcast: Broadcast) -> Awaitable[None]:
        self._hearing = begin_hearing(self, broadcast.group)
        return self._on_event(broadcast)

    def _on_events_idle(self) -> None:
        self._are_events_waited_for = True

    async def wait_for_room(self, deadline: float) -> None:
        """Wait until something was sent or handled, or until a time of the loop's clock."""
        seconds = deadline - asyncio.get_running_loop().time()
        if seconds > 0:
            progress = {self._outbox.progress(), self._events.progress()}
            await asyncio.wait(progress, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        else:
            self._is_waited_for = self._are_events_waited_for = False

    async def forget(self, group: str) -> None:
        """Drop what waits of a group; return when no handler of it runs, but ours."""
        self._events.drop_group(group)
        await super().forget(group)

    async def stop(self) -> None:
        """End with the connection, and cancel a handler that runs."""
        error = self.connection.closed_error()
        if self.connection.accepted:
            self._events.clear(error)
        await self._events.stop(error)
        await super().stop()


class FramedMessageMember(MessageMember, FramedMember):
    """
    The same for a client that speaks our subprotocol: in its codec first, then framed.

    The client counts an event when its handler is about to be called. Whoever was sent away by one
    would otherwise get it again whenever it comes back.
    """

    __slots__ = ()

    def hand_over(self, message: Any) -> None:
        """Take what it missed; an event is counted too."""
        if message.kind is not EVENT or self._listener is not None:
            super().hand_over(message)
            return
        self.count(message)
        if not self.is_own(message):
            super().hand_over(message)

    def _put_event(self, broadcast: Broadcast) -> bool:
        is_own = self.is_own(broadcast)
        if not is_own and super()._put_event(broadcast):
            return True
        self.count(broadcast)
        return False

    # What says where it is has its frame already.

    def _deliver_now(self, message: Any) -> bool:
        if isinstance(message, Framed):
            return Member._deliver_now(self, message)  # noqa: SLF001  # past those between
        return super()._deliver_now(message)

    def _queue(self, message: Any) -> bool:
        if isinstance(message, Framed):
            return Member._queue(self, message)  # noqa: SLF001  # as above
        return super()._queue(message)
