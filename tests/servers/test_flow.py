"""Neither a client nor an application is made to hold more than it takes."""

import asyncio
import json
import socket
from typing import Any

from tests.servers.harness import HOST, QUIET, Server, new_key

SIZE = 64 * 1024
COUNT = 320
BOUND = 16 * 1024 * 1024
"""How many bytes may wait for the one who does not read, with what both kernels hold of them."""

assert COUNT * SIZE > BOUND


def options(server: Server) -> dict[str, Any]:
    """Make bytes sent be bytes on the wire, of which the kernel holds few on our side."""
    return {"sock": narrow(server), "compression": None}


def narrow(server: Server) -> socket.socket:
    """Connect a socket for which the kernel holds few bytes on our side."""
    client = socket.socket()
    for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
        client.setsockopt(socket.SOL_SOCKET, option, SIZE)
    client.connect((HOST, server.port))
    return client


def numbered(number: int) -> bytes:
    return number.to_bytes(4).ljust(SIZE, b".")


async def test_a_client_that_does_not_read_stops_the_application(server: Server) -> None:
    """An application can't send without end to it; once it reads, all arrives in order."""
    key = new_key()
    path = f"/ws/pours/{COUNT}/{SIZE}/{key}/"
    async with server.connect(path, **options(server)) as websocket:
        await server.journal.wait(key, event="poured")
        assert await server.journal.count(key, "poured") * SIZE < BOUND
        messages = [await websocket.recv() for _ in range(COUNT)]
    assert messages == [numbered(number) for number in range(COUNT)]


async def test_a_busy_consumer_stops_a_client_that_floods(server: Server) -> None:
    """A client can't send without end while a hook runs; once it ends, all is handled in order."""
    key = new_key()
    path = f"/ws/takes-its-time/{key}/"
    sent = 0

    async with server.connect(path, **options(server)) as websocket:

        async def flood() -> None:
            nonlocal sent
            for sent in range(COUNT):
                await websocket.send(numbered(sent))
            await websocket.send("and?")

        task = asyncio.create_task(flood())
        try:
            before = -1
            while sent > before and not task.done():
                before = sent
                await asyncio.wait({task}, timeout=QUIET)
            assert sent * SIZE < BOUND
            async with server.connect(f"/ws/says-go/{key}/{new_key()}/"):
                await task
                assert json.loads(await websocket.recv()) == list(range(COUNT))
        finally:
            task.cancel()
