"""
JSON in text messages, MessagePack in binary ones: the same types in two encodings.

A codec turns a message into the ASGI event that carries it. ``Codec.reader()`` makes the function
that does all the work on the way in: it parses, validates and picks the class in one pass.
"""

from __future__ import annotations

from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec
from msgspec import UNSET, DecodeError, Struct

from ..groups.envelope import encode_other, to_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ..protocol import Event as AsgiEvent

_to_msgpack: Final = msgspec.msgpack.Encoder(enc_hook=encode_other).encode


def union_of(classes: Iterable[type[Struct]]) -> Any:
    """Return the type for a decoder that finds the class by the tag."""
    return reduce(or_, classes)


def _json_payload(message: Any) -> str:
    return to_json(message).decode()


def _json_event(message: Any) -> AsgiEvent:
    return {"type": "websocket.send", "text": to_json(message).decode()}


def _msgpack_event(message: Any) -> AsgiEvent:
    return {"type": "websocket.send", "bytes": _to_msgpack(message)}


def _json_reader(kind: Any) -> Callable[[str | bytes], Any]:
    decode = msgspec.json.Decoder(kind).decode

    def read(data: str | bytes) -> Any:
        if type(data) is not str:
            raise DecodeError("Expected JSON in a text message, got a binary one")
        return decode(data)

    return read


def _msgpack_reader(kind: Any) -> Callable[[str | bytes], Any]:
    decode = msgspec.msgpack.Decoder(kind).decode

    def read(data: str | bytes) -> Any:
        if isinstance(data, str):
            raise DecodeError("Expected MessagePack in a binary message, got a text one")
        return decode(data)

    return read


class Codec(NamedTuple):
    """
    One encoding: ``event`` makes an ASGI event of a message, ``payload`` what is in that.

    ``reader`` makes a function that reads what a client sent as one of the given type, or raises
    one of ``UNREADABLE``; ``read_head`` looks only at what tells messages apart.
    """

    name: str
    event: Callable[[Any], AsgiEvent]
    payload: Callable[[Any], str | bytes]
    reader: Callable[[Any], Callable[[str | bytes], Any]]
    read_head: Callable[[str | bytes], Head]


class Head(Struct):
    """What tells one message from another, whether it is valid or not."""

    type: Any = UNSET
    ref: Any = UNSET


JSON: Final = Codec("json", _json_event, _json_payload, _json_reader, _json_reader(Head))
MSGPACK: Final = Codec(
    "msgpack", _msgpack_event, _to_msgpack, _msgpack_reader, _msgpack_reader(Head)
)
CODECS: Final = {codec.name: codec for codec in (JSON, MSGPACK)}

UNREADABLE: Final = (DecodeError, RecursionError, UnicodeError)
"""What a reader raises: malformed or not valid, nested too deeply, or no text where it says so."""
