"""
Rate limits: messages that come faster than a connection, or all those of a user, may send.

A connection without one reads straight from the server.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from ..rates import Bucket, parse_rate
from .timeline import Timeline

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable, Callable, Hashable, Sequence

    from ..protocol import Event, Receive


def rated(
    receive: Receive,
    rates: Sequence[tuple[str, Bucket]],
    loop: asyncio.AbstractEventLoop,
    refuse: Callable[[str], Awaitable[None]],
) -> Receive:
    """Return a ``receive`` that refuses by its rate each message for which a token is missing."""
    takes = tuple((bucket.take, rate) for rate, bucket in rates)

    async def receive_rated() -> Event:
        event = await receive()
        if event["type"] == "websocket.receive":
            now = loop.time()
            for take, rate in takes:
                if not take(now):
                    await refuse(rate)
        return event

    return receive_rated


class UserBuckets:
    """
    The buckets that the connections of a user share, in one event loop.

    One that is not full outlives its connections: a user who comes back finds it as it was.
    """

    def __init__(self) -> None:
        self._buckets: WeakValueDictionary[Hashable, Bucket] = WeakValueDictionary()
        self._held: dict[Any, Bucket] = {}
        self._filling: Timeline[Bucket] = Timeline()

    def lend(self, session: object, user: Hashable, rate: str) -> Bucket:
        """Return the bucket of a user, for a session until ``forget()``."""
        bucket = self._buckets.get((user, rate)) or Bucket(parse_rate(rate))
        self._buckets[user, rate] = self._held[session] = bucket
        return bucket

    def forget(self, session: object) -> None:
        """Take it back: the connection has ended."""
        bucket = self._held.pop(session, None)
        if bucket is not None:
            self._filling.put(bucket, bucket.full_at)

    def look_after(self, now: float) -> None:
        """Let go of those that are full, and so like new."""
        self._filling.take_due(now)
