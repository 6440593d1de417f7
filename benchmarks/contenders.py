"""
The applications that ``fanout.py`` and ``stalled.py`` compare, and how they are served: members at
``/member`` are in one group, and get what comes from the publisher, who is anywhere else.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from django.conf import settings

from wsconsumer import WebsocketConsumer

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.rounds import Application, Receive, Scope, Send

RAW = "raw"
SERVERS = ("daphne", "uvicorn")


def raw() -> Application:
    """Broadcast as one would by hand: one loop, nothing checked, nothing caught."""
    members: set[Send] = set()

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        is_member = scope["path"] == "/member"
        if is_member:
            members.add(send)
        await send({"type": "websocket.accept"})
        while (event := await receive())["type"] == "websocket.receive":
            message = {"type": "websocket.send", "text": event["text"]}
            for send_to_member in tuple(members):
                await send_to_member(message)
        if is_member:
            members.discard(send)

    return application


class Member(WebsocketConsumer):
    """Get what is broadcast; the class has no ``group_message()``."""

    async def connect(self) -> None:
        """Join, then be accepted."""
        await self.join("all")


class Publisher(WebsocketConsumer):
    """Broadcast what comes in."""

    async def receive(self, data: str | bytes) -> None:
        """Broadcast."""
        await self.broadcast("all", data)


def wsconsumer(**limits: Any) -> Application:
    """Broadcast to a group, as it is or with other limits."""
    return by_path(Member.as_asgi(**limits), Publisher.as_asgi())


def channels() -> Application:
    """Send to a group of the layer in memory, with a handler that sends to the client."""
    from channels.generic.websocket import AsyncWebsocketConsumer

    class ChannelsMember(AsyncWebsocketConsumer):  # type: ignore[misc]  # Channels has no types
        async def connect(self) -> None:
            await self.channel_layer.group_add("all", self.channel_name)
            await self.accept()

        async def said(self, event: Any) -> None:
            await self.send(text_data=event["text"])

        async def disconnect(self, code: int) -> None:
            await self.channel_layer.group_discard("all", self.channel_name)

    class ChannelsPublisher(AsyncWebsocketConsumer):  # type: ignore[misc]  # Channels has no types
        async def receive(self, text_data: str | None = None, bytes_data: Any = None) -> None:
            await self.channel_layer.group_send("all", {"type": "said", "text": text_data})

    return by_path(ChannelsMember.as_asgi(), ChannelsPublisher.as_asgi())


def litestar() -> Application:
    """Publish to a channel of ``ChannelsPlugin``, with a backend in memory."""
    from litestar import Litestar, WebSocket
    from litestar.channels import ChannelsPlugin
    from litestar.channels.backends.memory import MemoryChannelsBackend
    from litestar.handlers import websocket

    plugin = ChannelsPlugin(MemoryChannelsBackend(), channels=["all"])
    is_started = False

    @websocket("/member", signature_types=[WebSocket])
    async def member(socket: WebSocket[Any, Any, Any]) -> None:
        # As the plugin's own handler does it, but for that a member is one before it is accepted.
        async with plugin.start_subscription(["all"]) as subscriber:
            await socket.accept()
            async with subscriber.run_in_background(lambda data: socket.send_text(data.decode())):
                while (await socket.receive())["type"] != "websocket.disconnect":
                    pass

    @websocket("/publisher", signature_types=[WebSocket])
    async def publisher(socket: WebSocket[Any, Any, Any]) -> None:
        await socket.accept()
        while (event := await socket.receive())["type"] == "websocket.receive":
            await plugin.wait_published(event["text"], ["all"])

    application: Any = Litestar(
        [member, publisher], plugins=[plugin], openapi_config=None, logging_config=None
    )

    async def with_lifespan(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal is_started
        if not is_started:  # daphne has no lifespan
            is_started = True
            await plugin.__aenter__()
        await application(scope, receive, send)

    return with_lifespan


def by_path(member: Application, publisher: Application) -> Application:
    """Route as cheaply as can be."""

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        serve = member if scope["path"] == "/member" else publisher
        await serve(scope, receive, send)

    return application


def drop_oldest() -> Application:
    """wsconsumer with the policy that keeps a stalled member, and drops what it does not take."""
    return wsconsumer(outbox_policy="drop_oldest")


CONTENDERS: dict[str, Callable[[], Application]] = {
    RAW: raw,
    "wsconsumer": wsconsumer,
    "wsconsumer, drop_oldest": drop_oldest,
    "channels": channels,
    "litestar": litestar,
}


def configure() -> None:
    """Set Django up with no more than the contenders need."""
    # That it gives a slow client up is expected.
    logging.getLogger("wsconsumer").setLevel(logging.ERROR)
    layer = {"BACKEND": "channels.layers.InMemoryChannelLayer"}
    settings.configure(CHANNEL_LAYERS={"default": layer}, SECRET_KEY="for a benchmark only")


def serve(server: str, contender: str, host: str, port: int) -> None:
    """Run one contender on one server until the process is killed."""
    configure()
    application: Any = CONTENDERS[contender]()
    if server == "daphne":
        from daphne.server import Server

        endpoint = f"tcp:port={port}:interface={host}"
        Server(application, [endpoint], ping_interval=3600).run()
    else:
        import uvicorn

        uvicorn.run(
            application,
            host=host,
            port=port,
            lifespan="off",
            log_level="error",
            ws_ping_interval=None,
        )
