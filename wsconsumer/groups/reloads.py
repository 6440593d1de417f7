"""
How long clients take over their reloads, when many of them have to.

A history that is lost is lost for everybody at once, and ten thousand pages that are rendered in
the same second would be an outage of their own.
"""

from __future__ import annotations

import asyncio
from typing import Final

PER_SECOND: Final = 100
"""Reloads that the clients of one event loop make in a second, more or less."""

LONGEST: Final = 120
"""Seconds that no client is asked to wait for longer."""


class Reloads:
    """Counts who is told to reload, in one event loop."""

    def __init__(self) -> None:
        self._busy_until = 0.0

    def spread(self, count: int, at_least: int = 0) -> int:
        """
        Return over how many seconds so many more clients spread their reloads.

        None for a few. Those who come back one by one after a restart are a crowd as well.
        """
        now = asyncio.get_running_loop().time()
        self._busy_until = max(self._busy_until, now) + count / PER_SECOND
        return min(LONGEST, max(at_least, round(self._busy_until - now)))
