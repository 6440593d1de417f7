"""The client's end of a websocket in messages: to send and receive them, to ask, and to stream."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar, overload

from msgspec import UNSET

from ..messages.codecs import CODECS, UNREADABLE, union_of
from ..messages.consumer import MessageConsumer
from ..messages.errors import MessageError
from ..messages.interface import Interface, interface_of
from ..messages.types import RESERVED, Cancel, End, Error, Message, Ok, known, tag, with_ref
from .database import PATIENCE

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterable, Iterator

M = TypeVar("M", bound=Message)


class Reader:
    """Reads messages of one codec as instances of their classes."""

    def __init__(self, codec: str, interface: Interface | None) -> None:
        if codec not in CODECS:
            raise ValueError(f"codec must be one of {', '.join(CODECS)}, got {codec!r}.")
        self.codec = CODECS[codec]
        self._interface = interface

    def ref_of(self, data: str | bytes) -> Any:
        """Return the ``ref`` of a message, if it is one and has one."""
        try:
            return self.codec.read_head(data).ref
        except UNREADABLE:
            return UNSET

    @overload
    def read(self, data: str | bytes, kind: None) -> Message: ...

    @overload
    def read(self, data: str | bytes, kind: type[M]) -> M: ...

    @overload
    def read(self, data: str | bytes, kind: type[Message] | None) -> Message: ...

    def read(self, data: str | bytes, kind: type[Message] | None) -> Message:
        """
        Return an instance of ``kind``, or of the class whose type the message has.

        Whatever is expected, it may be one of the protocol's own instead.
        """
        try:
            name = self.codec.read_head(data).type
            own = [one for one in RESERVED if tag(one) == name and kind not in RESERVED]
            wanted: type[Message] = own[0] if own else kind or self._class_of(name)
            message: Message = self.codec.reader(union_of([wanted, Cancel]))(data)
        except UNREADABLE as error:
            expected = "a Message" if kind is None else kind.__name__
            raise AssertionError(f"Expected {expected}, got {data!r}: {error}.") from None
        return message

    def _class_of(self, name: object) -> type[Message]:
        for candidates in (self._declared(), known.values()):
            found = [kind for kind in candidates if tag(kind) == name]
            if len(found) == 1:
                return found[0]
            if found:
                names = ", ".join(sorted(f"{kind.__module__}.{kind.__name__}" for kind in found))
                raise AssertionError(
                    f"Several messages have the type {name!r}: {names}. Say which you expect."
                )
        raise AssertionError(f"No Message class has the type {name!r}. Is it imported?")

    def _declared(self) -> Iterable[type[Message]]:
        if self._interface is None:
            return ()
        return {*self._interface.replies.values(), *self._interface.sends.values()}


def reader_for(application: Any, codec: str | None) -> Reader:
    """Return the reader for what an application sends, as far as that can be told."""
    consumer = getattr(application, "consumer_class", application)
    if not (isinstance(consumer, type) and issubclass(consumer, MessageConsumer)):
        return Reader(codec or "json", None)
    return Reader(codec or consumer.codec, interface_of(consumer))


class Asking:
    """The part of a ``Websocket`` that asks, and is answered by ``ref``."""

    _reader: Reader
    _refs: Iterator[int]

    @property
    def _is_open(self) -> bool:
        raise NotImplementedError

    async def send(self, data: Any) -> None:
        """Send a message."""
        raise NotImplementedError

    async def _receive(
        self, is_wanted: Callable[[str | bytes], bool], what: str, patience: float
    ) -> str | bytes:
        """Return the first message that is wanted, of those that came and those that come."""
        raise NotImplementedError

    @overload
    async def receive(self, *, timeout: float = ...) -> str | bytes: ...  # noqa: ASYNC109  # as below

    @overload
    async def receive(self, kind: type[M], *, timeout: float = ...) -> M: ...  # noqa: ASYNC109

    async def receive(
        self,
        kind: type[M] | None = None,
        *,
        timeout: float = PATIENCE,  # noqa: ASYNC109  # never cancels the application
    ) -> str | bytes | M:
        """
        Return the next message of the application; fail if none comes within ``timeout``.

        With a class of messages, return an instance of that; fail if it is something else.
        """
        data = await self._receive(lambda data: True, "a message", timeout)
        if kind is None:
            return data
        message = self._reader.read(data, kind)
        if not isinstance(message, kind):
            raise AssertionError(f"Expected {kind.__name__}, got {message!r}.")
        return message

    @overload
    async def request(self, message: Message) -> Any: ...

    @overload
    async def request(self, message: Message, reply: type[M]) -> M: ...

    async def request(self, message: Message, reply: type[Message] | None = None) -> Any:
        """
        Send a message with a ``ref``, and return the reply, without the ``ref``.

        ``None`` stands for ``ok``. An error raises ``MessageError``, as in the browser. What else
        comes meanwhile is there to be received afterwards.
        """
        ref = await self._ask(message)
        return await self._answer(ref, reply)

    @overload
    def stream(self, message: Message) -> AsyncGenerator[Any, None]: ...

    @overload
    def stream(self, message: Message, reply: type[M]) -> AsyncGenerator[M, None]: ...

    async def stream(
        self, message: Message, reply: type[Message] | None = None
    ) -> AsyncGenerator[Any, None]:
        """
        Send a message with a ``ref``, and yield the replies, without the ``ref``, until the end.

        An error raises ``MessageError``. Leaving the loop early cancels the stream, at the latest
        when the test ends; ``contextlib.aclosing()`` does so at once.
        """
        ref = await self._ask(message)
        is_over = False
        try:
            while not is_over:
                try:
                    answer = await self._answer(ref, reply)
                except MessageError:
                    is_over = True
                    raise
                is_over = isinstance(answer, End)
                if not is_over:
                    yield answer
        finally:
            if not is_over and self._is_open:
                await self.send(Cancel(ref=ref))
                while not isinstance(await self._reply(ref, None), End | Error):
                    pass

    async def _ask(self, message: Message) -> Any:
        ref = next(self._refs) if message.ref is UNSET else message.ref
        await self.send(with_ref(message, ref))
        return ref

    async def _answer(self, ref: Any, kind: type[Message] | None) -> Any:
        reply = await self._reply(ref, kind)
        if isinstance(reply, Error):
            fields = None if reply.fields is UNSET else reply.fields
            raise MessageError(reply.code, reply.detail, fields)
        return None if isinstance(reply, Ok) else with_ref(reply, UNSET)

    async def _reply(self, ref: Any, kind: type[Message] | None) -> Message:
        reader = self._reader
        data = await self._receive(
            lambda data: reader.ref_of(data) == ref, f"a reply to {ref!r}", PATIENCE
        )
        return reader.read(data, kind)
