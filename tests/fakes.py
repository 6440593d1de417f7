"""A server in miniature: a deque of events in, a list of messages out, and nothing else."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from wsconsumer.protocol import Event

CONNECT: dict[str, Any] = {"type": "websocket.connect"}
ACCEPT: dict[str, Any] = {"type": "websocket.accept", "subprotocol": None, "headers": []}
DENIED: dict[str, Any] = {"type": "websocket.close"}
DENIAL: dict[str, Any] = {"extensions": {"websocket.http.response": {}}}


def text(data: str) -> dict[str, Any]:
    """Return the event of a text message."""
    return {"type": "websocket.receive", "text": data}


def disconnect(code: int = 1001, reason: str = "") -> dict[str, Any]:
    """Return the event that ends a connection."""
    return {"type": "websocket.disconnect", "code": code, "reason": reason}


def close(code: int = 1000, reason: str = "") -> dict[str, Any]:
    """Return the message that a close sends."""
    return {"type": "websocket.close", "code": code, "reason": reason}


def sent(data: str | bytes) -> dict[str, Any]:
    """Return the message that a send sends."""
    return {"type": "websocket.send", "text" if isinstance(data, str) else "bytes": data}


class Wire:
    """The two coroutines that an application gets, and what passes through them."""

    def __init__(self, *events: dict[str, Any]) -> None:
        self.inbox = deque(events)
        self.sent: list[Any] = []
        self._arrived = asyncio.Event()
        self._sent = asyncio.Event()
        self.fail_on: str | None = None

    async def receive(self) -> dict[str, Any]:
        while not self.inbox:
            self._arrived.clear()
            await self._arrived.wait()
        return self.inbox.popleft()

    async def send(self, message: Event) -> None:
        if message["type"] == self.fail_on:
            raise OSError("the client has gone")
        self.sent.append(message)
        self._sent.set()

    def put(self, *events: dict[str, Any]) -> None:
        """Let more events arrive."""
        self.inbox.extend(events)
        self._arrived.set()

    async def until_sent(self, count: int) -> None:
        """Wait until the application has sent this many messages."""
        async with asyncio.timeout(5):
            while len(self.sent) < count:
                self._sent.clear()
                await self._sent.wait()


async def until(condition: Callable[[], object]) -> None:
    """Let other tasks run until a condition holds."""
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110  # what is waited for sets no event
            await asyncio.sleep(0)


def scope(**more: Any) -> dict[str, Any]:
    """Return a websocket scope as a server makes it, with more keys or other values."""
    return {
        "type": "websocket",
        "path": "/",
        "query_string": b"",
        "headers": [(b"host", b"testserver")],
        "subprotocols": [],
        **more,
    }


async def run(
    application: Callable[..., Awaitable[None]], *events: dict[str, Any], **more: Any
) -> list[dict[str, Any]]:
    """Run an application on a connection and these events; return what it sent."""
    wire = Wire(CONNECT, *events)
    async with asyncio.timeout(5):
        await application(scope(**more), wire.receive, wire.send)
    return wire.sent


class KnownServer(Wire):
    """A wire whose ``send`` is known to complete in place; ``shut()`` makes it wait."""

    __module__ = "uvicorn.fake"

    def __init__(self, *events: dict[str, Any]) -> None:
        super().__init__(*events)
        self.gate = asyncio.Event()
        self.gate.set()
        self.begun = 0

    async def send(self, message: Event) -> None:
        self.begun += 1
        await self.gate.wait()
        await super().send(message)

    def shut(self) -> None:
        """Take no more messages until ``open()``."""
        self.gate.clear()

    def open(self) -> None:
        """Take messages again."""
        self.gate.set()


class UnknownServer(KnownServer):
    """The same for a ``send`` of which nothing is known, so that it has to run in a task."""

    __module__ = "elsewhere.fake"
