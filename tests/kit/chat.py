"""A consumer with a case for each message, and what a failing test is told."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import pytest
from asgiref.sync import sync_to_async
from django.http import Http404

from wsconsumer import WebsocketConsumer
from wsconsumer.test import Websocket, connect

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


class Chat(WebsocketConsumer):
    """Does what each message says."""

    async def connect(self) -> None:
        if self.request.GET.get("deny"):
            raise Http404
        await self.accept("chat" if "chat" in self.scope["subprotocols"] else None)

    async def receive(self, data: str | bytes) -> None:  # noqa: C901  # a case a message
        match data:
            case "fail":
                raise RuntimeError("the message said so")
            case "hang":
                await asyncio.get_running_loop().create_future()
            case "close":
                await self.close(4000, "as told")
            case "who":
                await self.send(f"{self.user} {self.kwargs} {self.request.headers.get('X-Mine')}")
            case "thread":
                name = await sync_to_async(lambda: threading.current_thread().name)()
                await self.send(name)
            case "tick":
                self.spawn(self.tick())
            case "leave-task":
                self.task = asyncio.create_task(self.tick())
            case "quiet":
                pass
            case _:
                await self.send(data)

    async def tick(self) -> None:
        for number in range(3):
            await asyncio.sleep(60)
            await self.send(str(number))


async def fails(block: Callable[[Websocket], Awaitable[None]], **options: Any) -> str:
    """Return what the test is told when this is done with a connection."""
    with pytest.raises(AssertionError) as caught:
        async with connect(Chat, **options) as ws:
            await block(ws)
    return str(caught.value)
