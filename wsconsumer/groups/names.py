"""Names of groups: any printable text on one line."""

from __future__ import annotations

from typing import Final

from ..escaping import quote

MAX_NAME: Final = 200
"""Characters that the name of a group may have."""

RESERVED: Final = "wsconsumer:"
"""What the names of our own channels begin with, and those of groups do not."""


def check_group(name: object) -> None:
    """Raise ``TypeError`` or ``ValueError`` if this can't be the name of a group."""
    if not isinstance(name, str):
        remedy = " Call it for a name, as in room(slug='lobby')." if callable(name) else ""
        raise TypeError(f"The name of a group is a str, got {quote(name)}.{remedy}")
    if not name or len(name) > MAX_NAME or not name.isprintable():
        raise ValueError(
            f"A group's name has 1 to {MAX_NAME} printable characters, got {quote(name)}. "
            "Make it of ids or slugs, such as 'room.lobby'."
        )
    if name.startswith(RESERVED):
        raise ValueError(
            f"Names that begin with {RESERVED!r} are reserved, got {quote(name)}. "
            "Name the group differently, such as 'room.lobby'."
        )
