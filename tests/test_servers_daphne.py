"""
``servers/daphne.py``: daphne's own protocol on a transport of strings, a real client before it.

The same against whole server processes is in ``tests/servers``.
"""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from daphne.http_protocol import HTTPFactory
from daphne.server import Server
from daphne.ws_protocol import WebSocketFactory
from twisted.internet.interfaces import ISSLTransport
from twisted.internet.testing import StringTransportWithDisconnection
from websockets.client import ClientProtocol
from websockets.exceptions import InvalidStatus
from websockets.frames import Close, Frame, Opcode
from websockets.uri import parse_uri
from zope.interface import directlyProvides

from tests.fakes import Wire, scope
from wsconsumer import ConnectionClosed, WebsocketConsumer, servers
from wsconsumer.dispatcher import WebsocketDispatcher
from wsconsumer.servers import daphne

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from wsconsumer.protocol import Application


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

    def open(self) -> None:
        """Ask for a websocket; the application starts in a task."""
        channel = HTTPFactory(self.server).buildProtocol(self.transport.getPeer())
        assert channel is not None
        channel.makeConnection(self.transport)
        self.transport.protocol = channel
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


@pytest.fixture
async def serve() -> AsyncIterator[Callable[..., Any]]:
    """Serve a consumer; the handshake is done when this returns."""
    peers = []

    async def serve(consumer: type[WebsocketConsumer]) -> Daphne:
        peer = Daphne(consumer.as_asgi())
        peer.open()
        peers.append((peer, peer.task))
        await settled()
        return peer

    yield serve
    for peer, task in peers:
        if peer.transport.connected:
            peer.transport.loseConnection()
        await asyncio.wait([task])


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


@pytest.fixture(autouse=True)
def _empty_log() -> None:
    Recorder.log.clear()


async def test_accept_headers_and_subprotocol(serve: Callable[..., Any]) -> None:
    """The subprotocol and every header reach the client, also one that is there twice."""

    class Accepting(Recorder):
        async def connect(self) -> None:
            await self.accept("chat", [("Set-Cookie", "a=1"), ("Set-Cookie", "b=2"), ("X-Y", "é")])

    peer = await serve(Accepting)
    (response,) = peer.events()
    assert response.status_code == 101
    assert response.headers.get_all("set-cookie") == ["a=1", "b=2"]
    assert response.headers["Sec-WebSocket-Protocol"] == "chat"


@pytest.mark.parametrize("data", ["hello", "", b"\x00\xff", b"", "x" * 70_000], ids=len)
async def test_messages(serve: Callable[..., Any], data: str | bytes) -> None:
    """Text and binary go both ways, empty ones too."""
    peer = await serve(Recorder)
    peer.events()
    if isinstance(data, str):
        peer.client.send_text(data.encode())
    else:
        peer.client.send_binary(data)
    peer.flush()
    await settled()
    opcode = Opcode.TEXT if isinstance(data, str) else Opcode.BINARY
    payload = data.encode() if isinstance(data, str) else data
    assert peer.events() == [Frame(opcode, payload)]


@pytest.mark.parametrize("code", [1000, 1001, 1008, 1009, 1011, 1012, 1013, 3000, 4999])
async def test_any_close_code_and_its_reason(serve: Callable[..., Any], code: int) -> None:
    """The codes that autobahn refuses to send reach the client, with their reason."""

    class Closing(Recorder):
        async def receive(self, data: str | bytes) -> None:
            await self.close(code, "because é")

    peer = await serve(Closing)
    peer.events()
    peer.client.send_text(b"go")
    peer.flush()
    await settled()
    (frame,) = peer.events()
    assert Close.parse(frame.data) == Close(code, "because é")
    peer.flush()
    await settled()
    assert Recorder.log == [(code, "because é")]
    assert peer.task.done()


async def test_the_clients_close_reason(serve: Callable[..., Any]) -> None:
    """disconnect() gets the reason that daphne leaves out."""
    peer = await serve(Recorder)
    peer.events()
    peer.close(4001, "tired")
    await settled()
    assert Recorder.log == [(4001, "tired")]


async def test_a_client_that_vanishes(serve: Callable[..., Any]) -> None:
    """A lost transport is a disconnect() with 1006, and sends after it raise ConnectionClosed."""
    errors: list[Any] = []

    class Sending(Recorder):
        async def receive(self, data: str | bytes) -> None:
            peer.transport.loseConnection()
            try:
                await self.send("anyone?")
            except ConnectionClosed as error:
                errors.append(str(error.__cause__))

    peer = await serve(Sending)
    peer.events()
    peer.client.send_text(b"go")
    peer.flush()
    await settled()
    assert errors == ["The client has gone."]
    assert Recorder.log == [(1006, "")]


async def test_a_close_after_the_client_has_gone(serve: Callable[..., Any]) -> None:
    """A close() of a connection that is gone does nothing, and the client's code counts."""

    class Closing(Recorder):
        async def receive(self, data: str | bytes) -> None:
            peer.transport.loseConnection()
            await self.close()

    peer = await serve(Closing)
    peer.events()
    peer.client.send_text(b"go")
    peer.flush()
    await settled()
    assert Recorder.log == [(1000, "")]


async def test_denial_response(serve: Callable[..., Any]) -> None:
    """Status, headers and body of a denial reach the client, and daphne's log says rejected."""

    class Denying(Recorder):
        async def connect(self) -> None:
            await self.reject(451, "sorry", [("X-Why", "law")])

    peer = await serve(Denying)
    peer.events()
    error = peer.client.handshake_exc
    assert isinstance(error, InvalidStatus)
    response = error.response
    assert (response.status_code, response.reason_phrase) == (
        451,
        "Unavailable For Legal Reasons",
    )
    assert response.headers["X-Why"] == "law"
    assert response.body == b"sorry"
    assert not peer.transport.connected
    assert ("websocket", "rejected") in peer.actions
    assert Recorder.log == []


async def test_a_status_without_a_name(serve: Callable[..., Any]) -> None:
    """A status that Python has no phrase for is sent all the same."""

    class Denying(Recorder):
        async def connect(self) -> None:
            await self.reject(599)

    peer = await serve(Denying)
    peer.events()
    assert isinstance(peer.client.handshake_exc, InvalidStatus)
    assert peer.client.handshake_exc.response.status_code == 599


async def asgi_peer(application: Application) -> Daphne:
    """Serve a plain ASGI application behind the mended send."""

    async def mended(scope: Any, receive: Any, send: Any) -> None:
        await application(*servers.mend(scope, receive, send))

    peer = Daphne(mended)
    peer.open()
    await settled()
    return peer


async def test_a_plain_close_before_accept() -> None:
    """Any ASGI application may refuse with a close: 403, as ASGI says."""

    async def application(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.close"})

    peer = await asgi_peer(application)
    peer.events()
    assert isinstance(peer.client.handshake_exc, InvalidStatus)
    assert peer.client.handshake_exc.response.status_code == 403


async def test_a_denial_in_parts() -> None:
    """A body may come in parts, and is sent whole."""

    async def application(scope: Any, receive: Any, send: Any) -> None:
        body = "websocket.http.response.body"
        await send({"type": "websocket.http.response.start", "status": 410})
        await send({"type": body, "body": b"a", "more_body": True})
        assert peer.transport.connected
        await send({"type": body, "body": b"b"})

    peer = Daphne(lambda scope, receive, send: application(*servers.mend(scope, receive, send)))
    peer.open()
    await settled()
    assert b"410 Gone" in peer.transport.value()
    assert peer.transport.value().endswith(b"\r\n\r\nab")


async def test_a_message_that_asgi_does_not_have() -> None:
    """A message of unknown type is refused with its type."""

    async def application(scope: Any, receive: Any, send: Any) -> None:
        with pytest.raises(ValueError, match=r"got 'websocket\.ping'"):
            await send({"type": "websocket.ping"})

    await (await asgi_peer(application)).task


async def test_a_close_without_a_code() -> None:
    """A close with no code is 1000."""

    async def application(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.close"})

    peer = await asgi_peer(application)
    _, frame = peer.events()
    assert Close.parse(frame.data) == Close(1000, "")


async def test_a_handshake_that_daphne_ended() -> None:
    """Daphne's own connect timeout leaves nothing to accept."""
    errors: list[Any] = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        with pytest.raises(ConnectionError, match="gone"):
            await send({"type": "websocket.send", "text": "early"})
        del peer.protocol.handshake_deferred
        with pytest.raises(ConnectionError, match="ended by daphne") as error:
            await send({"type": "websocket.accept"})
        errors.append(error)

    peer = Daphne(lambda scope, receive, send: application(*servers.mend(scope, receive, send)))
    peer.open()
    await settled()
    assert len(errors) == 1


# scope


@pytest.mark.parametrize(
    ("forwarded", "tls", "scheme"),
    [(None, False, "ws"), (None, True, "wss"), ("https", False, "wss"), ("http", True, "ws")],
)
async def test_scheme(forwarded: str | None, tls: bool, scheme: str) -> None:
    """The scheme is that of the transport, or the trusted proxy's word; daphne says nothing."""
    schemes: list[str] = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        if forwarded is not None:
            peer.protocol.client_scheme = forwarded
        if tls:
            directlyProvides(peer.transport, ISSLTransport)
        scope, _, _ = servers.mend(scope, receive, send)
        schemes.append(scope["scheme"])

    peer = Daphne(application)
    peer.open()
    await settled()
    assert schemes == [scheme]


# Where daphne is not what we know


async def test_other_servers_are_left_alone() -> None:
    """A send that is no partial, or none of daphne's, is not touched."""
    wire = Wire()
    send: Any
    for send in (wire.send, partial(wire.send), partial(print), partial(Wire)):
        assert servers.mend(scope(), wire.receive, send)[2] is send


async def test_an_unknown_daphne_is_left_alone(caplog: pytest.LogCaptureFixture) -> None:
    """Something of daphne's that is not what we expect is plain ASGI, and the log says so once."""
    daphne.explain_fallback.cache_clear()
    wire = Wire()
    server = Daphne(WebsocketConsumer.as_asgi()).server
    for send in (partial(Server.handle_reply), partial(server.handle_reply, "protocol")):
        assert servers.mend(scope(), wire.receive, send)[2] is send
        assert servers.mend(scope(), wire.receive, send)[2] is send
    assert [record.levelname for record in caplog.records] == ["WARNING", "WARNING"]
    assert "expected its Server and WebSocketProtocol behind send()" in caplog.messages[0]


async def test_mending_twice_is_mending_once() -> None:
    """The dispatcher mends, and so does the consumer; the second finds nothing to do."""

    async def application(scope: Any, receive: Any, send: Any) -> None:
        assert isinstance(send, daphne.DaphneSend)
        mended = servers.mend(scope, receive, send)
        assert (mended[1], mended[2]) == (receive, send)

    await (await asgi_peer(application)).task


# Shutdown


async def test_the_reactor_waits_for_the_applications(serve: Callable[..., Any]) -> None:
    """Before the reactor stops each application is cancelled, says 1012 and runs disconnect()."""
    peer = await serve(Recorder)
    peer.events()
    deferred = daphne.end_applications()
    assert deferred is not None
    again = daphne.end_applications()
    await settled()
    (frame,) = peer.events()
    assert Close.parse(frame.data) == Close(1012, "")
    assert Recorder.log == [(1012, "")]
    peer.flush()
    await settled()
    assert peer.task.cancelled()
    await deferred.asFuture(asyncio.get_running_loop())
    assert again is not None
    await again.asFuture(asyncio.get_running_loop())
    assert daphne.end_applications() is None


async def test_outside_a_task(caplog: pytest.LogCaptureFixture) -> None:
    """Without a task there is nothing to end with the server."""
    caplog.set_level(logging.INFO)
    daphne.end_with_the_server(None)
    assert caplog.messages == []


async def test_the_dispatcher_on_daphne() -> None:
    """A 404 is a real 404 on daphne."""
    peer = Daphne(WebsocketDispatcher([]))
    peer.open()
    await peer.task
    peer.events()
    assert isinstance(peer.client.handshake_exc, InvalidStatus)
    assert peer.client.handshake_exc.response.status_code == 404
