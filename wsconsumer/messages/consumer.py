"""
``MessageConsumer``: a consumer that speaks in messages. Its hooks, verbs and facts are those of
``WebsocketConsumer``; ``@on`` marks the methods that handle messages and events.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from msgspec import UNSET

from ..consumer import WebsocketConsumer
from ..escaping import quote
from ..misnomers import check_spelling
from .codecs import CODECS
from .interface import build_interface
from .session import MessageSession
from .types import Event, Message, with_ref

if TYPE_CHECKING:
    from collections.abc import Collection, Coroutine

    from .codecs import Codec


class MessageConsumer(WebsocketConsumer):
    """
    Subclass this, and write a method with ``@on`` for each type of message that clients may send.

    A message that is not valid, or that no handler takes, is answered with an error, and the
    connection stays.
    """

    _wsconsumer: MessageSession

    codec: str = "json"
    """How messages are encoded: ``"json"``, in text messages, or ``"msgpack"``, in binary ones."""

    sends: Collection[type[Message]] = ()
    """The messages that clients get besides replies; for those who describe or test the class."""

    invalid_limit: int | None = 10
    """Messages in a row that can't be read before the connection closes with 1007."""

    concurrent_limit: int = 16
    """Streams and ``concurrent`` handlers that a connection may have at a time."""

    def __new__(cls, **initkwargs: Any) -> Self:
        _check_codec(cls, initkwargs.get("codec", cls.codec))
        consumer = super().__new__(cls, **initkwargs)
        consumer._wsconsumer = MessageSession()
        return consumer

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        check_spelling(cls, ("authorize", "concurrent_limit", "invalid_limit"))
        _check_codec(cls, cls.codec)
        _check_limits(cls)
        _check_authorize(cls)
        build_interface(cls, MessageConsumer)

    def receive(self, data: str | bytes) -> Coroutine[Any, Any, None]:
        """
        Read a message and call its handler. Override to take what is no message, and leave the rest
        to ``await super().receive(data)``.
        """
        return self._wsconsumer.handle(data)

    markcoroutinefunction(receive)

    async def authorize(self, message: Message) -> bool:
        """
        Override to say who may send what: false is answered with ``permission_denied``.

        Called with each message before its handler. Everybody may send everything as is.
        """
        return True

    async def send(self, data: Any) -> None:
        """
        Send a message, in the class's codec; ``str`` as text and ``bytes`` as binary as they are.

        Raises what ``WebsocketConsumer.send()`` raises, and ``TypeError`` for an event.
        """
        if isinstance(data, Event):
            raise TypeError(
                f"{type(self).__name__}.send() can't send {type(data).__name__}: an Event never "
                "goes to a client. Send a Message, or broadcast() the event to a group."
            )
        if not isinstance(data, str | bytes | bytearray | memoryview):
            data = _encoded(type(self), self._wsconsumer.codec, data)
        await super().send(data)

    async def broadcast(
        self, group: str, data: Any, include_self: bool = True, *, key: str | None = None
    ) -> None:
        """
        Send ``data`` to every member of a group, as ``WebsocketConsumer.broadcast()`` does.

        A message goes without its ``ref``, which is its sender's: others would take it for the
        answer to a request of their own.
        """
        if isinstance(data, Message) and data.ref is not UNSET:
            data = with_ref(data, UNSET)
        await super().broadcast(group, data, include_self, key=key)


def _encoded(cls: type, codec: Codec, data: Any) -> str | bytes:
    try:
        return codec.payload(data)
    except (TypeError, RecursionError, OverflowError) as error:
        raise TypeError(
            f"{cls.__name__}.send() expects a Message, str, bytes, or what is JSON "
            f"serializable, got {type(data).__name__}: {error}."
        ) from error


def _check_codec(cls: type, name: object) -> None:
    if name not in CODECS:
        raise ValueError(
            f"{cls.__name__}.codec must be one of {', '.join(CODECS)}, got {quote(name)}."
        )


def _check_limits(cls: type[MessageConsumer]) -> None:
    for name in ("invalid_limit", "concurrent_limit"):
        value = getattr(cls, name)
        if value is None and name == "invalid_limit":
            continue
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            none = ", or None for no limit" if name == "invalid_limit" else ""
            raise ValueError(
                f"{cls.__name__}.{name} must be an int from 1{none}, got {quote(value)}."
            )


def _check_authorize(cls: type[MessageConsumer]) -> None:
    if not iscoroutinefunction(cls.authorize):
        raise TypeError(
            f"{cls.__name__}.authorize must be a coroutine function, got {quote(cls.authorize)}. "
            "Write `async def authorize(self, message)`."
        )
