"""
The typed side of a connection: from what a client sent to a handler, and from there to the reply.

``MessageSession.handle()`` is the way of a message. Whatever becomes of it, a message with a
``ref`` is answered exactly once; ``_contain()`` of the session below decides whether what a handler
raised is an error at all, or the end of the connection.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Protocol, cast

from django.contrib.sessions.exceptions import SessionInterrupted
from django.core.exceptions import PermissionDenied
from msgspec import UNSET

from ..cancellation import consists_of
from ..escaping import escape
from ..exceptions import TooManyTasks, WsconsumerError
from ..groups.envelope import log_malformed
from ..groups.framed import FramedMember
from ..observing import Consumer, observers
from ..protocol import CloseCode, ConnectionState
from ..reporting import report
from ..session import Session
from .codecs import CODECS, UNREADABLE, Head
from .errors import (
    CODES,
    INTERNAL_ERROR,
    INVALID,
    REF_IN_USE,
    TOO_MANY_REQUESTS,
    UNKNOWN_TYPE,
    error_for,
)
from .events import EVENT, FramedMessageMember, Heard, MessageMember
from .interface import interface_of
from .running import Running
from .types import MAX_REF, Cancel, End, Error, Message, Ok, tag, with_ref

if TYPE_CHECKING:
    from ..groups.envelope import Broadcast
    from ..groups.member import Listener, Member
    from ..protocol import Event as AsgiEvent
    from .handlers import Handler

_OPEN: Final = ConnectionState.OPEN
_OK: Final = Ok()
_END: Final = End()


class TypedConsumer(Consumer, Protocol):
    """What a session needs of a ``MessageConsumer`` beyond what it needs of any consumer."""

    codec: str
    invalid_limit: int | None
    concurrent_limit: int

    async def authorize(self, message: Message) -> bool: ...


class MessageSession(Session):
    """Runs a ``MessageConsumer``; ``codec`` is how its messages are encoded."""

    __slots__ = (
        "_authorizes",
        "_decode",
        "_event",
        "_frame",
        "_handlers",
        "_interface",
        "_invalid",
        "_running",
        "codec",
    )

    _consumer: TypedConsumer

    def _begin(self) -> None:
        super()._begin()
        self.codec = CODECS[self._consumer.codec]
        self._interface = interface_of(type(self._consumer))
        self._handlers = self._interface.handlers
        for observer in observers:
            self._handlers = observer.around_handlers(type(self._consumer), self._handlers)
        self._authorizes = self._interface.authorizes
        self._decode = self._interface.decoders[self.codec.name]
        self._frame = self.codec.frame
        self._event = self.codec.event
        self._invalid = 0
        self._running: dict[Any, Running] = {}

    @property
    def is_busy(self) -> bool:
        """Whether the client waits for a reply, so that it is not idle."""
        return super().is_busy or bool(self._running)

    # What a client sends.

    async def handle(self, data: str | bytes) -> None:  # noqa: C901  # a level costs per message
        """Handle a message: read it, call its handler, send the reply."""
        try:
            if type(data) is not self._frame:
                self.codec.check_frame(data)
            message = self._decode(data)
        except UNREADABLE as error:
            await self._refuse(data, error)
            return
        self._invalid = 0
        handler = self._handlers.get(type(message))
        if handler is None:
            self._cancel_running(message)
            return
        if handler.is_task:
            await self._start(handler, message)
            return
        ref = message.ref
        try:
            if self._authorizes:
                await self._authorize(message)
            reply = await handler.function(self._consumer, message)
            if reply is None and ref is UNSET:
                return
            if not isinstance(reply, Message):
                reply = self._stand_in(handler, reply)
            event = self._event(reply if ref is UNSET else with_ref(reply, ref))
        except BaseException as error:
            if not await self._contain(handler.name, error, None, partial(self._tell, ref)):
                raise
            return
        # As in _emit().
        emit = self.connection.emit
        if emit is not None:
            try:
                await emit(event)
            except WsconsumerError:
                raise
            except Exception as error:
                raise self.connection.send_error("") from error

    async def _authorize(self, message: Message) -> None:
        if not await self._consumer.authorize(message):
            raise PermissionDenied

    def _stand_in(self, handler: Handler, reply: object) -> Message:
        """Return what is sent for a reply that is no message, or raise ``TypeError``."""
        if reply is None and handler.answers_ok:
            return _OK
        wanted = [kind.__name__ for kind in handler.replies]
        wanted += ["None"] if handler.answers_ok else []
        raise TypeError(
            f"{type(self._consumer).__name__}.{handler.name}() must answer with "
            f"{' or '.join(wanted)}, as it is annotated, got {type(reply).__name__}."
        )

    async def _reply(self, handler: Handler, reply: Any, ref: Any) -> None:
        if not isinstance(reply, Message):
            reply = self._stand_in(handler, reply)
        await self._emit(self._event(reply if ref is UNSET else with_ref(reply, ref)))

    async def _emit(self, event: AsgiEvent) -> None:
        """Send a reply, if there still is somebody to hear it."""
        emit = self.connection.emit
        if emit is None:
            return
        try:
            await emit(event)
        except WsconsumerError:
            raise
        except Exception as error:
            raise self.connection.send_error("") from error

    # Handlers that run as tasks.

    async def _start(self, handler: Handler, message: Message) -> None:
        ref = message.ref
        running = Running()
        key = running if ref is UNSET else ref
        if key in self._running:
            await self._send_error(ref, REF_IN_USE)
        elif len(self._running) >= self._consumer.concurrent_limit:
            await self._send_error(ref, TOO_MANY_REQUESTS)
        else:
            self._running[key] = running
            coroutine: Any = self._run(handler, message, running, key)
            coroutine.__name__ = handler.name  # what the log calls it
            try:
                self.spawn(coroutine)
            except TooManyTasks:
                del self._running[key]
                await self._send_error(ref, TOO_MANY_REQUESTS)

    async def _run(self, handler: Handler, message: Message, running: Running, key: Any) -> None:
        ref = message.ref
        try:
            await self._run_to_the_reply(handler, message, running, ref)
        except BaseException as error:
            task = id(asyncio.current_task())
            if not await self._contain(handler.name, error, task, partial(self._tell, ref)):
                raise
        finally:
            del self._running[key]

    async def _run_to_the_reply(
        self, handler: Handler, message: Message, running: Running, ref: Any
    ) -> None:
        if self._authorizes:
            await self._authorize(message)
        handling = handler.function(self._consumer, message)
        if handler.is_stream:

            async def send(reply: Any) -> None:
                await self._reply(handler, reply, ref)

            await running.stream(handling, send)
            reply: Any = _END
        else:
            reply = await running.reply(handling)
            if reply is None and ref is UNSET:
                return
        await self._reply(handler, reply, ref)

    def _cancel_running(self, cancel: Cancel) -> None:
        """Cancel what the client names; it may have ended meanwhile."""
        running = self._running.get(cancel.ref)
        if running is not None:
            running.cancel()

    # Errors.

    async def _tell(self, ref: Any, hook: str, error: BaseException) -> None:
        """Answer what a handler raised with an error; it is logged if it is not the client's."""
        if consists_of(error, SessionInterrupted):
            await self._fail(hook, error)
            return
        await self._emit(self._answer(ref, hook, error))

    def _answer(self, ref: Any, hook: str, error: BaseException) -> AsgiEvent:
        """Return the answer to what a handler raised; one that can't be made is a fault as well."""
        try:
            told = error_for(error)
            if told is not None:
                return self._event(with_ref(told, ref))
        except Exception as fault:  # noqa: BLE001  # texts of the project's: anything
            error = fault
        report(self._consumer, hook, error)
        return self._event(with_ref(Error(code=INTERNAL_ERROR), ref))

    async def _send_error(self, ref: Any, code: str, detail: str = "") -> None:
        error = Error(code=code, detail=detail or CODES[code])
        await self._emit(self._event(with_ref(error, ref)))

    async def _refuse(self, data: str | bytes, error: Exception) -> None:
        """Answer what can't be read, and close if nothing else comes."""
        self._invalid += 1
        head = self._head_of(data)
        ref = head.ref if _is_ref(head.ref) else UNSET
        known = (*self._interface.messages, tag(Cancel))
        if isinstance(head.type, str) and head.type not in known:
            types = ", ".join(map(repr, self._interface.messages)) or "nothing"
            got = escape(repr(head.type)[:100])
            detail = f"Expected {types}, got {got} - at `$.type`"
            await self._send_error(ref, UNKNOWN_TYPE, detail)
        else:
            await self._send_error(ref, INVALID, describe(error))
        limit = self._consumer.invalid_limit
        if limit is not None and self._invalid >= limit:
            await self.close(CloseCode.INVALID_PAYLOAD, "too many invalid messages")

    def _head_of(self, data: str | bytes) -> Head:
        try:
            return self.codec.read_head(data)
        except UNREADABLE:
            return Head()

    # What groups bring.

    def _make_member(self, listener: Listener | None) -> Member:
        events = self._interface.events
        if not events and self.codec.name == "json":
            return super()._make_member(listener)
        kind = FramedMessageMember if self.connection.speaks_own else MessageMember
        return kind(
            self.connection,
            self._limits,
            listener,
            types=events,
            on_event=self._handle_event,
            codec=self.codec,
        )

    async def _hear(self, broadcast: Broadcast) -> None:
        if broadcast.kind is EVENT:
            if isinstance(self.member, FramedMember):
                await self.member.note(broadcast)
            await self._handle_event(broadcast)
        else:
            await super()._hear(cast("Broadcast", Heard(broadcast)))

    async def _handle_event(self, broadcast: Broadcast) -> None:
        read = self._interface.read_event
        if self.connection.state is not _OPEN or read is None:
            return
        try:
            event = read(broadcast.data)
        except UNREADABLE as error:
            log_malformed(broadcast.group, error)
            return
        handler = self._handlers[type(event)]
        task = id(asyncio.current_task())
        try:
            await handler.function(self._consumer, event)
        except BaseException as error:
            if not await self._contain(handler.name, error, task):
                raise


def _is_ref(value: object) -> bool:
    if type(value) is int:
        return -(2**63) <= value < 2**63
    return isinstance(value, str) and len(value) <= MAX_REF


def describe(error: Exception) -> str:
    """Return what a client is told of why its message can't be read."""
    if isinstance(error, RecursionError):
        return "The message is nested too deeply"
    if isinstance(error, UnicodeError):
        return "A text in the message is not valid UTF-8"
    return escape(error)
