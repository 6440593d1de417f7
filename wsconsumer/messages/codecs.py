"""
JSON in text messages, MessagePack in binary ones: the same types in two encodings.

A codec turns a message into the ASGI event that carries it. ``Codec.decoder`` makes the function
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


class Codec(NamedTuple):
    """
    One encoding: ``event`` makes an ASGI event of a message, ``payload`` what is in that.

    ``frame`` is the type of what a client sends, ``decoder`` makes the function that reads it as
    one of a given type, or raises one of ``UNREADABLE``. ``wrong`` says what is wrong with another
    frame.
    """

    name: str
    event: Callable[[Any], AsgiEvent]
    payload: Callable[[Any], str | bytes]
    frame: type
    decoder: Callable[[Any], Callable[[Any], Any]]
    wrong: str

    def check_frame(self, data: str | bytes) -> None:
        """Raise one of ``UNREADABLE`` for a message of the wrong kind."""
        if type(data) is not self.frame:
            raise DecodeError(self.wrong)

    def reader(self, kind: Any) -> Callable[[str | bytes], Any]:
        """Return the function that checks the frame too."""
        decode = self.decoder(kind)

        def read(data: str | bytes) -> Any:
            self.check_frame(data)
            return decode(data)

        return read

    def read_head(self, data: str | bytes) -> Head:
        """Return what tells a message from others, whether it is valid or not."""
        self.check_frame(data)
        head: Head = _heads[self.name](data)
        return head


class Head(Struct):
    """What tells one message from another, whether it is valid or not."""

    type: Any = UNSET
    ref: Any = UNSET


JSON: Final = Codec(
    name="json",
    event=_json_event,
    payload=_json_payload,
    frame=str,
    decoder=lambda kind: msgspec.json.Decoder(kind).decode,
    wrong="Expected JSON in a text message, got a binary one",
)
MSGPACK: Final = Codec(
    name="msgpack",
    event=_msgpack_event,
    payload=_to_msgpack,
    frame=bytes,
    decoder=lambda kind: msgspec.msgpack.Decoder(kind).decode,
    wrong="Expected MessagePack in a binary message, got a text one",
)
CODECS: Final = {codec.name: codec for codec in (JSON, MSGPACK)}

_heads: Final = {codec.name: codec.decoder(Head) for codec in CODECS.values()}

UNREADABLE: Final = (DecodeError, RecursionError, UnicodeError)
"""What a reader raises: malformed or not valid, nested too deeply, or no text where it says so."""
