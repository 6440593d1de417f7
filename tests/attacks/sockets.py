"""Many websockets opened by hand, and three ways to leave without a word."""

import asyncio
import ctypes
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.servers.harness import HOST, PATIENCE, Server

AT_ONCE = 50
NARROW = 4096
"""Bytes that the kernel takes for a client that is slow."""

ATTACH_FILTER, DETACH_FILTER, TCP_REPAIR = 26, 27, 19
"""Options of Linux that the socket module has no names for."""

DROP = ctypes.create_string_buffer(struct.pack("HBBI", 0x06, 0, 0, 0))
"""The filter ``return 0``: the kernel takes not a byte of any packet (``man 7 socket``)."""

Pair = tuple[asyncio.StreamReader, asyncio.StreamWriter]


def request(server: Server, path: str) -> bytes:
    """Return an opening handshake."""
    return (
        f"GET {path} HTTP/1.1\r\nHost: {HOST}:{server.port}\r\n"
        "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    ).encode()


async def open_socket(server: Server, path: str, *, is_narrow: bool = False) -> Pair:
    """Open a websocket; raise ``ConnectionError`` if it is refused, whatever the way."""
    client = socket.socket()
    client.setblocking(False)
    if is_narrow:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, NARROW)
    try:
        await asyncio.get_running_loop().sock_connect(client, (HOST, server.port))
        reader, writer = await asyncio.open_connection(sock=client, limit=1 << 10)
    except BaseException:
        client.close()
        raise
    writer.write(request(server, path))
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except BaseException as error:
        writer.transport.abort()
        if isinstance(error, asyncio.IncompleteReadError):
            raise ConnectionError("dropped") from error
        raise
    if not head.startswith(b"HTTP/1.1 101 "):
        writer.transport.abort()
        raise ConnectionError(head.split(b"\r\n")[0].decode())
    return reader, writer


@asynccontextmanager
async def sockets(
    server: Server, path: str, count: int, *, is_narrow: bool = False
) -> AsyncIterator[list[Pair]]:
    """Open so many websockets, and reset those that are still there in the end."""
    pairs: list[Pair] = []
    try:
        for start in range(0, count, AT_ONCE):
            some = range(min(AT_ONCE, count - start))
            async with asyncio.timeout(PATIENCE):
                opening = (open_socket(server, path, is_narrow=is_narrow) for _ in some)
                pairs += await asyncio.gather(*opening)
        yield pairs
    finally:
        for _, writer in pairs:
            writer.transport.abort()


def drop_packets(writer: asyncio.StreamWriter) -> None:
    """
    Let nothing reach this end any more, as if it had left the network: no FIN, no RST, no ACK.

    It takes no rights and no other network, and the server's kernel can't tell it from either.
    """
    program = struct.pack("HP", 1, ctypes.addressof(DROP))
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, ATTACH_FILTER, program)


def take_packets(writer: asyncio.StreamWriter) -> None:
    """Come back into the network."""
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, DETACH_FILTER, 0)


def forget(writer: asyncio.StreamWriter) -> None:
    """
    Forget the connection without a word, as a machine that is switched off and on again.

    Whatever the server sends next is answered with RST. Raises ``PermissionError`` without the
    capability ``CAP_NET_ADMIN``.
    """
    writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, 1)
    writer.transport.abort()
