"""Daphne's own protocol on a transport of strings, with a real client before it."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from daphne.http_protocol import HTTPFactory
from daphne.server import Server
from daphne.ws_protocol import WebSocketFactory
from twisted.internet.testing import StringTransportWithDisconnection
from websockets.client import ClientProtocol
from websockets.uri import parse_uri

from wsconsumer import WebsocketConsumer, servers
from wsconsumer.servers.daphne.send import DaphneSend

if TYPE_CHECKING:
    from wsconsumer.protocol import Application, Receive


class Daphne:
    """Daphne without its reactor, and a client of the websockets library talking to it."""

    def __init__(self, application: Application) -> None:
        self.actions: list[tuple[str, str]] = []
        self.server = Server(application, endpoints=["unused"], action_logger=self._log)
        self.server.connections = {}
        self.server.ws_factory = WebSocketFactory(self.server, server="daphne")
        self.transport: Any = StringTransportWithDisconnection()
        self.client = ClientProtocol(
            parse_uri("ws://testserver/ws/"),
            subprotocols=["chat"],  # type: ignore[list-item]
        )
        self.response: Any = None

    def _log(self, protocol: str, action: str, details: dict[str, Any]) -> None:
        self.actions.append((protocol, action))

    def open(self, request: str | None = None) -> None:
        """Ask for a websocket, in these words if given; the application starts in a task."""
        channel = HTTPFactory(self.server).buildProtocol(self.transport.getPeer())
        assert channel is not None
        channel.makeConnection(self.transport)
        self.transport.protocol = channel
        if request is not None:
            channel.dataReceived(request.encode())
            return
        self.client.send_request(self.client.connect())
        self.flush()

    def flush(self) -> None:
        """Carry bytes from the client to the server."""
        for data in self.client.data_to_send():
            if data:
                self.transport.protocol.dataReceived(data)

    def events(self) -> list[Any]:
        """Carry bytes from the server to the client; return what it makes of them."""
        data = self.transport.value()
        self.transport.clear()
        if data:
            self.client.receive_data(data)
        return self.client.events_received()

    @property
    def task(self) -> asyncio.Task[None]:
        (connection,) = (c for c in self.server.connections.values() if "application_instance" in c)
        task: asyncio.Task[None] = connection["application_instance"]
        return task

    @property
    def protocol(self) -> Any:
        return self.transport.protocol

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Close from the client's side."""
        self.client.send_close(code, reason)
        self.flush()


async def settled() -> None:
    """Let everything run that can run without the outside."""
    for _ in range(20):
        await asyncio.sleep(0)


class Recorder(WebsocketConsumer):
    """Notes what happens, for all instances; each test begins with an empty list."""

    log: list[Any] = []  # noqa: RUF012  # emptied by the fixture

    async def receive(self, data: str | bytes) -> None:
        await self.send(data)

    async def disconnect(self, code: int, reason: str) -> None:
        self.log.append((code, reason))


async def asgi_peer(application: Application) -> Daphne:
    """Serve a plain ASGI application behind the adapted send."""

    async def adapted(scope: Any, receive: Any, send: Any) -> None:
        await application(*servers.adapt(scope, receive, send))

    peer = Daphne(adapted)
    peer.open()
    await settled()
    return peer


class Lent:
    """An accepted connection whose ``receive`` and ``send`` are the test's."""

    receive: Receive
    send: DaphneSend

    def __init__(self) -> None:
        self.returned = asyncio.Event()
        self.peer = Daphne(self.application)

    async def application(self, scope: Any, receive: Any, send: Any) -> None:
        _, self.receive, adapted = servers.adapt(scope, receive, send)
        assert isinstance(adapted, DaphneSend)
        self.send = adapted
        await self.receive()
        await self.send({"type": "websocket.accept"})
        await self.returned.wait()

    @property
    def outflow(self) -> Any:
        """What Twisted tells to pause and to resume."""
        return self.peer.transport.producer

    def message(self, text: str) -> asyncio.Task[None]:
        """Send a message in a task."""
        return asyncio.create_task(self.send({"type": "websocket.send", "text": text}))

    async def frames(self) -> list[str]:
        """Return what has reached the client by now."""
        await settled()
        return [frame.data.decode() for frame in self.peer.events()]

    async def flood(self, *sizes: int) -> None:
        """Send messages of so many bytes from the client."""
        for size in sizes:
            self.peer.client.send_binary(b"." * size)
        self.peer.flush()
        await settled()

    async def received(self) -> list[int]:
        """Take all that waits; return how many bytes each message has."""
        sizes = []
        with suppress(TimeoutError):
            while True:
                async with asyncio.timeout(0):
                    sizes.append(len((await self.receive())["bytes"]))
        return sizes
