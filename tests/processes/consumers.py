"""A member that does what its client says, and answers when it is done."""

import asyncio
import json
from typing import Any

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
