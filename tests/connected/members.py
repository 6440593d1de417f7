"""Consumers that are asked about, and who asks."""

from __future__ import annotations

import asyncio
from typing import Any

from wsconsumer import WebsocketConsumer
from wsconsumer.connected.asking import Answers, who_is_connected
from wsconsumer.connected.questions import EVERYBODY, Selection


class Member(WebsocketConsumer):
    """Joins what the URL says."""

    async def connect(self) -> None:
        for group in self.kwargs["groups"]:
            await self.join(group)


class Other(Member):
    """Another class."""


class Hanging(WebsocketConsumer):
    """Has a hook that waits for the end."""

    async def receive(self, data: str | bytes) -> None:
        await asyncio.get_running_loop().create_future()


async def asked(selection: Selection = EVERYBODY, **more: Any) -> Answers:
    """Ask those that are here; the patience is for a machine that is busy."""
    return await who_is_connected(selection, **more)
