"""
ASGI and RFC 6455 without a single ``await``: states and legal transitions, close codes, and the
events of every server's dialect made one. All of it is pure, so all of it is tested by tables.
Read ``TRANSITIONS`` first.

Sources: the ASGI "WebSocket Connection" specification, version 2.4, and RFC 6455.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping, Sequence
from http import HTTPStatus
from typing import Any, Final, TypeAlias

from .escaping import escape, quote
from .exceptions import InvalidEvent

Scope: TypeAlias = Mapping[str, Any]
Event: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Event]]
Send: TypeAlias = Callable[[Event], Awaitable[None]]
Application: TypeAlias = Callable[[Any, Any, Any], Awaitable[None]]
Header: TypeAlias = tuple[bytes, bytes]
RawHeaders: TypeAlias = Iterable[tuple[str | bytes, str | bytes]] | Mapping[str, str]

OWN_SUBPROTOCOL: Final = "wsconsumer.v1"
"""The subprotocol of our browser client."""

AUTHORIZATION_KEY: Final = "wsconsumer.authorization_subprotocol"
"""The key of the scope for the name before a token that was offered, as the client spelt it."""

MAX_REASON_BYTES: Final = 123
"""A control frame holds 125 bytes (RFC 6455 section 5.5), two of which are the close code."""


CLOSE_TIMEOUT: Final = 10.0
"""
Seconds from a close to its end: the client has them to take what is buffered and to answer, the
server to report that the connection is closed, and the hook that called ``close()`` to finish.
"""


class ConnectionState(enum.Enum):
    """Where a connection is in its life; the names are those of RFC 6455 and the browser."""

    CONNECTING = "connecting"
    OPEN = "open"
    CLOSING = "closing"
    CLOSED = "closed"


class Action(enum.Enum):
    """What moves a connection: our own verbs, and the one event that ends it."""

    ACCEPT = "accept()"
    REJECT = "reject()"
    SEND = "send()"
    JOIN = "join()"
    CLOSE = "close()"
    DISCONNECT = "websocket.disconnect"


_CONNECTING, _OPEN, _CLOSING, _CLOSED = ConnectionState

TRANSITIONS: Final[Mapping[ConnectionState, Mapping[Action, ConnectionState]]] = {
    _CONNECTING: {
        Action.ACCEPT: _OPEN,
        Action.REJECT: _CLOSED,
        Action.JOIN: _CONNECTING,
        Action.DISCONNECT: _CLOSED,
    },
    _OPEN: {
        Action.SEND: _OPEN,
        Action.JOIN: _OPEN,
        Action.CLOSE: _CLOSING,
        Action.DISCONNECT: _CLOSED,
    },
    _CLOSING: {
        Action.CLOSE: _CLOSING,
        Action.DISCONNECT: _CLOSED,
    },
    _CLOSED: {
        Action.CLOSE: _CLOSED,
        Action.DISCONNECT: _CLOSED,
    },
}
"""What is legal in which state, and where it leads. What is missing here is refused."""


class CloseCode(enum.IntEnum):
    """
    Close codes, by the names RFC 6455 section 7.4.1 and the IANA registry give them.

    Ours live in 4000-4999: a client should come back after 4000-4499, and not after 4500-4999.
    """

    NORMAL = 1000
    GOING_AWAY = 1001
    PROTOCOL_ERROR = 1002
    UNSUPPORTED_DATA = 1003
    NO_STATUS_RECEIVED = 1005
    ABNORMAL = 1006
    INVALID_PAYLOAD = 1007
    POLICY_VIOLATION = 1008
    MESSAGE_TOO_BIG = 1009
    MANDATORY_EXTENSION = 1010
    INTERNAL_ERROR = 1011
    SERVICE_RESTART = 1012
    TRY_AGAIN_LATER = 1013
    BAD_GATEWAY = 1014
    NOT_AUTHENTICATED = 4401
    TIMED_OUT = 4408
    RATE_LIMITED = 4429
    DISCONNECTED = 4501
    REFUSED = 4503
    NO_SUCH_SOCKET = 4504


_NEVER_SENT: Final = frozenset({1004, CloseCode.NO_STATUS_RECEIVED, CloseCode.ABNORMAL})


def check_close(code: object, reason: object, verb: str = "close()") -> None:
    """
    Refuse what an endpoint may not put in a close frame (RFC 6455 sections 5.5 and 7.4).

    Raises ``TypeError`` or ``ValueError``, in which ``verb`` was called; returns nothing.
    """
    if not isinstance(code, int) or isinstance(code, bool):
        raise TypeError(f"{verb} expects code to be an int, got {quote(code)}.")
    if not (1000 <= code <= 1014 or 3000 <= code <= 4999) or code in _NEVER_SENT:
        raise ValueError(
            f"{verb} can't send the close code {quote(code)}: RFC 6455 lets an endpoint send "
            "1000-1003, 1007-1014 and 3000-4999. Use 1000, or a code of your own in 4000-4999."
        )
    if not isinstance(reason, str):
        raise TypeError(f"{verb} expects reason to be a str, got {quote(reason)}.")
    size = len(encode_text(reason, f"{verb} reason"))
    if size > MAX_REASON_BYTES:
        raise ValueError(
            f"{verb} can't send a reason of {size} bytes: a close frame has room for "
            f"{MAX_REASON_BYTES} bytes of UTF-8 (RFC 6455 section 5.5). Shorten it."
        )


def close_in_words(code: int | None, reason: str) -> str:
    """Return a code and its reason, if there is one, as the log tells them."""
    return f"{code}, {escape(reason)}" if reason else f"{code}"


def encode_text(text: str, what: str) -> bytes:
    """Encode text as UTF-8, the only encoding of the wire; raise ``ValueError`` if it can't be."""
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(
            f"{what} can't be sent: {error.reason} in '{escape(text[error.start : error.end])}' at "
            f"position {error.start}. Text on a websocket is UTF-8 (RFC 6455 section 5.6)."
        ) from None


_TOKEN: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_BAD_IN_VALUE: Final = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")

_HANDSHAKE_HEADERS: Final = frozenset(
    {
        b"connection",
        b"sec-websocket-accept",
        b"sec-websocket-extensions",
        b"sec-websocket-protocol",
        b"upgrade",
    }
)


def is_token(text: str) -> bool:
    """Return whether a text is an HTTP token (RFC 9110 section 5.6.2), as subprotocols are."""
    return text.isascii() and _TOKEN.fullmatch(text.encode("ascii")) is not None


def offered_subprotocols(scope: Scope) -> list[str]:
    """Return the subprotocols that may be chosen."""
    name = scope.get(AUTHORIZATION_KEY)
    offered = list(scope.get("subprotocols") or ())
    return offered if name is None else [*offered, name]


def answer_subprotocol(chosen: object, scope: Scope, *, speaks_own: bool = True) -> Any:
    """
    Return the subprotocol for the 101 response, from what the application chose.

    Where it chose none, ours is the answer if the client offers it and ``speaks_own``. A browser
    that sent a token behind a name insists on an answer, and on its own spelling.
    """
    name: str | None = scope.get(AUTHORIZATION_KEY)
    if chosen is None:
        is_own = speaks_own and OWN_SUBPROTOCOL in (scope.get("subprotocols") or ())
        return OWN_SUBPROTOCOL if is_own else name
    if name is None:
        return chosen
    return name if isinstance(chosen, str) and chosen.lower() == name.lower() else chosen


def encode_headers(headers: RawHeaders, verb: str) -> list[Header]:
    """
    Turn headers, pairs of ``str`` or ``bytes`` or a mapping, into what ASGI wants of them.

    ``verb`` names the caller in errors. Raises ``TypeError`` for what is no pair of texts, and
    ``ValueError`` for a name or value that HTTP does not allow (RFC 9110 section 5) or that
    belongs to the opening handshake itself (RFC 6455 section 4.2.2).
    """
    pairs = headers.items() if isinstance(headers, Mapping) else headers
    return [_encode_header(pair, verb) for pair in pairs]


def _encode_header(pair: object, verb: str) -> Header:
    match pair:
        case (str() | bytes() as raw_name, str() | bytes() as raw_value):
            pass
        case _:
            raise TypeError(
                f"{verb} expects headers as pairs of name and value, each str or bytes, "
                f"got {quote(pair)}. Write headers=[('Name', 'value')]."
            )
    name = _latin1(raw_name, verb).lower()
    value = _latin1(raw_value, verb)
    if not _TOKEN.fullmatch(name):
        raise ValueError(
            f"{verb} can't send the header name {quote(raw_name)}: it is no HTTP token."
        )
    if _BAD_IN_VALUE.search(value):
        raise ValueError(
            f"{verb} can't send the header {quote(raw_name)}: its value '{escape(raw_value)}' "
            "has a control character, such as a line break."
        )
    if name in _HANDSHAKE_HEADERS:
        raise ValueError(
            f"{verb} can't send the header {quote(raw_name)}: the server writes it. "
            "Choose a subprotocol with accept(subprotocol=...)."
        )
    return name, value


def _latin1(text: str | bytes, verb: str) -> bytes:
    if isinstance(text, bytes):
        return text
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError:
        raise ValueError(
            f"{verb} can't send '{escape(text)}' in a header: HTTP headers are latin-1. "
            "Percent-encode it, for instance with urllib.parse.quote()."
        ) from None


def framed_response(
    status: int, headers: Sequence[Header], body: bytes
) -> tuple[list[Header], bytes]:
    """
    Return headers and body so framed as HTTP/1.1 wants it, whatever framing the headers had.

    204 and 304 have neither body nor length, 205 has no body (RFC 9110 sections 8.6 and 15.3.6).
    Other responses have their true length, and none beside a Transfer-Encoding (RFC 9112, 6.2).
    """
    lines = [line for line in headers if line[0] not in _FRAMING]
    if status in _WITHOUT_LENGTH:
        return lines, b""
    if status == HTTPStatus.RESET_CONTENT:
        body = b""
    return [*lines, (b"content-length", b"%d" % len(body))], body


_FRAMING: Final = frozenset({b"content-length", b"transfer-encoding"})
_WITHOUT_LENGTH: Final = frozenset({HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED})


def empty_message(event: Event) -> InvalidEvent:
    """
    Return the error for a ``websocket.receive`` event with neither text nor bytes.

    A server may leave out the key that is not used or set it to ``None``, and an empty message is
    a message; but one of the two there must be.
    """
    return InvalidEvent(f"Expected text or bytes in a websocket.receive event, got {quote(event)}.")


def disconnected(event: Event) -> tuple[int, str]:
    """
    Return code and reason of a ``websocket.disconnect`` event; servers may leave out either.

    A missing code is 1005, as ASGI says ("no status received", RFC 6455 section 7.1.5).
    """
    if event["type"] != "websocket.disconnect":
        raise InvalidEvent(
            f"Expected websocket.receive or websocket.disconnect, got {quote(event['type'])}."
        )
    code = event.get("code")
    return CloseCode.NO_STATUS_RECEIVED if code is None else code, event.get("reason") or ""
