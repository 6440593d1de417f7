"""
Numbers on what is published in a cluster, so that nothing comes twice, or after what was later.

The servers of a shard pass on to one another what is published at one of them, which takes them 40
milliseconds now and then. So while a channel moves from one to another, the second may bring what
the first has brought already. Each publisher (an event loop, a thread) numbers what it sends; a
subscriber remembers the last number of each for some seconds.

    the publisher's id (8 bytes)   number (8 bytes)   body
"""

from __future__ import annotations

import os
import threading
from typing import Final

LENGTH: Final = 16
"""Bytes of a stamp."""

REMEMBERED: Final = 10.0
"""Seconds for which numbers are remembered at least, and no longer than twice that."""


class Stamps(threading.local):
    """Numbers what is published; each thread that uses this is a publisher of its own."""

    def __init__(self) -> None:
        self._publisher = os.urandom(8)
        self._number = 0

    def next(self) -> bytes:
        """Return the next stamp."""
        self._number += 1
        return self._publisher + self._number.to_bytes(8, "big")


class Recent:
    """What came in the last seconds."""

    def __init__(self, now: float) -> None:
        self._last: dict[tuple[bytes, bytes], bytes] = {}
        self._before: dict[tuple[bytes, bytes], bytes] = {}
        self._since = now

    def take(self, channel: bytes, stamped: bytes) -> bytes | None:
        """Return the body, or nothing if it, or a later one of its publisher, came before."""
        if len(stamped) < LENGTH:
            raise ValueError(f"expected a stamp of {LENGTH} bytes, got {stamped!r}")
        key = (channel, stamped[:8])
        number = stamped[8:LENGTH]
        last = self._last.get(key) or self._before.get(key)
        if last is not None and number <= last:
            return None
        self._last[key] = number
        return stamped[LENGTH:]

    def forget(self, now: float) -> None:
        """Forget what is older than is needed; call it every few seconds."""
        if now - self._since >= REMEMBERED:
            self._before, self._last = self._last, {}
            self._since = now
