"""
``servers/daphne/``: daphne's own protocol on a transport of strings, a real client before it.

The same against whole server processes is in ``tests/servers``.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from daphne.server import Server
from websockets.exceptions import InvalidStatus
from websockets.frames import Close, Frame, Opcode

from tests.fakes import Wire, scope
from tests.servers.daphne.peer import Daphne, Recorder, asgi_peer, settled
from wsconsumer import ConnectionClosed, WebsocketConsumer, servers
from wsconsumer.servers.daphne.fallback import explain_fallback
from wsconsumer.servers.daphne.send import DaphneSend

if TYPE_CHECKING:
    from collections.abc import Callable


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


async def denial(status: int, *headers: tuple[bytes, bytes]) -> bytes:
    """Return what a client gets for a denial with a body."""

    async def application(scope: Any, receive: Any, send: Any) -> None:
        start = {"type": "websocket.http.response.start", "status": status, "headers": headers}
        await send(start)
        await send({"type": "websocket.http.response.body", "body": b"sorry"})

    response: bytes = (await asgi_peer(application)).transport.value()
    return response.lower()


async def test_a_denial_says_its_length_once() -> None:
    """Headers about the length are ours: two that differ are a hole (RFC 9112 section 6.3)."""
    response = await denial(403, (b"Transfer-Encoding", b"chunked"), (b"Content-Length", b"9"))
    assert b"transfer-encoding" not in response
    assert response.count(b"content-length") == 1
    assert response.endswith(b"content-length: 5\r\n\r\nsorry")


@pytest.mark.parametrize("status", [204, 304])
async def test_a_denial_without_a_body(status: int) -> None:
    """What may have no body gets none (RFC 9110 sections 15.3.5 and 15.4.5)."""
    response = await denial(status)
    assert b"content-length" not in response
    assert response.endswith(b"connection: close\r\n\r\n")


@pytest.mark.parametrize("status", [101, 103, 600])
async def test_a_denial_that_is_none(status: int) -> None:
    """A status that does not end the handshake is an error of the application."""

    async def application(scope: Any, receive: Any, send: Any) -> None:
        with pytest.raises(ValueError, match=f"200 to 599, got {status}"):
            await send({"type": "websocket.http.response.start", "status": status})

    await (await asgi_peer(application)).task


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


# Where daphne is not what we know


async def test_other_servers_are_left_alone() -> None:
    """A send that is no partial, or none of daphne's, is not touched."""
    wire = Wire()
    send: Any
    for send in (wire.send, partial(wire.send), partial(print), partial(Wire)):
        assert servers.adapt(scope(), wire.receive, send)[2] is send


async def test_an_unknown_daphne_is_left_alone(caplog: pytest.LogCaptureFixture) -> None:
    """Something of daphne's that is not what we expect is plain ASGI, and the log says so once."""
    explain_fallback.cache_clear()
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
        assert isinstance(send, DaphneSend)
        adapted = servers.adapt(scope, receive, send)
        assert (adapted[1], adapted[2]) == (receive, send)

    await (await asgi_peer(application)).task
