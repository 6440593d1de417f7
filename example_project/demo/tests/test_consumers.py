"""A consumer needs no server to be tested: two coroutines play the part of one."""

from __future__ import annotations

import asyncio
import re
from collections import deque
from typing import TYPE_CHECKING, Any

from demo.consumers import ClockConsumer, EchoConsumer, PingConsumer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, MutableMapping

    Event = MutableMapping[str, Any]

SCOPE = {"type": "websocket", "path": "/", "headers": []}
CONNECT: Event = {"type": "websocket.connect"}
DISCONNECT: Event = {"type": "websocket.disconnect", "code": 1000}


async def talk(application: Callable[..., Awaitable[None]], *messages: str | bytes) -> list[Event]:
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

    await application(SCOPE, receive, send)
    return sent


def data_of(sent: list[Event]) -> list[str | bytes]:
    """Return the data of the messages among the events sent."""
    return [
        event["text"] if event.get("text") is not None else event["bytes"]
        for event in sent
        if event["type"] == "websocket.send"
    ]


async def test_ping_is_answered() -> None:
    """The ping socket accepts, and answers `pong!` to `ping`."""
    sent = await talk(PingConsumer.as_asgi(), "ping")
    assert [event["type"] for event in sent] == ["websocket.accept", "websocket.send"]
    assert data_of(sent) == ["pong!"]


async def test_other_words_are_not_answered() -> None:
    """The ping socket has no answer to anything but the text `ping`."""
    assert data_of(await talk(PingConsumer.as_asgi(), "hello", "PING", "", b"ping")) == []


async def test_echo_keeps_text_and_bytes_apart() -> None:
    """The echo socket sends text back as text and bytes as bytes, in order, empty ones too."""
    messages: list[str | bytes] = ["ping", b"\x00\xff", "", b"", "café ☕"]
    assert data_of(await talk(EchoConsumer.as_asgi(), *messages)) == messages


async def test_clock_ticks_until_the_client_leaves() -> None:
    """The clock socket sends the time again and again, and stops when the client has gone."""
    sent: list[Event] = []
    ticked_thrice = asyncio.Event()
    events = deque([CONNECT])

    async def receive() -> Event:
        if events:
            return events.popleft()
        await ticked_thrice.wait()
        return DISCONNECT

    async def send(event: Event) -> None:
        sent.append(event)
        if len(data_of(sent)) == 3:
            ticked_thrice.set()

    await ClockConsumer.as_asgi(interval=0)(SCOPE, receive, send)

    assert sent[0]["type"] == "websocket.accept"
    assert all(re.fullmatch(r"\d\d:\d\d:\d\d UTC", str(data)) for data in data_of(sent))
    assert asyncio.all_tasks() == {asyncio.current_task()}
