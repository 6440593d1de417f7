"""
What travels between processes: a small header, then text, bytes or JSON. Never pickle.

    kind (1 byte)   length of the sender's id (1 byte)   the sender's id   payload

What comes in is untrusted: ``Broadcast.decode()`` raises ``ValueError`` for anything malformed.
Other modules can add kinds of their own with ``add_kind()``. A struct (of msgspec) is JSON that
begins with a name, so that who knows its class can read it as such:

    length of the name (2 bytes)   the name   JSON
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self, TypeVar

import msgspec
from django.utils.functional import Promise

from ..counters import counters
from ..escaping import escape, message_of
from ..log_thread import log
from ..throttle import MINUTE, Seldom

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..protocol import Event
    from .base import Position

logger = logging.getLogger("wsconsumer.groups")

R = TypeVar("R")


class Kind(NamedTuple):
    """
    A kind of payload.

    ``code`` is its first byte in the envelope, ``fits`` tells whether data is of this kind,
    ``encode`` makes the payload of it. ``event`` makes the ASGI event for clients of the payload,
    or raises ``ValueError``; ``read`` gets the data for a hook from payload and event. What is not
    ``for_clients`` is for handlers on the server, which every client's connection ignores. One that
    ``is_hole`` stands for what can't be said again.
    """

    code: int
    fits: Callable[[Any], bool]
    encode: Callable[[Any], bytes]
    event: Callable[[bytes], Event]
    read: Callable[[bytes, Event], Any]
    for_clients: bool = True
    is_hole: bool = False


_kinds: Final[dict[int, Kind]] = {}


def add_kind(kind: Kind) -> None:
    """
    Let a kind of payload be broadcast and sent; of two that fit, the last that was added is used.

    ``str``, ``dict`` and ``list`` are always text and JSON, subclasses aside.
    """
    if kind.code in _kinds:
        raise ValueError(f"The code {kind.code:#x} belongs to another kind of envelope.")
    _kinds[kind.code] = kind


_PLAIN: Final[dict[type, Callable[[Any], Any]]] = {
    str: str.__str__,  # str(value) may be the value itself
    int: int.__int__,
    float: float.__float__,
    bytes: lambda value: bytes(memoryview(value)),
}


def encode_other(value: Any) -> Any:
    """
    Encode what msgspec does not know, but Django uses.

    Lazy translations, and subclasses of the basic types, such as the ``SafeString`` of a template.
    """
    if isinstance(value, Promise):
        return str(value)
    for kind, plain in _PLAIN.items():
        if isinstance(value, kind):
            return plain(value)
    raise TypeError(f"{type(value).__name__} is not JSON serializable")


to_json: Final = msgspec.json.Encoder(enc_hook=encode_other).encode
from_json: Final = msgspec.json.Decoder().decode


def _text_event(payload: bytes) -> Event:
    return {"type": "websocket.send", "text": payload.decode()}


JSON: Final = Kind(
    code=0x13,
    fits=lambda data: True,
    encode=to_json,
    event=_text_event,
    read=lambda payload, event: from_json(payload),
)
BINARY: Final = Kind(
    code=0x12,
    fits=lambda data: isinstance(data, bytes | bytearray | memoryview),
    encode=bytes,
    event=lambda payload: {"type": "websocket.send", "bytes": payload},
    read=lambda payload, event: payload,
)
TEXT: Final = Kind(
    code=0x11,
    fits=lambda data: isinstance(data, str),
    encode=str.encode,
    event=_text_event,
    read=lambda payload, event: event["text"],
)
STRUCT: Final = Kind(
    code=0x14,
    fits=lambda data: isinstance(data, msgspec.Struct),
    encode=lambda data: named(f"{type(data).__module__}.{type(data).__qualname__}", to_json(data)),
    event=lambda payload: _text_event(split_named(payload)[1]),
    read=lambda payload, event: from_json(event["text"]),
)
_CONTAINERS: Final = frozenset({dict, list})

for _kind in (JSON, STRUCT, BINARY, TEXT):
    add_kind(_kind)

FOR_HANDLERS: Final = range(0x40, 0x50)
"""Codes of kinds that are not for clients: whoever does not know one has nobody to give it to."""

_UNKNOWN: Final = Kind(
    code=0x40,
    fits=lambda data: False,
    encode=bytes,
    event=lambda payload: {},
    read=lambda payload, event: payload,
    for_clients=False,
)

HOLE: Final = _UNKNOWN._replace(code=0x4F, read=lambda payload, event: None, is_hole=True)
"""Stands in a history for what came without a number, so that nobody resumes across it."""

add_kind(HOLE)

HOLE_BODY: Final = b"%c\x00" % HOLE.code

_UNREADABLE: Final = HOLE._replace(code=0x00)  # it never travels

RESET: Final = _UNKNOWN._replace(
    code=0x00,  # it never travels
    read=lambda payload, event: int(payload),  # seconds over which clients spread their reloads
)


def named(name: str, payload: bytes) -> bytes:
    """Put a name before a payload."""
    text = name.encode()
    return b"%b%b%b" % (len(text).to_bytes(2), text, payload)


def split_named(payload: bytes) -> tuple[str, bytes]:
    """Return the name before a payload, and the payload; raise ``ValueError`` if there is none."""
    end = 2 + int.from_bytes(payload[:2])
    if len(payload) < end:
        raise ValueError(f"{payload[:32]!r} has no name in it")
    return payload[2:end].decode(), payload[end:]


def encode(data: Any, sender_id: bytes = b"") -> bytes:
    """
    Return the envelope for ``data``: ``str`` as text, ``bytes`` as binary, anything else as JSON.

    ``sender_id`` names the one connection that does not get it. Raises ``TypeError`` for what is
    not JSON serializable, ``ValueError`` for text that is not valid UTF-8.
    """
    kind = _kind_of(data)
    return b"%c%c%b%b" % (kind.code, len(sender_id), sender_id, _payload(kind, data, "broadcast()"))


def _kind_of(data: Any) -> Kind:
    # The most usual kinds, without a search.
    if type(data) is str:
        return TEXT
    if type(data) in _CONTAINERS:
        return JSON
    for kind in reversed(_kinds.values()):
        if kind.fits(data):
            return kind
    raise AssertionError  # pragma: no cover  # JSON fits all data


def event_of(data: Any, verb: str) -> Event:
    """Return the ASGI event for one client; ``verb`` is the name that errors use."""
    kind = _kind_of(data)
    if not kind.for_clients:
        raise TypeError(
            f"{verb} can't send {type(data).__name__}, which never goes to a client. broadcast() "
            "it to a group, whose handlers get it."
        )
    return kind.event(_payload(kind, data, verb))


def _payload(kind: Kind, data: Any, verb: str) -> bytes:
    try:
        return kind.encode(data)
    except (TypeError, UnicodeEncodeError, RecursionError) as error:
        raise _explain(verb, data, error) from error


def _explain(verb: str, data: Any, error: Exception) -> Exception:
    """Return the error for what can't be encoded: what was expected, and what is wrong with it."""
    if isinstance(error, UnicodeEncodeError):
        return ValueError(
            f"{verb} can't send this: {error.reason} in "
            f"'{escape(error.object[error.start : error.end])}'. Text on a websocket is UTF-8 "
            "(RFC 6455 section 5.6)."
        )
    return TypeError(
        f"{verb} expects str, bytes, or what is JSON serializable, got {type(data).__name__}: "
        f"{message_of(error)}. Make it a str, or of dicts, lists, numbers and texts."
    )


class Broadcast:
    """
    One broadcast as it arrived in this process; all members share it.

    ``event`` is the ASGI message, ``size`` the payload in bytes, ``sender_id`` names the connection
    that does not get it. ``position`` is where it is in the history of a group that keeps.
    ``for_all`` is what every client of our subprotocol gets, once it was framed, unless it is
    somebody's own. ``payload`` and ``kind`` are for those who know more than that.
    """

    __slots__ = (
        "_framed",
        "_recoded",
        "event",
        "for_all",
        "group",
        "kind",
        "payload",
        "position",
        "sender_id",
        "size",
    )

    def __init__(
        self,
        group: str,
        kind: Kind,
        sender_id: bytes,
        payload: bytes,
        position: Position | None = None,
    ) -> None:
        self.group = group
        self.position = position
        self.sender_id = sender_id
        self.size = len(payload)
        self.event = kind.event(payload)
        self.kind = kind
        self.payload = payload

    @classmethod
    def decode(cls, group: str, body: bytes, position: Position | None = None) -> Self:
        """Open an envelope; raise ``ValueError`` if it is malformed."""
        kind = _kinds.get(body[0]) if len(body) > 1 else None
        if kind is None and len(body) > 1 and body[0] in FOR_HANDLERS:
            kind = _UNKNOWN
        if kind is None or len(body) < 2 + body[1]:
            raise ValueError(f"{body[:32]!r} is not a broadcast")
        start = 2 + body[1]
        return cls(group, kind, body[2:start], body[start:], position)

    @classmethod
    def unreadable(cls, group: str, position: Position) -> Self:
        """Return what stands for a body that can't be read: it counts, and nobody gets it."""
        return cls(group, _UNREADABLE, b"", b"", position)

    @classmethod
    def reset(cls, group: str, position: Position, seconds: int = 0) -> Self:
        """
        Return what tells members that the history of their group begins anew.

        Clients that reload for it spread that over so many seconds.
        """
        return cls(group, RESET, b"", b"%d" % seconds, position)

    @property
    def data(self) -> Any:
        """What was broadcast, for one member: JSON is decoded each time."""
        return self.kind.read(self.payload, self.event)

    def framed(self, frame: Callable[[Any], R]) -> R:
        """Return what ``frame`` makes of it for clients of our subprotocol, once for all."""
        if not hasattr(self, "_framed"):
            self._framed: Any = frame(self)
            if not self.sender_id:
                self.for_all = self._framed
        framed: R = self._framed
        return framed

    def recoded(self, recode: Callable[[Broadcast], R]) -> R:
        """Return what ``recode`` makes of it for members of another codec, once for all of them."""
        if not hasattr(self, "_recoded"):
            self._recoded: Any = recode(self)
        recoded: R = self._recoded
        return recoded


refused: Final = Seldom(MINUTE)


def log_malformed(name: str, error: Exception) -> None:
    """Count what came from the engine and can't be read; log it, seldom."""
    log_refused("what came for the group '%s': %s.", escape(name), escape(error))


def log_refused(what: str, *arguments: object) -> None:
    """
    Count a body that was refused, and log it at most once a minute.

    While processes of two versions share an engine, the older may refuse all that the newer says.
    """
    counters["body_refused"] += 1
    times = refused.count()
    if times:
        log(
            logger,
            logging.WARNING,
            f"Refused {what} If a newer version of wsconsumer runs elsewhere, update this process. "
            "Bodies refused since the last such line: %d.",
            *arguments,
            times,
        )
