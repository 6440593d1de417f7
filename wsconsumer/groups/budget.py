"""
How much one turn of the event loop delivers, and how long anybody is waited for.

A hub has one ``Budget`` for all of its groups: a broadcast that fits is delivered on the spot, and
what does not fit goes on in the next turn, so that connections and transports get theirs.
"""

from __future__ import annotations

import asyncio
from typing import Final

DELIVERIES: Final = 512
"""Deliveries in one turn of the event loop."""

BYTES: Final = 1024 * 1024
"""Bytes in the deliveries of one turn."""

BACKLOG: Final = 16
"""Broadcasts that may be on their way, to a group or a loop, before publishers wait."""

BACKLOG_BYTES: Final = 256 * 1024
"""The same in bytes."""

PATIENCE: Final = 0.25
"""
Seconds that a broadcast waits for members without room, and a publisher for its broadcast.

Enough for a transport to drain at any useful speed, and too short to be noticed in a view.
"""


class Budget:
    """The deliveries and bytes that are left of this turn."""

    __slots__ = ("_bytes", "_deliveries")

    def __init__(self) -> None:
        self._renew()

    def spend(self, deliveries: int, size: int) -> bool:
        """Take deliveries of ``size`` bytes each out of the budget, or return False."""
        total = deliveries * size
        if deliveries > self._deliveries or total > self._bytes:
            return False
        self._deliveries -= deliveries
        self._bytes -= total
        return True

    async def next_turn(self) -> None:
        """Let the loop have a turn, and begin anew."""
        await asyncio.sleep(0)
        self._renew()

    def _renew(self) -> None:
        self._deliveries = DELIVERIES
        self._bytes = BYTES


def members_per_turn(broadcasts: int, size: int) -> int:
    """Return how many members get so many broadcasts, of ``size`` bytes in all, in one turn."""
    return max(1, min(DELIVERIES // broadcasts, BYTES // max(size, 1)))


def is_backlog(broadcasts: int, size: int) -> bool:
    """Return whether so many broadcasts, of ``size`` bytes in all, are enough to wait for."""
    return broadcasts > BACKLOG or size > BACKLOG_BYTES
