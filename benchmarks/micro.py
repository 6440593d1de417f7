"""
What a message costs between the server and your ``receive()``: an echo, in process, with a fake
``receive`` and ``send`` and no network, against a raw ASGI loop, Starlette and Channels.

Run it with ``python benchmarks/micro.py``; ``benchmarks/README.md`` says how to read it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from channels.generic.websocket import AsyncWebsocketConsumer
from django.conf import settings
from starlette.endpoints import WebSocketEndpoint

from benchmarks.rounds import (
    Application,
    BrokenContenderError,
    Event,
    Measure,
    Receive,
    Scope,
    Send,
    Table,
    arguments,
    environment,
    no_garbage_collection,
    report,
    take_turns,
)
from wsconsumer import WebsocketConsumer

if TYPE_CHECKING:
    import argparse

NOTE = """\
Why this misleads: an echo does nothing, so it shows the framework at its most expensive. With a
network, a server and any work of your own, the differences below shrink, mostly to nothing. Only
the ratios mean anything, and only to contenders in the same table: times differ by machine, by
Python and by what else the machine is doing.

Contenders take turns in rounds; a ratio compares one round's times, and the table has the median
over all rounds (and the quartiles). The cyclic garbage collector runs before a measurement and is
off during it.
"""

PACKAGES = ("Django", "asgiref", "starlette", "channels")

TEXT = "hello, world: a chat message"


async def raw(scope: Scope, receive: Receive, send: Send) -> None:
    """Echo as one would by hand: nothing checked, nothing caught."""
    await receive()
    await send({"type": "websocket.accept"})
    while True:
        event = await receive()
        if event["type"] == "websocket.disconnect":
            return
        text = event.get("text")
        if text is not None:
            await send({"type": "websocket.send", "text": text})
        else:
            await send({"type": "websocket.send", "bytes": event["bytes"]})


class Consumer(WebsocketConsumer):
    """The same, in wsconsumer."""

    async def receive(self, data: str | bytes) -> None:
        """Echo."""
        await self.send(data)


class Endpoint(WebSocketEndpoint):
    """The same, in Starlette."""

    async def on_receive(self, websocket: Any, data: Any) -> None:
        """Echo."""
        if isinstance(data, str):
            await websocket.send_text(data)
        else:
            await websocket.send_bytes(data)


class ChannelsConsumer(AsyncWebsocketConsumer):  # type: ignore[misc]  # Channels has no types
    """The same, in Channels, with no channel layer."""

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        """Echo."""
        await self.send(text_data=text_data, bytes_data=bytes_data)


def contenders() -> dict[str, Application]:
    """Name the applications; the first is what the others are compared with."""

    async def starlette(scope: Scope, receive: Receive, send: Send) -> None:
        await Endpoint(scope, receive, send)

    return {
        "raw": raw,
        "wsconsumer": Consumer.as_asgi(),
        "starlette": starlette,
        "channels": ChannelsConsumer.as_asgi(),
    }


def websocket_scope() -> Scope:
    """Return the scope of one connection, as a server makes it."""
    return {
        "type": "websocket",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "scheme": "ws",
        "path": "/ws/echo/",
        "raw_path": b"/ws/echo/",
        "query_string": b"",
        "root_path": "",
        "headers": [(b"host", b"testserver")],
        "client": ("127.0.0.1", 50000),
        "server": ("127.0.0.1", 8000),
        "subprotocols": [],
        "extensions": {},
    }


def message_event(data: str | bytes) -> Event:
    """Return the event of one message from the client."""
    return {"type": "websocket.receive", "text" if isinstance(data, str) else "bytes": data}


async def never_waits(application: Application, data: str | bytes, count: int) -> float:
    """
    Serve ``count`` messages that are all there already; return seconds per message.

    Neither ``receive`` nor ``send`` ever suspends, so this is the framework alone.
    """
    events: list[Event] = [
        {"type": "websocket.disconnect", "code": 1000},
        *[message_event(data)] * count,
        {"type": "websocket.connect"},
    ]
    take = events.pop

    async def receive() -> Event:
        return take()

    async def send(event: Event) -> None:
        pass

    seconds = await timed(application(websocket_scope(), receive, send))
    if events:
        raise BrokenContenderError(f"{len(events)} events were never received")
    return seconds / count


async def through_the_loop(application: Application, data: str | bytes, count: int) -> float:
    """
    Serve ``count`` messages, each of which arrives a turn of the event loop after the last echo.

    That is the least that happens under any server: the wait in ``receive`` is real. Return
    seconds per message.
    """
    loop = asyncio.get_running_loop()
    queue: asyncio.Queue[Event] = asyncio.Queue()
    left = count

    def arrive() -> None:
        nonlocal left
        if left:
            queue.put_nowait(message_event(data))
        else:
            queue.put_nowait({"type": "websocket.disconnect", "code": 1000})
        left -= 1

    async def send(event: Event) -> None:
        loop.call_soon(arrive)

    queue.put_nowait({"type": "websocket.connect"})
    seconds = await timed(application(websocket_scope(), queue.get, send))
    if left != -1:
        raise BrokenContenderError(f"expected {count} echoes, got {count - left - 1}")
    return seconds / count


async def timed(running: Awaitable[Any]) -> float:
    """Wait for what is to be measured; return seconds."""
    with no_garbage_collection():
        begin = time.perf_counter()
        await running
        return time.perf_counter() - begin


async def verify(name: str, application: Application) -> None:
    """Refuse a contender that does not echo every message, text and bytes, unchanged, in order."""
    messages: list[str | bytes] = ["first", b"second", "", b"", *map(str, range(20))]
    events = [{"type": "websocket.connect"}, *map(message_event, messages)]
    events.append({"type": "websocket.disconnect", "code": 1000})
    waiting = iter(events)
    sent: list[Event] = []

    async def receive() -> Event:
        return next(waiting)

    async def send(event: Event) -> None:
        sent.append(event)

    await application(websocket_scope(), receive, send)
    accept, *echoes = sent
    if accept["type"] != "websocket.accept":
        raise BrokenContenderError(f"{name} began with {accept!r}")
    for message, echo in zip(messages, echoes, strict=True):
        key = "text" if isinstance(message, str) else "bytes"
        if echo["type"] != "websocket.send" or echo[key] != message:
            raise BrokenContenderError(f"{name} answered {message!r} with {echo!r}")


Mode = Callable[[Application, str | bytes, int], Awaitable[float]]

MODES: dict[str, Mode] = {
    "Nothing ever waits": never_waits,
    "Each message comes through the event loop": through_the_loop,
}


def measure(mode: Mode, application: Application, data: str | bytes, count: int) -> Measure:
    """Return the measurement of one contender in one mode."""
    return lambda: mode(application, data, count)


async def run(options: argparse.Namespace) -> list[Table]:
    """Verify every contender, then measure them in each mode."""
    applications = contenders()
    for name, application in applications.items():
        await verify(name, application)
    counts = dict.fromkeys(applications, options.messages)
    counts["channels"] = options.channels_messages
    data = TEXT.encode() if options.binary else TEXT
    tables = []
    for title, mode in MODES.items():
        measures = {
            name: measure(mode, application, data, counts[name])
            for name, application in applications.items()
        }
        samples = await take_turns(measures, options.rounds)
        tables.append(Table.of(title, "message", samples, ["raw"]))
    return tables


def main() -> None:
    """Run the benchmark as the arguments say."""
    parser = arguments(__doc__, rounds=60)
    parser.add_argument(
        "--messages", type=int, default=20_000, help="per measurement, default: %(default)s"
    )
    parser.add_argument(
        "--channels-messages",
        type=int,
        default=400,
        help="the same for Channels, which takes hundreds of times as long, default: %(default)s",
    )
    parser.add_argument("--binary", action="store_true", help="echo bytes instead of text")
    parser.add_argument("--metrics", action="store_true", help="with WSCONSUMER['METRICS']")
    options = parser.parse_args()
    settings.configure(WSCONSUMER={"METRICS": options.metrics})
    tables = asyncio.run(run(options))
    report(NOTE, environment(*PACKAGES), tables, options.json)


if __name__ == "__main__":
    main()
