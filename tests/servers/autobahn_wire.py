"""A client that speaks WebSocket frame by frame, and so may break every rule of RFC 6455.

`Frame` is one frame with nothing checked; `Wire` writes octets in the pieces it is told to, and
reads what the server sends into frames.
"""

import asyncio
import base64
import hashlib
import secrets
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

from tests.servers.harness import HOST

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10


@dataclass(frozen=True)
class Frame:
    """One frame, legal or not."""

    opcode: int
    payload: bytes = b""
    fin: bool = True
    rsv: int = 0
    is_masked: bool = False
    """Of a frame that came in; a server's must not be (RFC 6455, 5.1)."""

    def masked(self) -> bytes:
        """Return the frame as a client sends it, under a mask of its own (RFC 6455, 5.3)."""
        mask = secrets.token_bytes(4)
        length = len(self.payload)
        key = int.from_bytes((mask * (length // 4 + 1))[:length])
        body = (int.from_bytes(self.payload) ^ key).to_bytes(length)
        return bytes([self.fin << 7 | self.rsv << 4 | self.opcode]) + _length(length) + mask + body


def _length(length: int) -> bytes:
    """Return the mask bit and the length (RFC 6455, 5.2)."""
    if length < 126:
        return bytes([0x80 | length])
    if length < 1 << 16:
        return bytes([0x80 | 126]) + length.to_bytes(2)
    return bytes([0x80 | 127]) + length.to_bytes(8)


def close(code: int, reason: bytes = b"") -> Frame:
    """Return a close frame; neither the code nor the reason need be legal."""
    return Frame(CLOSE, code.to_bytes(2) + reason)


class NotUpgraded(Exception):
    """The server did not answer the opening handshake as it must."""


class Wire:
    """An open connection: octets out, frames in."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._frames: asyncio.Queue[Frame | None] = asyncio.Queue()

    async def write(self, pieces: Iterable[bytes]) -> None:
        """Write each piece by itself, as long as the server listens."""
        # The server may fail the connection at any piece; the frames that it sent tell.
        with suppress(ConnectionError):
            for piece in pieces:
                self._writer.write(piece)
                await self._writer.drain()
                await asyncio.sleep(0)  # so that the pieces leave one by one

    async def frame(self) -> Frame | None:
        """Return the next frame, or None once the server has closed the TCP connection."""
        return await self._frames.get()

    async def read(self) -> None:
        """Read frames until the end."""
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                self._frames.put_nowait(await self._read_frame())
        self._frames.put_nowait(None)

    async def _read_frame(self) -> Frame:
        first, second = await self._reader.readexactly(2)
        length = second & 0x7F
        if length >= 126:
            length = int.from_bytes(await self._reader.readexactly(2 if length == 126 else 8))
        is_masked = bool(second & 0x80)
        payload = await self._reader.readexactly(length + 4 * is_masked)
        return Frame(first & 0x0F, payload, bool(first & 0x80), first >> 4 & 0x07, is_masked)


@asynccontextmanager
async def connected(port: int, path: str) -> AsyncIterator[Wire]:
    """Open a connection without extensions, and drop it when the block ends."""
    reader, writer = await asyncio.open_connection(HOST, port)
    try:
        await _shake_hands(reader, writer, f"{HOST}:{port}", path)
        wire = Wire(reader, writer)
        reading = asyncio.create_task(wire.read())
        try:
            yield wire
        finally:
            reading.cancel()
    finally:
        writer.transport.abort()


async def _shake_hands(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, host: str, path: str
) -> None:
    """Do the opening handshake (RFC 6455, 4.1)."""
    key = base64.b64encode(secrets.token_bytes(16)).decode()
    lines = [
        f"GET {path} HTTP/1.1",
        f"Host: {host}",
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        f"Sec-WebSocket-Key: {key}",
    ]
    writer.write("\r\n".join([*lines, "\r\n"]).encode())
    head = await reader.readuntil(b"\r\n\r\n")
    digest = hashlib.sha1(f"{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11".encode()).digest()  # noqa: S324  # as the RFC says
    if not head.startswith(b"HTTP/1.1 101 ") or base64.b64encode(digest) not in head:
        raise NotUpgraded(f"expected a 101 with the accept key, got {head!r}")
