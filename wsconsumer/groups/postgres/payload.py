"""
Bodies as the payloads of NOTIFY: text of less than 8000 bytes, no two alike in a transaction.

    number   part/parts   token of the group   text

The text is the body behind a letter that says how it is written: ``a`` for ASCII, in which only NUL
is escaped, ``b`` for anything else in base64. So it passes through a database of any encoding. A
long text is cut in parts, which PostgreSQL delivers together and in order if one transaction sends
them. The number keeps two equal broadcasts of one transaction from being taken for one.
"""

from __future__ import annotations

import binascii
import hashlib
import itertools
import re
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from ..base import Position

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_PAYLOAD: Final = 7_999
"""Bytes that PostgreSQL takes at most."""

MAX_BODY: Final = 64 * 1024 * 1024
"""Bytes of the largest body that is carried, and about what a body in parts may take up here."""

MAX_TOKEN: Final = 200
"""Characters up to which the token of a group is its name."""

MAX_POSITION: Final = 8 + 1 + 19
"""Characters of a position as the number of a payload, at most."""

_POSITION: Final = re.compile(r"([0-9a-f]{8}):([1-9][0-9]{0,18})")
_CUT: Final = "\x7f,"
_MAX_TEXT: Final = 2 * MAX_BODY + 1
_PART: Final = re.compile(rb"[1-9][0-9]{0,7}/[1-9][0-9]{0,7}")
_WHOLE: Final = b"1/1"
_ESCAPE: Final = b"\x7f"
_numbers: Final = itertools.count()


def channel(prefix: str) -> str:
    """Return the name of the channel: ASCII that needs no care in SQL, of 1 to 63 bytes."""
    if re.fullmatch(r"[A-Za-z0-9_.:-]{1,63}", prefix):
        return prefix
    return f"wsconsumer-{_digest(prefix)[:40]}"


def token(group: str) -> str:
    """Return what stands for a group: ASCII without spaces, not too long."""
    quoted = quote(group, safe=":")
    return quoted if len(quoted) <= MAX_TOKEN else f"#{_digest(group)}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def encode(group: str, body: bytes) -> list[str]:
    """
    Return the payloads that carry a body, to be sent in this order and in one transaction.

    Raises ``ValueError`` for a body that is too large.
    """
    text = _to_text(body)
    number = next(_numbers)
    name = token(group)
    head = f"{number} 1/1 {name} "
    if len(head) + len(text) <= MAX_PAYLOAD:
        return [head + text]
    size = MAX_PAYLOAD - len(head) - 2 * len(str(MAX_BODY))
    parts = range(0, len(text), size)
    return [
        f"{number} {index}/{len(parts)} {name} {text[start : start + size]}"
        for index, start in enumerate(parts, 1)
    ]


def encode_kept(group: str, body: bytes) -> str:
    """
    Return the text of a body that is kept, marked where it is cut into parts.

    Raises ``ValueError`` for a body that is too large.
    """
    text = _to_text(body)
    size = MAX_PAYLOAD - MAX_POSITION - 2 * len(str(MAX_BODY)) - len(f" / {token(group)} ")
    if len(text) <= size:
        return text
    return _CUT.join(text[start : start + size] for start in range(0, len(text), size))


def decode_kept(text: bytes) -> bytes:
    """Return the body of a text that was kept."""
    return _from_text(text.replace(_CUT.encode(), b""))


def decode_position(text: str) -> Position:
    """Return the position that PostgreSQL has made a text of; raise ``ValueError`` for others."""
    found = _POSITION.fullmatch(text)
    if found is None:
        raise ValueError("its number is no position")
    return Position(found[1], int(found[2]))


def _to_text(body: bytes) -> str:
    if len(body) > MAX_BODY:
        raise ValueError(f"a body has at most {MAX_BODY} bytes, got {len(body)}")
    if body.isascii():
        escaped = body.replace(_ESCAPE, _ESCAPE + b"1").replace(b"\0", _ESCAPE + b"0")
        return "a" + escaped.decode("ascii")
    return "b" + binascii.b2a_base64(body, newline=False).decode("ascii")


def _from_text(text: bytes) -> bytes:
    if text.startswith(b"a"):
        return text[1:].replace(_ESCAPE + b"0", b"\0").replace(_ESCAPE + b"1", _ESCAPE)
    if text.startswith(b"b"):
        return binascii.a2b_base64(text[1:], strict_mode=True)
    raise ValueError("it is written in no known way")


class Decoder:
    """
    Makes bodies of payloads again, for those ``groups`` (by token) that it is asked for.

    It holds the parts of one body at most: those of two are never mixed.
    """

    def __init__(self, groups: Mapping[bytes, str]) -> None:
        self._groups = groups
        self._forget()

    def _forget(self) -> None:
        self._expected: tuple[tuple[bytes, bytes], bytes] | None = None
        self._parts: list[bytes] = []
        self._size = 0

    def feed(self, payload: bytes) -> tuple[str, bytes, Position | None] | None:
        """
        Return a group, a body and its position if it is kept, or nothing if there is no body yet or
        it is not asked for.

        Raises ``ValueError`` for a payload that is none of ours.
        """
        fields = payload.split(b" ", 3)
        if len(fields) != 4:
            raise ValueError("it has not the four fields of a payload")
        number, part, name, text = fields
        group = self._groups.get(name)
        if group is None:
            return None
        whole = text if part == _WHOLE else self._collect((number, name), part, text)
        if whole is None:
            return None
        position = decode_position(number.decode("ascii")) if b":" in number else None
        return group, _from_text(whole), position

    def _collect(self, message: tuple[bytes, bytes], part: bytes, text: bytes) -> bytes | None:
        if not _PART.fullmatch(part):
            raise ValueError("it is no part of anything")
        index, _, count = part.partition(b"/")
        if index == b"1":
            self._forget()
        elif (message, part) != self._expected:
            # The parts before it came before anybody here subscribed to the group.
            self._forget()
            return None
        self._parts.append(text)
        self._size += len(text)
        if self._size > _MAX_TEXT:
            self._forget()
            raise ValueError(f"its parts make more than {MAX_BODY} bytes")
        if index == count:
            whole = b"".join(self._parts)
            self._forget()
            return whole
        self._expected = (message, b"%d/%s" % (len(self._parts) + 1, count))
        return None
