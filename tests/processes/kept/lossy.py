"""
Backends that lose some of what the engine sends, or say it again, without a word to anybody.

``LOSSES`` is the share of it that is lost, ``LOST`` a file that gets a byte for each.
"""

import os
import random
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, Final

from wsconsumer.groups.base import Deliver, Position
from wsconsumer.groups.postgres import PostgresBackend
from wsconsumer.groups.redis import RedisBackend

LOSSES: Final = float(os.environ["LOSSES"])

AGAIN: Final = LOSSES / 2
"""The share that comes once more, or that comes late."""

_chance: Final = random.Random(f"{os.environ['SEED']} {os.environ['NUMBER']}")  # noqa: S311  # a seed is wanted

_lost: Final = os.open(os.environ["LOST"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)


def losing(deliver: Deliver) -> Callable[..., Coroutine[Any, Any, None]]:
    """Return what delivers most of it."""
    before: deque[tuple[str, bytes, Position]] = deque(maxlen=8)

    async def deliver_most(group: str, body: bytes, position: Position | None = None) -> None:
        kind = _chance.random()
        if position is None:
            await deliver(group, body)
            return
        before.append((group, body, position))
        if kind < LOSSES:
            os.write(_lost, b".")
        else:
            await deliver(group, body, position)
        if kind > 1 - AGAIN:
            await deliver(*_chance.choice(before))

    return deliver_most


class LossyRedis(RedisBackend):
    """Redis, with a bad ear for it."""

    async def start(self, deliver: Deliver) -> None:
        await super().start(losing(deliver))


class LossyPostgres(PostgresBackend):
    """PostgreSQL, with a bad ear for it."""

    async def start(self, deliver: Deliver) -> None:
        await super().start(losing(deliver))
