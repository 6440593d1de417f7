"""
Poolers: LISTEN belongs to a session, so one that shares sessions out by the transaction won't do.

There it seems to work, and nothing ever comes in.
"""

from __future__ import annotations

import asyncio
from typing import Final
from uuid import uuid4

from .link import Link

PROBE: Final = "wsconsumer-probe"
"""The channel of the question."""

PATIENCE: Final = 1.0
"""Seconds to wait for what was sent to oneself."""


class NoSessionError(ConnectionError):
    """A pooler is in between that has no session for us alone."""


async def check_session(link: Link, told: dict[str, str], seconds: float) -> None:
    """
    Raise ``NoSessionError`` if notifications don't come in through the pooler in between, within so
    many seconds (one at most).

    Another connection sends one, and this one asks nothing meanwhile: a pooler of transactions
    would lend it a session for that, by chance the one that got the notification.
    """
    token = uuid4().hex
    await link.execute(f'LISTEN "{PROBE}"')
    other = await Link.connect(told)
    try:
        await other.execute("SELECT pg_notify($1, $2)", PROBE, token)
    finally:
        other.close()
    try:
        async with asyncio.timeout(min(PATIENCE, seconds)):
            while token.encode() not in await link.notifications():
                pass
    except TimeoutError:
        raise NoSessionError(
            "a pooler of transactions is in between, so no broadcast comes in. Name an alias in "
            "WSCONSUMER['GROUPS']['LOCATION'] that leads to PostgreSQL itself, or to a pool of "
            "sessions"
        ) from None
    await link.execute(f'UNLISTEN "{PROBE}"')
