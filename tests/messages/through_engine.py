"""Messages and events through an engine, the same for each of them."""

from __future__ import annotations

import asyncio
from typing import Any

from django.test import override_settings

from tests.fakes import ACCEPT, sent
from tests.messages.test_events import Chat, Packed, serving, unpacked
from tests.messages.vocabulary import Kick, Refresh, Said
from wsconsumer import broadcast
from wsconsumer.groups.hub import close_hub


async def arrives(backend: str, location: str) -> None:
    """Broadcast from a thread, as a view does: handlers get events, clients get messages."""
    groups = {"BACKEND": backend, "LOCATION": location, "PREFIX": "messages"}
    long = "x" * 20_000
    with override_settings(WSCONSUMER={"GROUPS": groups}):
        try:
            async with serving(Chat) as chat, serving(Packed) as packed:
                for data in (Refresh(1), Said("ada", long), Kick("done")):
                    await asyncio.to_thread(broadcast, "news", data)
                for consumer in (chat, packed):
                    await consumer.wire.until_sent(3)
                    assert consumer.heard == [1]
                _check(chat.wire.sent, packed.wire.sent, long)
        finally:
            await close_hub()


def _check(chat: list[Any], packed: list[Any], long: str) -> None:
    assert chat[:2] == [ACCEPT, sent(f'{{"type":"said","author":"ada","text":"{long}"}}')]
    assert unpacked(packed[1]) == {"type": "said", "author": "ada", "text": long}
    assert chat[2] == packed[2] == {"type": "websocket.close", "code": 4000, "reason": "done"}
