"""Members that only listen, in three ways, and publishers that are as fast as they can be."""

import asyncio
import json
import time
from typing import Any

from asgiref.sync import sync_to_async
from django.http import HttpRequest, HttpResponse, JsonResponse

from tests.servers.project.consumers import Observed
from wsconsumer import abroadcast, broadcast


class Listens(Observed):
    """Get what is broadcast; publish so many messages when told to."""

    async def connect(self) -> None:
        await super().connect()
        await self.join(self.kwargs["group"])

    async def receive(self, data: str | bytes) -> None:
        how, group, count, size = json.loads(data)
        began = time.monotonic()
        await PUBLISHERS[how](group, count, size)
        await self.send(json.dumps({"seconds": time.monotonic() - began}))


class Hears(Listens):
    """Pass on what is broadcast."""

    async def group_message(self, group: str, data: Any) -> None:
        await self.send(data)


class Answers(Listens):
    """Broadcast to the own group for each message, but for those that are answers."""

    async def group_message(self, group: str, data: Any) -> None:
        if not data.endswith(b"!"):
            await self.broadcast(group, data[:-1] + b"!")
        await self.send(data)


def message(number: int, size: int) -> bytes:
    return number.to_bytes(4).ljust(size, b".")


async def one_by_one(group: str, count: int, size: int) -> None:
    for number in range(count):
        await abroadcast(group, message(number, size))


async def at_once(group: str, count: int, size: int) -> None:
    await asyncio.gather(*(abroadcast(group, message(n, size)) for n in range(count)))


def in_a_thread(group: str, count: int, size: int) -> None:
    for number in range(count):
        broadcast(group, message(number, size))


PUBLISHERS: dict[str, Any] = {
    "one by one": one_by_one,
    "at once": at_once,
    "thread": sync_to_async(in_a_thread),
}


def publish(request: HttpRequest, group: str, count: int, size: int) -> HttpResponse:
    """Broadcast from a sync view; return the seconds that it took."""
    began = time.monotonic()
    in_a_thread(group, count, size)
    return JsonResponse({"seconds": time.monotonic() - began})
