"""
What goes over the wire: ``Message`` between client and server, ``Event`` between servers, and the
few messages that belong to the protocol itself (``Ok``, ``End``, ``Error``, ``Cancel``).

Each is a ``msgspec.Struct`` with its type in the tag ``"type"``. ``check_type()`` says what a class
may not change about that.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping, Sequence  # noqa: TC003  # msgspec evaluates annotations
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeAlias
from weakref import WeakValueDictionary

from msgspec import UNSET, Meta, Struct, UnsetType
from msgspec.structs import force_setattr

from .instances import values_from

if TYPE_CHECKING:
    from typing import Self

MAX_REF: Final = 200
"""Characters that a ``ref`` may have, if it is text."""

Ref: TypeAlias = (
    Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]  # what every codec can say
    | Annotated[str, Meta(max_length=MAX_REF)]
    | UnsetType
)
"""What a client chooses to tell replies apart: an ``int`` or a ``str``, or nothing."""


def tag_of(name: str) -> str:
    """Return the type of a message whose class has this name, in snake case."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()


class Message(Struct, tag_field="type", tag=tag_of, kw_only=True):
    """
    What a client sends or gets: subclass it and annotate the fields.

    Its ``"type"`` on the wire is the name of the class in snake case, unless ``tag="..."`` says
    otherwise. ``ref`` is the client's: a reply carries that of the message that it answers. Fields
    that a client sends and the class does not have are ignored.
    """

    ref: Ref = UNSET

    def __init_subclass__(cls, **config: Any) -> None:
        super().__init_subclass__(**config)
        _check_fields(cls, {"type", "ref"})
        known[name_of(cls)] = cls

    @classmethod
    def from_model(cls, instance: object, **values: Any) -> Self:
        """
        Return a message whose fields have the values of a model instance's attributes.

        ``values`` are for fields that the instance lacks, or that should differ. A foreign key is
        the primary key, unless the field's type is a struct of its own. Values are validated:
        raises ``TypeError`` for what is missing or does not fit.
        """
        return cls(**values_from(cls, instance, values))


class Event(Struct, tag_field="type", tag=tag_of, kw_only=True):
    """
    What one part of the server tells others: broadcast to a group, it reaches the ``@on`` handlers
    of the consumers in it, on every process, and never a client.
    """

    def __init_subclass__(cls, **config: Any) -> None:
        super().__init_subclass__(**config)
        _check_fields(cls, {"type"})


def _check_fields(cls: type, ours: set[str]) -> None:
    """Raise ``TypeError`` for a field whose name is ours."""
    for name in ours & set(inspect.get_annotations(cls)):
        raise TypeError(
            f"{cls.__name__}.{name} can't be a field: `{name}` belongs to the protocol. Choose "
            'another name; field(name="...") does not help, it is about the wire.'
        )


known: Final[WeakValueDictionary[str, type[Message]]] = WeakValueDictionary()
"""The message classes of this process by their full names."""


def name_of(cls: type) -> str:
    """Return the name by which a class is known in every process that has imported it."""
    return f"{cls.__module__}.{cls.__qualname__}"


class Ok(Message):
    """The reply to a message with a ``ref`` whose handler returned nothing."""


class End(Message):
    """The last reply of a stream."""


class Error(Message):
    """The reply to what failed: a code for programs, and details for people."""

    code: str
    detail: str = ""
    fields: Mapping[str, Sequence[str]] | UnsetType = UNSET


class Cancel(Message, kw_only=True):
    """What a client sends to stop the stream, or the concurrent handler, that has this ``ref``."""


RESERVED: Final[frozenset[type[Message]]] = frozenset({Ok, End, Error, Cancel})
"""The messages of the protocol; nobody else's may have their tags."""

_RESERVED_TAGS: Final = frozenset(tag_of(cls.__name__) for cls in RESERVED)


def tag(cls: type[Struct]) -> str:
    """Return what ``"type"`` says on the wire."""
    return str(cls.__struct_config__.tag)


def check_type(cls: type[Struct]) -> None:
    """Raise ``TypeError`` for a message or event class that can't go over the wire."""
    config = cls.__struct_config__
    name = cls.__name__
    if cls in (Message, Event):
        raise TypeError(f"{name} itself has no fields and no type of its own. Use a subclass.")
    if config.tag_field != "type" or not isinstance(config.tag, str):
        raise TypeError(
            f"{name} must have a str in the tag field 'type', got tag={config.tag!r} and "
            f'tag_field={config.tag_field!r}. Write at most tag="...".'
        )
    if config.array_like:
        raise TypeError(f"{name} can't be array_like=True: its type is the key of an object.")
    if config.tag in _RESERVED_TAGS and cls not in RESERVED:
        raise TypeError(
            f"{name} can't have the type {config.tag!r}: it belongs to the protocol. Rename the "
            'class, or give it another tag="...".'
        )


def with_ref(message: Message, ref: Ref) -> Message:
    """Return a copy of a message with a ``ref``; the message itself may be sent elsewhere too."""
    reply: Message = message.__copy__()  # type: ignore[attr-defined]  # faster than copy()
    force_setattr(reply, "ref", ref)  # it may be frozen
    return reply
