"""
Rates, such as ``"20/s"``: a token bucket that holds as many messages as the rate has in its period,
and fills evenly.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

EXPECTED: Final = 'None or a rate per second, minute or hour, such as "20/s", "100/m" or "500/h"'
"""What a setting must be."""

_RATE: Final = re.compile(r"([1-9][0-9]{0,8})/([smh])", re.ASCII)
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600}


class Rate(NamedTuple):
    """So many messages in so many seconds."""

    messages: int
    seconds: int


def is_rate(value: object) -> bool:
    """Return whether this is a rate."""
    return isinstance(value, str) and _RATE.fullmatch(value) is not None


def parse_rate(text: str) -> Rate:
    """Read what ``is_rate()``."""
    messages, unit = text.split("/")
    return Rate(int(messages), _SECONDS[unit])


class Bucket:
    """
    The tokens of a rate. ``full_at``: the time at which none of them is missing any more.

    That one number says it all: a message takes a token, which is there again one interval later
    than all that were taken before it.
    """

    __slots__ = ("__weakref__", "_interval", "_longest", "full_at")

    def __init__(self, rate: Rate) -> None:
        self._longest = rate.seconds + _ROUNDING
        self._interval = rate.seconds / rate.messages
        self.full_at = 0.0

    def take(self, now: float) -> bool:
        """Take a token; return false if there is none."""
        full_at = self.full_at
        full_at = (full_at if full_at > now else now) + self._interval
        if full_at - now > self._longest:
            return False
        self.full_at = full_at
        return True


_ROUNDING: Final = 1e-6
"""Seconds that adding up intervals may be wrong by."""
