"""``escaping.py``: nothing that a client sends can write a line of the log."""

from __future__ import annotations

import pytest

from wsconsumer.escaping import MAX_LENGTH, escape


@pytest.mark.parametrize(
    ("value", "escaped"),
    [
        ("/ws/room/", "/ws/room/"),
        ("/ws/caf\xe9/", "/ws/caf\xe9/"),
        ("/ws\n2026-01-01 ERROR all is lost", r"/ws\n2026-01-01 ERROR all is lost"),
        ("\x1b[31mred", r"\x1b[31mred"),
        ("a\u202eb", r"a\u202eb"),
        ("\ud800", r"\ud800"),
        (b"caf\xe9\r\n", r"caf\xe9\r\n".replace(r"\xe9", "\xe9")),
        (ValueError("no\tno"), r"no\tno"),
        (None, "None"),
    ],
    ids=ascii,
)
def test_control_characters_are_escaped(value: object, escaped: str) -> None:
    """Readable text stays as it is; line breaks, colors and hidden characters are spelled out."""
    assert escape(value) == escaped


@pytest.mark.parametrize("character", ["a", "\n", "\U0010ffff"], ids=ascii)
def test_long_text_is_cut(character: str) -> None:
    """However long the value, and whatever it is made of, a bounded text comes out."""
    assert escape(character * MAX_LENGTH).isprintable()
    text = escape(character * 9000)
    assert text.endswith("... (9000 characters)")
    assert len(text) <= MAX_LENGTH + 30
