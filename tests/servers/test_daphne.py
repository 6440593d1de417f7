"""
``servers/daphne.py``: daphne's own protocol on a transport of strings, a real client before it.

The same against whole server processes is in ``tests/servers``.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
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
from wsconsumer.handshake.dispatcher import WebsocketDispatcher
from wsconsumer.servers import daphne
from wsconsumer.servers.daphne import DaphneSend

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

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
    """Serve a plain ASGI application behind the adapted send."""

    async def adapted(scope: Any, receive: Any, send: Any) -> None:
        await application(*servers.adapt(scope, receive, send))

    peer = Daphne(adapted)
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

    peer = Daphne(lambda scope, receive, send: application(*servers.adapt(scope, receive, send)))
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

    peer = Daphne(lambda scope, receive, send: application(*servers.adapt(scope, receive, send)))
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
        scope, _, _ = servers.adapt(scope, receive, send)
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
        assert servers.adapt(scope(), wire.receive, send)[2] is send


async def test_an_unknown_daphne_is_left_alone(caplog: pytest.LogCaptureFixture) -> None:
    """Something of daphne's that is not what we expect is plain ASGI, and the log says so once."""
    daphne.explain_fallback.cache_clear()
    wire = Wire()
    server = Daphne(WebsocketConsumer.as_asgi()).server
    for send in (partial(Server.handle_reply), partial(server.handle_reply, "protocol")):
        assert servers.adapt(scope(), wire.receive, send)[2] is send
        assert servers.adapt(scope(), wire.receive, send)[2] is send
    assert [record.levelname for record in caplog.records] == ["WARNING", "WARNING"]
    assert "expected its Server and WebSocketProtocol behind send()" in caplog.messages[0]


async def test_mending_twice_is_mending_once() -> None:
    """The dispatcher mends, and so does the consumer; the second finds nothing to do."""

    async def application(scope: Any, receive: Any, send: Any) -> None:
        assert isinstance(send, daphne.DaphneSend)
        adapted = servers.adapt(scope, receive, send)
        assert (adapted[1], adapted[2]) == (receive, send)

    await (await asgi_peer(application)).task


# Flow control


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


@pytest.fixture
async def lent() -> AsyncIterator[Lent]:
    """An accepted connection; it is over after the test."""
    lent = Lent()
    lent.peer.open()
    task = lent.peer.task
    await settled()
    lent.peer.events()
    yield lent
    lent.returned.set()
    await task


async def test_a_send_completes_in_place(lent: Lent) -> None:
    """While the transport takes more, a send is over before anything else could run."""
    sending = lent.send({"type": "websocket.send", "text": "now"})
    with pytest.raises(StopIteration):
        sending.send(None)
    assert await lent.frames() == ["now"]


async def test_sends_wait_while_the_client_takes_nothing(lent: Lent) -> None:
    """Messages wait for a paused transport, and go out in order when it resumes."""
    lent.outflow.pauseProducing()
    first, second = lent.message("1"), lent.message("2")
    assert await lent.frames() == []
    lent.outflow.resumeProducing()
    third = lent.message("3")
    assert await lent.frames() == ["1", "2", "3"]
    await asyncio.gather(first, second, third)


async def test_a_message_does_not_overtake(lent: Lent) -> None:
    """One that comes after the transport resumed is behind those that have waited."""
    lent.outflow.pauseProducing()
    waiting = lent.message("1")
    await settled()
    lent.outflow.resumeProducing()
    late = lent.send({"type": "websocket.send", "text": "2"})
    late.send(None)
    await waiting
    assert await lent.frames() == ["1"]
    with pytest.raises(StopIteration):
        late.send(None)
    assert await lent.frames() == ["2"]


async def test_one_message_for_each_resume(lent: Lent) -> None:
    """Where a message fills the transport again, the next goes on waiting."""
    write = lent.peer.transport.write

    def write_and_fill(data: bytes) -> None:
        write(data)
        lent.outflow.pauseProducing()

    lent.peer.transport.write = write_and_fill
    messages = [lent.message(str(number)) for number in range(3)]
    assert await lent.frames() == ["0"]
    for number in (1, 2):
        lent.outflow.resumeProducing()
        assert await lent.frames() == [str(number)]
    await asyncio.gather(*messages)


async def test_a_send_that_is_cancelled_while_it_waits(lent: Lent) -> None:
    """It is not sent, and those behind it are."""
    lent.outflow.pauseProducing()
    messages = [lent.message(str(number)) for number in range(4)]
    await settled()
    messages[0].cancel()
    messages[2].cancel()
    await settled()
    lent.outflow.resumeProducing()
    assert await lent.frames() == ["1", "3"]
    assert [message.cancelled() for message in messages] == [True, False, True, False]


@pytest.mark.parametrize("end", ["lose", "abort", "timeout", "client closes"])
async def test_a_client_that_goes_while_a_send_waits(lent: Lent, end: str) -> None:
    """However the connection ends, the send is told that the client has gone."""
    lent.outflow.pauseProducing()
    messages = [lent.message("1"), lent.message("2")]
    await settled()
    if end == "lose":
        lent.peer.transport.loseConnection()
    elif end == "abort":
        lent.peer.transport.abortConnection()
    elif end == "timeout":
        lent.peer.protocol.onAutoPingTimeout()
    else:
        lent.peer.close()
    for message in messages:
        with pytest.raises(ConnectionError, match="The client has gone"):
            await message


async def test_a_close_does_not_wait(lent: Lent) -> None:
    """The close frame goes behind what is buffered, and what waited comes too late."""
    lent.outflow.pauseProducing()
    message = lent.message("late")
    await settled()
    with pytest.raises(StopIteration):
        lent.send({"type": "websocket.close", "code": 1013}).send(None)
    (frame,) = lent.peer.events()
    assert Close.parse(frame.data).code == 1013
    with pytest.raises(ConnectionError, match="The client has gone"):
        await message


async def test_a_slow_client_has_time_to_close(lent: Lent) -> None:
    """Autobahn's one second, or less, is too short for what may be buffered before the close."""
    later: list[float] = []

    class Timer:
        def call_later(self, delay: float, function: Callable[[], None]) -> None:
            later.append(delay)

    lent.peer.protocol.factory._batched_timer = Timer()  # noqa: SLF001  # it has no public name
    await lent.send({"type": "websocket.close"})
    assert later == [daphne.CLOSE_TIMEOUT]


@pytest.mark.parametrize(
    "sizes",
    [[1] * 100, [daphne.MAX_SIZE // 2] * 5, [daphne.MAX_SIZE * 2]],
    ids=["many", "large", "one"],
)
async def test_a_client_that_sends_more_than_is_taken(lent: Lent, sizes: list[int]) -> None:
    """It is not read from until all is taken; then it is again, and nothing is lost."""
    await lent.flood(*sizes)
    assert lent.peer.transport.producerState == "paused"
    assert await lent.received() == sizes
    assert lent.peer.transport.producerState == "producing"
    await lent.flood(7)
    assert lent.peer.transport.producerState == "producing"
    assert await lent.received() == [7]
    await lent.flood(*sizes)
    assert lent.peer.transport.producerState == "paused"


async def test_messages_that_are_taken_do_not_count(lent: Lent) -> None:
    """However much comes, a client whose messages are taken is read from all the time."""
    for _ in range(10):
        await lent.flood(daphne.MAX_SIZE)
        assert lent.peer.transport.producerState == "producing"
        assert await lent.received() == [daphne.MAX_SIZE]


async def test_no_ping_while_its_answer_can_not_be_read(lent: Lent) -> None:
    """Daphne does not ask a client that is not read from, which it would drop as dead."""
    protocol, server = lent.peer.protocol, lent.peer.server
    server.ping_interval = -1
    await lent.flood(*[1] * 100)
    protocol.check_timeouts()
    assert lent.peer.events() == []
    await lent.received()
    protocol.check_timeouts()
    (frame,) = lent.peer.events()
    assert frame.opcode is Opcode.PING


async def test_a_close_while_the_client_is_not_read_from(lent: Lent) -> None:
    """Its answer to the close is read, and what it sends before that is dropped."""
    await lent.flood(*[1] * 100)
    await lent.send({"type": "websocket.close", "code": 4000})
    assert lent.peer.transport.producerState == "producing"
    await lent.flood(*[2] * 100)
    lent.peer.events()
    lent.peer.flush()
    assert not lent.peer.transport.connected
    for _ in range(100):
        assert (await lent.receive())["bytes"] == b"."
    event = await lent.receive()
    assert (event["type"], event["code"]) == ("websocket.disconnect", 4000)


async def test_messages_after_a_close(lent: Lent) -> None:
    """They wait for the application within the same bounds, and the rest is dropped."""
    await lent.send({"type": "websocket.close"})
    await lent.flood(*[1] * 100)
    assert lent.peer.transport.producerState == "producing"
    assert await lent.received() == [1] * (daphne.MAX_EVENTS + 1)


async def test_a_receive_that_is_not_daphnes(caplog: pytest.LogCaptureFixture) -> None:
    """Where another application wraps receive(), daphne reads without bound; the log says so."""
    daphne.explain_fallback.cache_clear()

    async def application(scope: Any, receive: Any, send: Any) -> None:
        async def wrapped() -> Any:
            return await receive()

        _, receiving, sending = servers.adapt(scope, wrapped, send)
        await sending({"type": "websocket.accept"})
        assert (await receiving())["type"] == "websocket.connect"
        await asyncio.Event().wait()

    peer = Daphne(application)
    peer.open()
    await settled()
    peer.events()
    for _ in range(100):
        peer.client.send_text(b"more")
    peer.flush()
    assert peer.transport.producerState == "producing"
    assert "expected a Queue behind receive()" in caplog.text
    assert "got NoneType and" in caplog.text
    peer.task.cancel()
    await settled()


# Messages over the limit


async def test_a_message_over_the_limit_comes_in(lent: Lent) -> None:
    """The client is told 1009, and so is the application; one at the limit is taken."""
    lent.peer.protocol.maxMessagePayloadSize = 100
    await lent.flood(100, 101)
    (frame,) = lent.peer.events()
    assert Close.parse(frame.data).code == 1009
    lent.peer.flush()
    assert len((await lent.receive())["bytes"]) == 100
    assert (await lent.receive())["code"] == 1009


async def test_what_breaks_the_protocol_is_dropped(lent: Lent) -> None:
    """Autobahn does not read on where it can't make sense of what comes."""
    await lent.flood(1)
    lent.peer.protocol.dataReceived(b"\xff\xff")
    assert not lent.peer.transport.connected
    assert await lent.frames() == []


async def test_a_message_over_the_limit_goes_out(lent: Lent) -> None:
    """The limit is for what clients send: a longer message reaches the client."""
    lent.peer.protocol.maxMessagePayloadSize = 100
    await lent.send({"type": "websocket.send", "bytes": b"x" * 101})
    first, last = lent.peer.events()
    assert (first.opcode, first.fin, first.data) == (Opcode.BINARY, False, b"x" * 101)
    assert (last.opcode, last.fin, last.data) == (Opcode.CONT, True, b"")


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
