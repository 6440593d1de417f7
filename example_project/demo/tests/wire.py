"""The part of the server: two coroutines, a deque of events in and a list of events out."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, MutableMapping

    Event = MutableMapping[str, Any]

SCOPE: dict[str, Any] = {"type": "websocket", "path": "/", "headers": []}
CONNECT: Event = {"type": "websocket.connect"}
DISCONNECT: Event = {"type": "websocket.disconnect", "code": 1000}


async def talk(
    application: Callable[..., Awaitable[None]], *messages: str | bytes, **scope: Any
) -> list[Event]:
    """Connect, send the messages, leave, and return what the application sent."""
    received: list[Event] = [
        {"type": "websocket.receive", "text" if isinstance(data, str) else "bytes": data}
        for data in messages
    ]
    events = deque([CONNECT, *received, DISCONNECT])
    sent: list[Event] = []

    async def receive() -> Event:
        return events.popleft()

    async def send(event: Event) -> None:
        sent.append(event)

    await application(SCOPE | scope, receive, send)
    return sent


def data_of(sent: list[Event]) -> list[str | bytes]:
    """Return the data of the messages among the events sent."""
    return [
        event["text"] if event.get("text") is not None else event["bytes"]
        for event in sent
        if event["type"] == "websocket.send"
    ]
