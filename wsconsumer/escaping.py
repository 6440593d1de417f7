"""
What clients send, made fit for a log line: one short line without control characters.

Whoever writes a path, a header, a close reason, the name of a group, or an error text that quotes
one of these to a log, calls ``escape()``; otherwise a client could write log lines of its own.
"""

from __future__ import annotations

from typing import Final

MAX_LENGTH: Final = 200
"""Characters that one value may take up in a log line."""


def escape(value: object) -> str:
    """Return the value as text, escaped like a Python string literal and cut."""
    text = value.decode("latin-1") if isinstance(value, bytes) else str(value)
    start = text[:MAX_LENGTH]
    if not start.isprintable():
        start = "".join(map(_escape, start))[:MAX_LENGTH]
    return start if len(text) <= MAX_LENGTH else f"{start}... ({len(text)} characters)"


def _escape(character: str) -> str:
    if character.isprintable():
        return character
    return character.encode("unicode_escape").decode("ascii")
