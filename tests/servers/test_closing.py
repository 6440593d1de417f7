"""The closing handshake, begun by either side, and a client that leaves without one."""

import asyncio
from contextlib import nullcontext, suppress

import pytest
from websockets.asyncio.client import ClientConnection

from tests.servers.harness import SOON, Server, frame, new_key

CLOSE = frame(8, (1000).to_bytes(2))
CODES = [1000, 1001, 1008, 1009, 1011, 1012, 1013, 4000, 4999]


def vanish(websocket: ClientConnection) -> None:
    """Drop the TCP connection as a client does that lost its network."""
    websocket.transport.abort()


@pytest.mark.parametrize("code", CODES)
async def test_server_close(server: Server, code: int) -> None:
    """The client sees the code and the reason given to `close()`, and so does `disconnect()`."""
    key = new_key()
    async with server.connect(f"/ws/close/{code}/{key}/") as websocket:
        await websocket.send("go")
        await websocket.wait_closed()
    assert (websocket.close_code, websocket.close_reason) == (code, f"because {code}")
    assert (await server.ended(key)).disconnects == [(code, f"because {code}")]


@pytest.mark.parametrize("path", ["/ws/close/4000/", "/ws/close/1011/", "/ws/echo/"])
async def test_orderly_end(server: Server, path: str) -> None:
    """Once both close frames were exchanged TCP ends without a reset, whoever closed first."""
    key = new_key()
    async with server.raw(f"{path}{key}/") as (reader, writer):
        is_client_first = path == "/ws/echo/"
        writer.write(CLOSE if is_client_first else frame(1, b"go"))
        head = await reader.readexactly(2)
        await reader.readexactly(head[1])
        assert head[0] == 0x88
        if not is_client_first:
            writer.write(CLOSE)
        # A reset is a ConnectionResetError; granian may close before it has read our answer.
        with suppress(ConnectionResetError) if server.name == "granian" else nullcontext():
            assert await reader.read() == b""
    await server.ended(key)


async def test_server_close_at_once(server: Server) -> None:
    """A consumer may accept, send and close in `connect()`, and the client sees all three."""
    key = new_key()
    async with server.connect(f"/ws/close-at-once/{key}/") as websocket:
        assert await websocket.recv() == "sorry"
        await websocket.wait_closed()
    assert (websocket.close_code, websocket.close_reason) == (4001, "full")
    assert (await server.ended(key)).disconnects == [(4001, "full")]


async def test_server_close_from_a_task(server: Server) -> None:
    """A task of the connection may close it while the consumer waits for a message."""
    key = new_key()
    async with server.connect(f"/ws/closes-in-task/{key}/") as websocket:
        async with asyncio.timeout(SOON):
            await websocket.wait_closed()
    assert (websocket.close_code, websocket.close_reason) == (4002, "time is up")
    assert (await server.ended(key)).disconnects == [(4002, "time is up")]


@pytest.mark.parametrize("code", [1000, 1001, 3000, 4999])
async def test_client_close_code(server: Server, code: int) -> None:
    """`disconnect()` is given the code that the client closed with."""
    key = new_key()
    async with server.connect(f"/ws/echo/{key}/") as websocket:
        await websocket.close(code)
    assert [code for code, _ in (await server.ended(key)).disconnects] == [code]


async def test_client_close_reason(server: Server) -> None:
    """`disconnect()` is given the reason that the client closed with."""
    key = new_key()
    async with server.connect(f"/ws/echo/{key}/") as websocket:
        await websocket.close(4321, "farewell ✓")
    assert (await server.ended(key)).disconnects == [(4321, "farewell ✓")]


async def test_client_close_without_code(server: Server) -> None:
    """A close frame without a code, which is a browser's `close()`, is 1005 (RFC 6455, 7.1.5)."""
    key = new_key()
    async with server.connect(f"/ws/echo/{key}/") as websocket:
        async with websocket.send_context():
            websocket.protocol.send_close()
        await websocket.wait_closed()
    assert (await server.ended(key)).disconnects == [(1005, "")]


async def test_client_vanishes_while_idle(server: Server) -> None:
    """A dropped TCP connection runs `disconnect()` once."""
    key = new_key()
    async with server.connect(f"/ws/echo/{key}/") as websocket:
        vanish(websocket)
    assert (await server.ended(key)).names == ["connect", "disconnect", "end"]


async def test_client_vanishes_without_code(server: Server) -> None:
    """The close code of a dropped TCP connection is 1006 (RFC 6455, 7.1.5)."""
    key = new_key()
    async with server.connect(f"/ws/echo/{key}/") as websocket:
        vanish(websocket)
    assert (await server.ended(key)).disconnects == [(1006, "")]


async def test_client_vanishes_while_a_task_waits(server: Server) -> None:
    """The connection's task is cancelled before `disconnect()` runs, once."""
    key = new_key()
    async with server.connect(f"/ws/waits-in-task/{key}/") as websocket:
        await server.journal.wait(key, event="wait began")
        vanish(websocket)
    story = await server.ended(key)
    assert story.names == ["wait began", "wait ended", "disconnect", "end"]
    assert story.how("wait ended") == "raised CancelledError"


async def test_client_vanishes_while_a_task_sends(server: Server) -> None:
    """A task that sends without end is stopped before `disconnect()` runs, with no error logged."""
    key = new_key()
    async with server.connect(f"/ws/pushes/{key}/") as websocket:
        await websocket.recv()
        vanish(websocket)
    story = await server.ended(key)
    assert story.names == ["push began", "push ended", "disconnect", "end"]
    assert story.how("push ended") in {"raised CancelledError", "raised ConnectionClosed"}
    assert server.journal.logged(key) == []


async def test_client_vanishes_during_receive(server: Server) -> None:
    """A `receive()` that waits is cancelled when the client has gone, and `disconnect()` runs."""
    key = new_key()
    async with server.connect(f"/ws/waits-in-receive/{key}/") as websocket:
        await websocket.send("go")
        await server.journal.wait(key, event="wait began")
        vanish(websocket)
    story = await server.ended(key)
    assert story.names == ["connect", "wait began", "wait ended", "disconnect", "end"]
    assert story.how("wait ended") == "raised CancelledError"


async def test_client_closes_behind_unread_messages(server: Server) -> None:
    """A client that sends more than is read ahead, and closes, ends the hook that runs."""
    key = new_key()
    websocket = await server.open(f"/ws/waits-in-receive/{key}/")
    for _ in range(40):
        await websocket.send("x")
    await server.journal.wait(key, event="wait began")
    async with asyncio.timeout(SOON):
        closing = asyncio.create_task(websocket.close(4000))
        await server.journal.wait(key, event="wait ended")
    await closing
    assert (await server.ended(key)).how("wait ended") == "raised CancelledError"


async def test_client_vanishes_behind_unread_messages(server: Server) -> None:
    """The same for one that drops its connection, whatever the server has not read yet."""
    key = new_key()
    async with server.raw(f"/ws/waits-in-receive/{key}/") as (_, writer):
        writer.write(frame(1, b"x") * 5000)
        await server.journal.wait(key, event="wait began")
        await writer.drain()
    async with asyncio.timeout(SOON):
        await server.journal.wait(key, event="wait ended")
    assert (await server.ended(key)).how("wait ended") == "raised CancelledError"
