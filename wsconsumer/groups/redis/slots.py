"""The map of a cluster: which server has which slot."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeAlias

from redis.exceptions import AskError, MovedError, TryAgainError

if TYPE_CHECKING:
    from .location import Address

Ranges: TypeAlias = "tuple[tuple[int, int, Address], ...]"
"""First slot, last slot, and who has them."""

MAP: Final = ("CLUSTER", "SLOTS")
"""The command that returns the map."""

SLOTS: Final = 16384
"""
How many there are. During a failover a server may know already that the old master has none, and
not yet who took over: its map has a hole that others' have not.
"""

MOVES: Final = 5
"""How often a slot is followed from one server to another, until the map is requested again."""

KEYS_EVERY: Final = 0.05
"""Seconds until what needs keys that are on their way to another server is tried again."""

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


def size(ranges: Ranges) -> int:
    """Return how many slots have a server."""
    return sum(last + 1 - first for first, last, _ in ranges)


def spread(ranges: Ranges) -> dict[int, Address]:
    """Return who has each slot."""
    return {slot: home for first, last, home in ranges for slot in range(first, last + 1)}


def share(timeout: float, servers: int) -> float:
    """Return the seconds that each of several servers has, which are asked in turn."""
    return max(timeout / servers, min(timeout, LEAST))


def is_moving(error: BaseException | None) -> bool:
    """
    Tell whether an error says that a slot's keys are on their way to another server.

    Neither of the two takes a command with several keys then, unless it has all of them.
    """
    return isinstance(error, AskError | TryAgainError) and not isinstance(error, MovedError)
