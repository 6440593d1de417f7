"""The map of a cluster: which server has which slot."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from .location import Address

MAP: Final = ("CLUSTER", "SLOTS")
"""The command that returns the map."""

MOVES: Final = 5
"""Servers to which a broadcast follows its slot."""

LEAST: Final = 1.0
"""Seconds that a server has for the map at least, if there are many to be asked."""


def read_slots(reply: Any, asked: str) -> dict[int, Address]:
    """Read what CLUSTER SLOTS answers; a server that has no address is where we asked."""
    return {
        slot: (master[0].decode() if master[0] else asked, master[1])
        for first, last, master, *_ in reply
        for slot in range(first, last + 1)
    }


def share(timeout: float, servers: int) -> float:
    """Return the seconds that each of several servers has, which are asked in turn."""
    return max(timeout / servers, min(timeout, LEAST))
