"""The map of a cluster: which server has which slot."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .location import Address

Ranges: TypeAlias = "tuple[tuple[int, int, Address], ...]"
"""First slot, last slot, and who has them."""

MAP: Final = ("CLUSTER", "SLOTS")
"""The command that returns the map."""

MOVES: Final = 5
"""How often a slot is followed from one server to another, until the map is requested again."""

LEAST: Final = 1.0
"""Seconds that a server has for the map at least, if there are many to be asked."""


def read_ranges(reply: Any, asked: str) -> Ranges:
    """
    Read what CLUSTER SLOTS answers; a server that has no address is where we asked.

    Replicas are left out: each server names them in another order.
    """
    return tuple(
        (first, last, (master[0].decode() if master[0] else asked, master[1]))
        for first, last, master, *_ in reply
    )


def spread(ranges: Iterable[tuple[int, int, Address]]) -> dict[int, Address]:
    """Return who has each slot."""
    return {slot: home for first, last, home in ranges for slot in range(first, last + 1)}


def share(timeout: float, servers: int) -> float:
    """Return the seconds that each of several servers has, which are asked in turn."""
    return max(timeout / servers, min(timeout, LEAST))
