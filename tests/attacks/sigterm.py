"""SIGTERM with a crowd of sockets."""

import asyncio
import time

from tests.attacks.table import Finding, attack
from tests.servers.harness import HOST, Server, new_key

AT_ONCE = 50
BOUND = 20.0
"""Seconds within which the server must have exited."""


async def open_one(server: Server, key: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Open a websocket that waits."""
    reader, writer = await asyncio.open_connection(HOST, server.port, limit=1 << 12)
    writer.write(
        f"GET /ws/echo/{key}/ HTTP/1.1\r\nHost: {HOST}:{server.port}\r\n"
        "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n".encode()
    )
    await reader.readuntil(b"\r\n\r\n")
    return reader, writer


async def is_told(reader: asyncio.StreamReader) -> bool:
    """Tell whether the last thing that comes is a close frame with 1012."""
    try:
        return b"\x88\x02\x03\xf4" in await reader.read()
    except ConnectionError:
        return False


@attack(
    "{count:,} sockets at SIGTERM: those told 1012, disconnect(), the time until it exits",
    full=2_000,
    quick=50,
)
async def sigterm(server: Server, count: int) -> Finding:
    keys = [new_key() for _ in range(count)]
    clients = []
    for start in range(0, count, AT_ONCE):
        some = keys[start : start + AT_ONCE]
        clients += await asyncio.gather(*(open_one(server, key) for key in some))
    readers = asyncio.gather(*(is_told(reader) for reader, _ in clients))
    began = time.monotonic()
    server.terminate()
    has_exited = await asyncio.to_thread(server.has_exited, BOUND)
    seconds = time.monotonic() - began
    for _, writer in clients:
        writer.transport.abort()
    told = sum(await readers)
    left = sum(event["event"] == "disconnect" for event in server.journal.events())
    end = f"{seconds:.1f} s" if has_exited else f"not in {BOUND:.0f} s"
    is_good = has_exited and (told, left) == (count, count)
    return Finding(f"{told:,} told, {left:,} disconnect(), {end}", is_good)
