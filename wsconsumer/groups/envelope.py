"""
What travels between processes: a small header, then text, bytes or JSON. Never pickle.

    kind (1 byte)   length of the sender's id (1 byte)   the sender's id   payload

What comes in is untrusted: ``Broadcast.decode()`` raises ``ValueError`` for anything malformed.
Other modules can add kinds of their own with ``add_kind()``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self

import msgspec
from django.utils.functional import Promise

from ..escaping import escape, message_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..protocol import Event


class Kind(NamedTuple):
    """
    A kind of payload.

    ``code`` is its first byte in the envelope, ``fits`` tells whether data is of this kind,
    ``encode`` makes the payload of it. ``event`` makes the ASGI event for clients of the payload,
    or raises ``ValueError``; ``read`` gets the data for a hook from payload and event.
    """

    code: int
    fits: Callable[[Any], bool]
    encode: Callable[[Any], bytes]
    event: Callable[[bytes], Event]
    read: Callable[[bytes, Event], Any]


_kinds: Final[dict[int, Kind]] = {}


def add_kind(kind: Kind) -> None:
    """
    Let a kind of payload be broadcast and sent; of two that fit, the last that was added is used.

    ``str``, ``dict`` and ``list`` are always text and JSON, subclasses aside.
    """
    if kind.code in _kinds:
        raise ValueError(f"The code {kind.code:#x} belongs to another kind of envelope.")
    _kinds[kind.code] = kind


_PLAIN: Final = (str, int, float)


def _encode_other(value: Any) -> Any:
    """Encode Django's lazy translations, and its safe strings: JSON knows only exact types."""
    if isinstance(value, Promise):
        return str(value)
    for plain in _PLAIN:
        if isinstance(value, plain):
            # str() of a safe string is the safe string itself.
            return str.__str__(value) if plain is str else plain(value)
    raise TypeError(f"{type(value).__name__} is not JSON serializable")


_to_json: Final = msgspec.json.Encoder(enc_hook=_encode_other).encode
_from_json: Final = msgspec.json.Decoder().decode


def _text_event(payload: bytes) -> Event:
    return {"type": "websocket.send", "text": payload.decode()}


JSON: Final = Kind(
    code=0x13,
    fits=lambda data: True,
    encode=_to_json,
    event=_text_event,
    read=lambda payload, event: _from_json(payload),
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
_CONTAINERS: Final = frozenset({dict, list})

for _kind in (JSON, BINARY, TEXT):
    add_kind(_kind)


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
    that does not get it.
    """

    __slots__ = ("_kind", "_payload", "event", "group", "sender_id", "size")

    def __init__(self, group: str, kind: Kind, sender_id: bytes, payload: bytes) -> None:
        self.group = group
        self.sender_id = sender_id
        self.size = len(payload)
        self.event = kind.event(payload)
        self._kind = kind
        self._payload = payload

    @classmethod
    def decode(cls, group: str, body: bytes) -> Self:
        """Open an envelope; raise ``ValueError`` if it is malformed."""
        kind = _kinds.get(body[0]) if len(body) > 1 else None
        if kind is None or len(body) < 2 + body[1]:
            raise ValueError(f"{body[:32]!r} is not a broadcast")
        start = 2 + body[1]
        return cls(group, kind, body[2:start], body[start:])

    @property
    def data(self) -> Any:
        """What was broadcast, for one member: JSON is decoded each time."""
        return self._kind.read(self._payload, self.event)
