"""The Origin table on the wire: handshakes in bytes that no client library would send."""

import asyncio

import pytest

from tests.origins import ORIGINS
from tests.servers.harness import HOST, PATIENCE, Server, new_key

# HTTP itself takes white space around a value away, so these reach no application as they are.
ON_THE_WIRE = [row for row in ORIGINS if row[0] not in {"space", "newline", "idn"}]


async def shake(
    server: Server, host: str, origins: list[bytes], secure: bool, proto: bytes = b"https"
) -> int:
    """Ask for a websocket, and return the status of the answer."""
    lines = [
        b"GET /ws/echo/%b/ HTTP/1.1" % new_key().encode(),
        b"Host: " + host.encode(),
        b"Upgrade: websocket",
        b"Connection: Upgrade",
        b"Sec-WebSocket-Version: 13",
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        *(b"Origin: " + origin for origin in origins),
        *([b"X-Forwarded-Proto: " + proto] if secure else []),
    ]
    async with asyncio.timeout(PATIENCE):
        reader, writer = await asyncio.open_connection(HOST, server.port)
        writer.write(b"\r\n".join(lines) + b"\r\n\r\n")
        status_line = await reader.readline()
        writer.close()
        await writer.wait_closed()
    return int(status_line.split()[1]) if status_line else 0


@pytest.mark.parametrize(
    ("origin", "host", "secure", "allowed"),
    [row[1:] for row in ON_THE_WIRE],
    ids=[row[0] for row in ON_THE_WIRE],
)
async def test_origin(
    server: Server, origin: str | None, host: str, secure: bool, allowed: bool
) -> None:
    """Own, listed and absent origins are let in, and no others."""
    origins = [] if origin is None else [origin.encode("latin-1")]
    status = await shake(server, host, origins, secure)
    assert (status == 101) is allowed
    assert allowed or status in {400, 403, 500, 0}


async def test_own_international_origin(server: Server) -> None:
    """A name beyond ASCII is compared as the wire has it, in Punycode."""
    host = "xn--bcher-kva.example.org"
    assert await shake(server, host, [b"http://" + host.encode()], secure=False) == 101


async def test_several_origins(server: Server) -> None:
    """Two Origin headers are refused, even when both are good."""
    assert await shake(server, "example.com", [b"http://example.com"] * 2, secure=False) != 101


async def test_another_host(server: Server) -> None:
    """A host that is not ours is refused."""
    assert await shake(server, "evil.com", [], secure=False) in {400, 403}


async def test_a_proxy_that_says_wss(server: Server) -> None:
    """A page from http may not open what a proxy says came by wss; one from https may."""
    for origin, allowed in ((b"https://example.com", True), (b"http://example.com", False)):
        status = await shake(server, "example.com", [origin], secure=True, proto=b"wss")
        assert (status == 101) is allowed
