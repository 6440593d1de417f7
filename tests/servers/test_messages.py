"""Messages in both directions, over the wire of a real server."""

import asyncio

from tests.servers.harness import Server, new_key

MEGABYTE = 1_000_000


async def test_connects(server: Server) -> None:
    """A consumer that decides nothing is connected, and is told of it first."""
    key = new_key()
    async with server.connect(f"/ws/echo/{key}/"):
        pass
    assert (await server.ended(key)).names == ["connect", "disconnect", "end"]


async def test_echoes_text(server: Server) -> None:
    """A text message comes in and goes out as `str`, whatever the characters."""
    async with server.connect(f"/ws/echo/{new_key()}/") as websocket:
        await websocket.send("grüße ✓ 𝄞 \x00")
        assert await websocket.recv() == "grüße ✓ 𝄞 \x00"


async def test_echoes_binary(server: Server) -> None:
    """A binary message comes in and goes out as `bytes`, whatever the bytes."""
    async with server.connect(f"/ws/echo/{new_key()}/") as websocket:
        await websocket.send(bytes(range(256)))
        assert await websocket.recv() == bytes(range(256))


async def test_receives_empty_frames(server: Server) -> None:
    """An empty message reaches `receive()` with the type it was sent in."""
    async with server.connect(f"/ws/describe/{new_key()}/") as websocket:
        await websocket.send("")
        assert await websocket.recv() == "str 0"
        await websocket.send(b"")
        assert await websocket.recv() == "bytes 0"


async def test_sends_empty_frames(server: Server) -> None:
    """An empty message reaches the client with the type it was sent in."""
    async with server.connect(f"/ws/empty/{new_key()}/") as websocket:
        await websocket.send("go")
        assert [await websocket.recv() for _ in range(3)] == ["", b"", "end"]


async def test_receives_fragments(server: Server) -> None:
    """A message that comes in fragments reaches `receive()` whole."""
    async with server.connect(f"/ws/echo/{new_key()}/") as websocket:
        await websocket.send(["in ", "three ", "parts"])
        assert await websocket.recv() == "in three parts"


async def test_echoes_a_megabyte_of_text(server: Server) -> None:
    """A text message of a megabyte survives the way there and back."""
    text = "0123456789" * (MEGABYTE // 10)
    async with server.connect(f"/ws/echo/{new_key()}/") as websocket:
        await websocket.send(text)
        assert await websocket.recv() == text


async def test_echoes_a_megabyte_of_binary(server: Server) -> None:
    """A binary message of a megabyte survives the way there and back."""
    data = bytes(range(250)) * (MEGABYTE // 250)
    async with server.connect(f"/ws/echo/{new_key()}/") as websocket:
        await websocket.send(data)
        assert await websocket.recv() == data


async def test_sends_a_long_message(server: Server) -> None:
    """What the server takes from clients at most is no limit for what the consumer sends."""
    size = 20 * MEGABYTE
    async with server.connect(f"/ws/pours/1/{size}/{new_key()}/", max_size=None) as websocket:
        assert len(await websocket.recv()) == size


async def test_keeps_the_order_of_messages(server: Server) -> None:
    """Fifty messages sent without waiting are answered in order."""
    messages = [f"message {number}" for number in range(50)]
    async with server.connect(f"/ws/echo/{new_key()}/") as websocket:
        for message in messages:
            await websocket.send(message)
        assert [await websocket.recv() for _ in messages] == messages


async def test_answers_pings_while_idle(server: Server) -> None:
    """A ping is answered while the consumer has nothing to do."""
    async with server.connect(f"/ws/echo/{new_key()}/") as websocket:
        await (await websocket.ping())


async def test_serves_200_connections_at_once(server: Server) -> None:
    """Two hundred connections, all open at the same time, each get their own echo."""
    keys = [new_key() for _ in range(200)]
    all_open = asyncio.Barrier(len(keys))

    async def echo(key: str) -> str | bytes:
        async with server.connect(f"/ws/echo/{key}/") as websocket:
            await all_open.wait()
            await websocket.send(key)
            return await websocket.recv()

    assert await asyncio.gather(*map(echo, keys)) == keys
    await server.journal.wait(*keys, event="end")
    assert all(len(server.journal.story(key).disconnects) == 1 for key in keys)
