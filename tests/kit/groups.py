"""A consumer that works with the database, and a conversation with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.contrib.auth.models import Group

from wsconsumer import WebsocketConsumer

if TYPE_CHECKING:
    from wsconsumer.test import Websocket


class GroupsConsumer(WebsocketConsumer):
    """Makes a group of each message that is not empty, and says which there are."""

    async def receive(self, data: str | bytes) -> None:
        if data:
            await Group.objects.acreate(name=str(data))
        names = [group.name async for group in Group.objects.order_by("name")]
        await self.send(" ".join(names))


async def converse(websocket: Websocket) -> None:
    """Let the consumer see the test's rows, and the test see the consumer's."""
    await websocket.send("")
    assert await websocket.receive() == "fixture"
    await Group.objects.acreate(name="body")
    await websocket.send("consumer")
    assert await websocket.receive() == "body consumer fixture"
    assert await Group.objects.acount() == 3
