"""Fixtures for tests of daphne's own protocol."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from tests.servers.daphne.peer import Daphne, Lent, Recorder, settled

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from wsconsumer import WebsocketConsumer


@pytest.fixture
async def serve() -> AsyncIterator[Callable[..., Any]]:
    """Serve a consumer; the handshake is done when this returns."""
    peers = []

    async def serve(consumer: type[WebsocketConsumer]) -> Daphne:
        peer = Daphne(consumer.as_asgi())
        peer.open()
        peers.append((peer, peer.task))
        await settled()
        return peer

    yield serve
    for peer, task in peers:
        if peer.transport.connected:
            peer.transport.loseConnection()
        await asyncio.wait([task])


@pytest.fixture(autouse=True)
def _empty_log() -> None:
    Recorder.log.clear()


@pytest.fixture
async def lent() -> AsyncIterator[Lent]:
    """An accepted connection; it is over after the test."""
    lent = Lent()
    lent.peer.open()
    task = lent.peer.task
    await settled()
    lent.peer.events()
    yield lent
    lent.returned.set()
    await task
