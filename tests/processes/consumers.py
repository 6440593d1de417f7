"""A member that does what its client says, and answers when it is done."""

import asyncio
import json
import logging
from collections.abc import Callable
from functools import wraps
from typing import Any

from asgiref.sync import sync_to_async
from django.db import connection
from django.http import HttpRequest

from tests.processes.blobs import blob
from wsconsumer import BackendError, WebsocketConsumer


class Member(WebsocketConsumer):
    """
    Takes orders, JSON lists that begin with a verb, and answers each with ``{"done": ...}``.

    Broadcasts come between the answers, as they are.
    """

    max_groups = 2_000
    outbox_limit = 64 * 1024 * 1024

    async def receive(self, data: str | bytes) -> None:
        done = await self.obey(json.loads(data))
        await self.send(json.dumps({"done": done}))

    async def obey(self, order: list[Any]) -> Any:
        """Do it; return what the client has to know."""
        match order:
            case ["ping"]:
                return None
            case ["join", *groups]:
                for group in groups:
                    await self.join(group)
                return None
            case ["leave", *groups]:
                for group in groups:
                    await self.leave(group)
                return None
            case ["broadcast", messages, include_self]:
                # All are started before any is done: their order is that of the calls.
                return await asyncio.gather(
                    *(self.publish(group, data, include_self) for group, data in messages)
                )
            case ["blob", group, kind, size]:
                return [await self.publish(group, blob(kind, size), True)]
        raise ValueError(f"no such order: {order!r}")

    async def publish(self, group: str, data: Any, include_self: bool) -> str | None:
        """Broadcast; return what went wrong, if anything."""
        try:
            await self.broadcast(group, data, include_self)
        except BackendError as error:
            return str(error)
        return None


def query() -> None:
    """Ask the database something."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")


def querying(view: Callable[..., Any]) -> Callable[..., Any]:
    """Let a handshake thread ask the database."""

    @wraps(view)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        query()
        return view(*args, **kwargs)

    return wrapper


class Querying(logging.Handler):
    """A log handler that asks the database."""

    def emit(self, record: logging.LogRecord) -> None:
        query()


class Everywhere(WebsocketConsumer):
    """Uses the database in every place that has a connection of its own."""

    async def connect(self) -> None:
        await self.join("everywhere")
        await sync_to_async(query)()
        await self.broadcast("everywhere", "hello")

    async def receive(self, data: str | bytes) -> None:
        raise RuntimeError("for the log")


class Counted(WebsocketConsumer):
    """There may be three of each name, which the client says itself."""

    max_connections_per_address = 3


def named(request: HttpRequest) -> str:
    """Return the name of a client."""
    return str(request.GET["name"])
