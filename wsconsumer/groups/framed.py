"""
Members whose client speaks our subprotocol: what they get says which group it comes from, and where
in its history it is.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, ClassVar, Final, NamedTuple, Protocol

from ..framing import control_event, escaped_event, framed_event
from .base import Position
from .envelope import HOLE, RESET, Broadcast
from .member import Member

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ..protocol import Event


class Framed(NamedTuple):
    """A broadcast, or a word about its group, as clients of the subprotocol get it."""

    event: Event
    group: str
    size: int


class Numbered(Protocol):
    """A broadcast that may have a position, in any codec."""

    event: Event
    group: str
    size: int
    position: Position | None
    sender_id: bytes
    kind: Any

    @property
    def data(self) -> Any: ...

    def framed(self, frame: Callable[[Any], Framed]) -> Framed: ...


def _frame(message: Numbered) -> Framed:
    if message.kind is RESET:
        return joined(message.group, message.position or LOST, is_reload=True, seconds=message.data)
    if message.kind is HOLE:
        return skipped(message.group, message.position or LOST)
    header: dict[str, Any] = {"group": message.group}
    if message.position is not None:
        header["offset"] = message.position.offset
    event = framed_event(message.event, header)
    return Framed(event, message.group, len(event.get("text") or event["bytes"]))


def joined(
    group: str, position: Position, *, is_reload: bool | None = None, seconds: int = 0
) -> Framed:
    """
    Return the frame that says where a client is in a group, and whether it has to reload.

    ``seconds``: the time over which it and others spread that.
    """
    header: dict[str, Any] = {"joined": group, "epoch": position.epoch, "offset": position.offset}
    if is_reload is not None:
        header["reload"] = is_reload
    if is_reload and seconds:
        header["seconds"] = seconds
    return _control(group, header)


def skipped(group: str, position: Position) -> Framed:
    """Return the frame that counts a broadcast which is not for this client."""
    return _control(group, {"group": group, "offset": position.offset, "skip": True})


def _control(group: str, header: dict[str, Any]) -> Framed:
    event = control_event(header)
    return Framed(event, group, len(event["text"]))


LOST: Final = Position("", 0)
"""Where a client is that was not given all: nowhere in any history."""


class FramedMember(Member):
    """A member whose client speaks the subprotocol, and counts what it gets."""

    __slots__ = ()

    counts_its_own: ClassVar[bool] = True

    def identify(self) -> bytes:
        """Return a name made of the page's: what it sent is not new to it when it comes back."""
        page = self.connection.page.id
        if page and not self.sender_id:
            self.sender_id = hashlib.sha256(page.encode()).digest()[:12]
        return super().identify()

    def handles(self, broadcast: Any) -> bool:
        """Whether it takes what is not for clients: what says where a group stands."""
        kind = broadcast.kind
        if kind is HOLE:
            return broadcast.position is not None
        return kind is RESET or super().handles(broadcast)

    def tell(self, group: str, position: Position, *, is_reload: bool, seconds: int = 0) -> None:
        """Tell the client where it is in a group."""
        if position is not LOST:
            self._told.add(group)
        if is_reload and self._listener is not None:
            Member.hand_over(self, Broadcast.reset(group, position, seconds))
        else:
            frame = joined(group, position, is_reload=is_reload or None, seconds=seconds)
            Member.hand_over(self, frame)

    async def tell_reset(self, broadcast: Broadcast, *, is_reload: bool) -> None:
        """Tell the client that a history begins anew, and whether it has to reload for it."""
        frame = joined(
            broadcast.group,
            broadcast.position or LOST,
            is_reload=is_reload,
            seconds=broadcast.data,
        )
        await self.connection.server_send(frame.event)

    async def note(self, broadcast: Broadcast) -> None:
        """Let the client count what ``group_message()`` has handled."""
        if broadcast.position is not None and self.connection.emit is not None:
            frame = skipped(broadcast.group, broadcast.position)
            await self.connection.server_send(frame.event)

    def hand_over(self, message: Any) -> None:
        """Take what it missed."""
        super().hand_over(self._view(message))

    def _deliver_now(self, message: Any) -> bool:
        # Of many members only the first has to look: this is once for each delivery.
        return super()._deliver_now(getattr(message, "for_all", None) or self._view(message))

    def _queue(self, message: Any) -> bool:
        return super()._queue(self._view(message))

    def is_own(self, message: Numbered) -> bool:
        """Whether its page sent this, does not want it back, and counts it none the less."""
        if message.position is None or not message.sender_id:
            return False
        return message.sender_id == self.identify()

    def count(self, broadcast: Broadcast) -> None:
        """Let the client count, in order, what is not for it."""
        if broadcast.position is not None:
            Member.hand_over(self, skipped(broadcast.group, broadcast.position))

    def _view(self, message: Any) -> Any:
        """Return what this client, or its listener, gets of a broadcast."""
        if isinstance(message, Framed):
            return message
        if self.is_own(message):
            return skipped(message.group, message.position)
        if self._listener is not None and message.kind is not HOLE:
            return message
        return message.framed(_frame)

    def _hear(self, message: Any) -> Awaitable[None]:
        if isinstance(message, Framed):
            return self._send(message.event)
        return super()._hear(message)

    def _on_drop(self, group: str | None) -> None:
        """Have the client start anew in a group that keeps, since it does not get all of it."""
        if group in self._told:
            frame = joined(group, LOST, is_reload=True)
            self._outbox.drop_uncounted(group)
            self._outbox.put_uncounted(self._item(frame), group)

    async def _send_behind(self, event: Event) -> None:
        await super()._send_behind(escaped_event(event))
