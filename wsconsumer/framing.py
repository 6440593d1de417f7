"""
The frames of the subprotocol ``wsconsumer.v1``, without a single ``await``.

A message that begins with U+001E is ours: a header in JSON, a line feed, and the payload. All else
is the application's. ``docs/protocol.md`` is the specification.
"""

from __future__ import annotations

from base64 import urlsafe_b64decode
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias, TypeVar
from urllib.parse import parse_qs

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .protocol import Event

T = TypeVar("T")

MARK: Final = "\x1e"
"""Record separator, as in RFC 7464: no application's JSON begins with it."""

MARK_BYTE: Final = b"\x1e"

PARAMETER: Final = "wsc"
"""The parameter of the URL in which a client says where it is."""

MAX_PARAMETER: Final = 4_096
"""Characters of the parameter; what does not fit is left out by the client."""

MAX_ID: Final = 64
"""Characters of the name that a page gives itself."""

_dump: Final = msgspec.json.Encoder().encode

_Header: TypeAlias = dict[str, Any]


def framed_event(event: Mapping[str, Any], header: Mapping[str, Any]) -> Event:
    """Return a ``websocket.send`` event with a header before its payload."""
    text = event.get("text")
    if text is not None:
        return {"type": "websocket.send", "text": f"{MARK}{_dump(header).decode()}\n{text}"}
    payload = event["bytes"]
    return {"type": "websocket.send", "bytes": b"%b%b\n%b" % (MARK_BYTE, _dump(header), payload)}


def control_event(header: Mapping[str, Any]) -> Event:
    """Return a ``websocket.send`` event that is only a header."""
    return {"type": "websocket.send", "text": f"{MARK}{_dump(header).decode()}"}


def escaped_event(event: Event) -> Event:
    """Put an empty header before an application's message that looks like one of ours."""
    text = event.get("text")
    if text is not None:
        return framed_event(event, {}) if text[:1] == MARK else event
    return framed_event(event, {}) if event["bytes"][:1] == MARK_BYTE else event


def split_event(event: Event) -> tuple[Mapping[str, Any] | None, Event]:
    """
    Take the header off what a client sent; ``None`` if it has none.

    Raises ``ValueError`` for a header that can't be read.
    """
    text = event.get("text")
    if text is not None:
        if text[:1] != MARK:
            return None, event
        header, _, rest = text[1:].partition("\n")
        return _load(header.encode(), _Header), {"type": "websocket.receive", "text": rest}
    payload = event.get("bytes") or b""
    if payload[:1] != MARK_BYTE:
        return None, event
    head, _, payload = payload[1:].partition(b"\n")
    return _load(head, _Header), {"type": "websocket.receive", "bytes": payload}


def _load(text: bytes, kind: type[T]) -> T:
    """Read JSON that a client sent; raise ``ValueError`` for whatever can't be read."""
    try:
        return msgspec.json.decode(text, type=kind)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


class Place(NamedTuple):
    """An epoch and an offset in it, as the client saw them last."""

    epoch: str
    offset: int


class Page(msgspec.Struct, frozen=True):
    """What a client says of itself in the URL: its name, and where it is in which groups."""

    id: str = ""
    at: dict[str, Place] = {}
    live: str = ""

    def take_place(self, group: str) -> Place | None:
        """Return where the client was in a group, once: whoever joins again begins anew."""
        return self.at.pop(group, None)


NOBODY: Final = Page()


def read_page(query_string: bytes) -> Page:
    """Read the parameter of a URL; raise ``ValueError`` for one that can't be read."""
    found = parse_qs(query_string.decode("latin-1")).get(PARAMETER)
    if not found:
        return NOBODY
    text = found[0]
    if len(text) > MAX_PARAMETER:
        raise ValueError(f"it has {len(text)} characters, more than {MAX_PARAMETER}")
    try:
        page = _load(urlsafe_b64decode(text + "=" * (-len(text) % 4)), Page)
    except ValueError as error:
        raise ValueError(f"it is not base64url of JSON: {error}") from error
    if len(page.id) > MAX_ID:
        raise ValueError(f"its id has {len(page.id)} characters, more than {MAX_ID}")
    return page
