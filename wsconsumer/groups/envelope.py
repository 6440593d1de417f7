"""
What travels on the bus: a small header, then text, bytes or JSON. Never pickle.

    version and kind (1 byte)   length of the sender's token (1 byte)   token   payload

What comes in is untrusted: ``Broadcast.decode()`` raises ``ValueError`` for what is no such body.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Self

import msgspec
from django.utils.functional import Promise

if TYPE_CHECKING:
    from ..protocol import Event

TEXT: Final = 0x11
BINARY: Final = 0x12
JSON: Final = 0x13
_KINDS: Final = frozenset({TEXT, BINARY, JSON})


def _of_django(value: Any) -> Any:
    """Encode what Django has and JSON has not: lazy translations."""
    if isinstance(value, Promise):
        return str(value)
    raise TypeError(f"{type(value).__name__} is nothing that JSON has")


_to_json: Final = msgspec.json.Encoder(enc_hook=_of_django).encode
_from_json: Final = msgspec.json.Decoder().decode


def encode(data: Any, token: bytes = b"") -> bytes:
    """
    Return the body for ``data``: ``str`` as text, ``bytes`` as binary, anything else as JSON.

    ``token`` names the one connection that shall not get it. Raises ``TypeError`` for what JSON
    can't say, ``ValueError`` for text that UTF-8 can't.
    """
    kind, payload = _payload(data)
    return bytes((kind, len(token))) + token + payload


def encode_json(data: Any) -> str:
    """Return what a client gets that is sent neither text nor bytes."""
    return _to_json(data).decode()


def _payload(data: Any) -> tuple[int, bytes]:
    try:
        if isinstance(data, str):
            return TEXT, data.encode()
        if isinstance(data, bytes | bytearray | memoryview):
            return BINARY, bytes(data)
        return JSON, _to_json(data)
    except (TypeError, RecursionError) as error:
        raise TypeError(
            f"broadcast() expects str, bytes, or what JSON can say, got {type(data).__name__}: "
            f"{error}. Make it a str, or of dicts, lists, numbers and texts."
        ) from error
    except UnicodeEncodeError as error:
        raise ValueError(
            f"broadcast() can't send this: {error.reason} in "
            f"{error.object[error.start : error.end]!r}. Text on a websocket is UTF-8 "
            "(RFC 6455 section 5.6)."
        ) from error


class Broadcast:
    """
    One broadcast as it arrived in this process; all members share it.

    ``event`` is the ASGI message, ``size`` the payload in bytes, ``token`` that of the connection
    that shall not get it.
    """

    __slots__ = ("_kind", "_payload", "event", "group", "size", "token")

    def __init__(self, group: str, kind: int, token: bytes, payload: bytes) -> None:
        self.group = group
        self.token = token
        self.size = len(payload)
        self._kind = kind
        self._payload = payload
        self.event: Event = (
            {"type": "websocket.send", "bytes": payload}
            if kind == BINARY
            else {"type": "websocket.send", "text": payload.decode()}
        )

    @classmethod
    def decode(cls, group: str, body: bytes) -> Self:
        """Read a body; raise ``ValueError`` if it is none."""
        if len(body) < 2 or body[0] not in _KINDS or len(body) < 2 + body[1]:
            raise ValueError(f"{body[:32]!r} is no body of a broadcast")
        start = 2 + body[1]
        return cls(group, body[0], body[2:start], body[start:])

    @property
    def data(self) -> Any:
        """What was broadcast, for one member: JSON is decoded anew each time."""
        if self._kind == JSON:
            return _from_json(self._payload)
        return self._payload if self._kind == BINARY else self.event["text"]
