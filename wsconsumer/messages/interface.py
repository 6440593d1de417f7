"""
The interface of a consumer class: all that it understands and says, in one object.

It is built from the ``@on`` handlers when the class is made, those of its bases and mixins
included, and every contradiction in it is a ``TypeError`` then. ``interface_of()`` returns it: what
runs a connection reads it, and whatever describes a class to others.
"""

from __future__ import annotations

from collections.abc import Collection
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from weakref import WeakKeyDictionary

import msgspec

from ..escaping import quote
from .codecs import CODECS, union_of
from .errors import CODES
from .handlers import Handler, is_handler
from .types import Cancel, Event, Message, check_type, name_of, tag

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from msgspec import Struct


class Interface(NamedTuple):
    """
    What a consumer class understands and says.

    ``handlers`` by the class of message or event that they take; ``messages`` what clients may send
    by type, ``replies`` what they are answered with, ``sends`` what else they may get, ``events``
    what other parts of the server may tell it. ``errors`` are the codes of errors with what they
    mean; ``authorizes`` says whether the class asks who may send what. ``decoders`` has the
    function for what comes from a client, by the name of the codec, ``read_event`` is that for
    events.
    """

    handlers: Mapping[type[Struct], Handler]
    messages: Mapping[str, type[Message]]
    replies: Mapping[str, type[Message]]
    sends: Mapping[str, type[Message]]
    events: Mapping[str, type[Event]]
    errors: Mapping[str, str]
    authorizes: bool
    decoders: Mapping[str, Callable[[Any], Any]]
    read_event: Callable[[bytes], Any] | None


_interfaces: Final[WeakKeyDictionary[type, Interface]] = WeakKeyDictionary()


def interface_of(cls: type) -> Interface:
    """Return the interface of a ``MessageConsumer``, as it was when the class was made."""
    return _interfaces[cls]


def build_interface(cls: type, base: type) -> None:
    """Read a class that was made just now; the names of ``base`` are not free for handlers."""
    handlers: dict[type[Struct], Handler] = {}
    for handler in _handlers_of(cls, base):
        for kind in handler.takes:
            _check_alone(cls, handler, kind, handlers)
            handlers[kind] = handler
    replies = [reply for handler in handlers.values() for reply in handler.replies]
    sends = list(_sent_by(cls))
    _by_tag(cls, [*replies, *sends])  # what a client gets has to be told apart
    messages = _by_tag(cls, [kind for kind in handlers if issubclass(kind, Message)])
    events = _by_tag(cls, [kind for kind in handlers if issubclass(kind, Event)])
    incoming = union_of([*messages.values(), Cancel])
    _interfaces[cls] = Interface(
        handlers=MappingProxyType(handlers),
        messages=messages,
        replies=_by_tag(cls, replies),
        sends=_by_tag(cls, sends),
        events=events,
        errors=_errors_of(handlers.values()),
        authorizes=getattr(cls, "authorize", None) is not getattr(base, "authorize", None),
        decoders={name: codec.decoder(incoming) for name, codec in CODECS.items()},
        read_event=_event_reader(list(events.values())),
    )


def _handlers_of(cls: type, base: type) -> Iterator[Handler]:
    """Yield the handlers of a class and its bases, each name once."""
    for name in dict.fromkeys(name for owner in reversed(cls.__mro__) for name in vars(owner)):
        owners = [owner for owner in cls.__mro__ if name in vars(owner)]
        marked = [owner for owner in owners if is_handler(vars(owner)[name])]
        function = vars(owners[0])[name]
        if not marked or function is None:  # None takes a handler out of a subclass
            continue
        if marked[0] is not owners[0]:
            raise TypeError(
                f"{owners[0].__name__}.{name} hides the handler {marked[0].__name__}.{name}. Put "
                f"@on before it too, or write `{name} = None` to handle that message no more."
            )
        if hasattr(base, name):
            raise TypeError(
                f"{cls.__name__}.{name} can't be a handler: {base.__name__}.{name} is something "
                "else. Choose another name; the message goes by its type."
            )
        yield Handler.of(owners[0], name, function)


def _check_alone(
    cls: type, handler: Handler, kind: type[Struct], others: Mapping[type[Struct], Handler]
) -> None:
    if kind in others:
        raise TypeError(
            f"{cls.__name__} has two handlers for {kind.__name__}: {others[kind].name} and "
            f"{handler.name}. Keep one of them."
        )


def _by_tag(cls: type, kinds: list[Any]) -> Mapping[str, Any]:
    """Return classes by the type on the wire, which must be each one's own."""
    found: dict[str, Any] = {}
    for kind in kinds:
        other = found.setdefault(tag(kind), kind)
        if other is not kind:
            raise TypeError(
                f"{cls.__name__} can't tell {name_of(other)} and {name_of(kind)} apart: both have "
                f'the type {tag(kind)!r}. Give one of them another tag="...".'
            )
    return MappingProxyType(found)


def _sent_by(cls: type) -> Iterator[type[Message]]:
    """Yield what a class says that it sends on its own account."""
    sends = getattr(cls, "sends", ())
    if not isinstance(sends, Collection):
        raise TypeError(
            f"{cls.__name__}.sends must be a list of Message classes, got {quote(sends)}."
        )
    for kind in sends:
        if not (isinstance(kind, type) and issubclass(kind, Message)):
            raise TypeError(f"{cls.__name__}.sends must be Message classes, got {quote(kind)}.")
        check_type(kind)
        yield kind


def _errors_of(handlers: Iterable[Handler]) -> Mapping[str, str]:
    """Return the meanings of all codes; those of the protocol mean what they mean everywhere."""
    errors = dict(CODES)
    for handler in handlers:
        for code, text in handler.errors:
            errors.setdefault(code, text)
    return MappingProxyType(errors)


def _event_reader(events: list[type[Event]]) -> Callable[[bytes], Any] | None:
    """Return the function that reads the events of a class, or ``None`` for any other event."""
    return msgspec.json.Decoder(union_of(events)).decode if events else None
