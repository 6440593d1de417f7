"""Typed messages and events through Redis."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.messages.through_engine import arrives

if TYPE_CHECKING:
    from tests.engines import Redis


async def test_messages_and_events(server: Redis) -> None:
    """Events reach handlers, and messages clients, each in the codec of its class."""
    await arrives("wsconsumer.groups.redis.RedisBackend", server.url)
