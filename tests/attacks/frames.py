"""Malformed frames, a table of bytes: each ends its connection, and nobody else notices."""

import asyncio
from collections.abc import Iterator
from contextlib import suppress

from tests.attacks.table import Finding, attack
from tests.servers.harness import SOON, Server, new_key

AT_ONCE = 8
MASK = bytes(4)


def frame(first: int, payload: bytes = b"", length: bytes | None = None, masked: int = 1) -> bytes:
    """Return a frame of these bits; `length` replaces the bytes that say how long it is."""
    if length is None:
        size = len(payload)
        length = bytes([size]) if size < 126 else b"\x7e" + size.to_bytes(2)
    bits = bytes([masked << 7 | length[0]]) + length[1:]
    return bytes([first]) + bits + MASK * masked + payload


TEXT, BINARY, CLOSE, PING, PONG = 0x81, 0x82, 0x88, 0x89, 0x8A
BAD_UTF8 = [
    b"\xff", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\x80", b"\xe2\x82", b"a\xfe",
    b"\xf8\x88\x80\x80\x80", b"\xed\xbf\xbf", b"\xc1\xbf", b"\xf0\x80\x80\xaf", b"ok\xce",
]  # fmt: skip
BAD_CODES = [0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 9999, 65535]
LENGTHS = {
    "the sign bit": b"\x7f" + (1 << 63).to_bytes(8),
    "all ones": b"\x7f" + b"\xff" * 8,
    "2**62": b"\x7f" + (1 << 62).to_bytes(8),
    "2**40": b"\x7f" + (1 << 40).to_bytes(8),
    "2**33": b"\x7f" + (1 << 33).to_bytes(8),
}


def cases() -> Iterator[tuple[str, bytes]]:
    """Return names and bytes."""
    yield from bits()
    yield from order()
    yield from controls()
    yield from texts()
    for name, length in LENGTHS.items():
        for first in (TEXT, BINARY, 0x01, PING, CLOSE):
            yield f"length {name}, {first:#x}", frame(first, b"x" * 100, length)
    yield from truncated()


def bits() -> Iterator[tuple[str, bytes]]:
    """Return reserved bits and opcodes."""
    for reserved in range(1, 8):
        for opcode in (TEXT, BINARY, PING, CLOSE):
            first = opcode | reserved << 4
            yield f"reserved {reserved}, {opcode:#x}", frame(first, b"\x03\xe8")
    for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15):
        for fin in (0x80, 0):
            yield f"opcode {opcode}, fin {fin:#x}", frame(fin | opcode, b"x")


def order() -> Iterator[tuple[str, bytes]]:
    """Return frames without a mask, and fragments in the wrong place."""
    for first in (TEXT, BINARY, PING, PONG, CLOSE, 0x01, 0x80):
        yield f"no mask, {first:#x}", frame(first, b"\x03\xe8", masked=0)
    for first in (0x00, 0x80):
        yield f"continues nothing, {first:#x}", frame(first, b"x")
    for first in (TEXT, BINARY, 0x01, 0x02):
        yield f"begins within a message, {first:#x}", frame(0x01, b"x") + frame(first, b"y")


def controls() -> Iterator[tuple[str, bytes]]:
    """Return control frames that are too long or in fragments, and closes that say nonsense."""
    for first in (CLOSE, PING, PONG):
        for size in (126, 127, 200, 1000, 65_535):
            yield f"{first:#x} of {size}", frame(first, b"\x03\xe8" + b"x" * (size - 2))
        yield f"{first:#x} in fragments", frame(first & 0x0F, b"\x03\xe8") + frame(0x80, b"x")
    for code in BAD_CODES:
        for reason in (b"", b"why"):
            yield f"close {code} {reason!r}", frame(CLOSE, code.to_bytes(2) + reason)
    yield "close of one byte", frame(CLOSE, b"\x03")
    for text in BAD_UTF8:
        yield f"close reason {text!r}", frame(CLOSE, b"\x03\xe8" + text)


def texts() -> Iterator[tuple[str, bytes]]:
    """Return texts that are not UTF-8, whole and in fragments."""
    for text in BAD_UTF8:
        yield f"text {text!r}", frame(TEXT, text)
        yield f"end of text {text!r}", frame(0x01, b"good") + frame(0x80, text)
        yield f"split text {text!r}", frame(0x01, text[:1]) + frame(0x80, text[1:])


def truncated() -> Iterator[tuple[str, bytes]]:
    """Return frames that end too soon; the client says that no more will come."""
    for first in (TEXT, BINARY, PING, CLOSE):
        whole = frame(first, b"\x03\xe8" + b"x" * 20)
        for size in (1, 2, 4, 6, 10, len(whole) - 1):
            yield f"{first:#x} cut after {size}", whole[:size]
    yield "nothing", b""
    yield "HTTP", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
    yield "half a message", frame(0x01, b"x")


CASES = dict(cases())


async def ends(server: Server, octets: bytes) -> bool:
    """Send octets; tell whether the server ends the connection, told that no more will come."""
    try:
        async with server.raw(f"/ws/echo/{new_key()}/") as (reader, writer):
            with suppress(ConnectionError):
                writer.write(octets)
                await writer.drain()
                reading = asyncio.ensure_future(reader.read())
                await asyncio.wait([reading], timeout=SOON / 6)
                if not reading.done():
                    writer.write_eof()
                    await asyncio.wait([reading], timeout=SOON)
                has_ended = reading.done()
                reading.cancel()
                await asyncio.wait([reading])
                return has_ended
            return True
    except TimeoutError:
        return False


@attack(
    "{count} malformed frames: the connection ends, and a socket beside it echoes",
    full=len(CASES),
    quick=len(CASES),
)
async def frames(server: Server, count: int) -> Finding:
    names = list(CASES)[:: len(CASES) // count][:count]
    has_ended: dict[str, bool] = {}
    todo = iter(names)
    async with await server.open(f"/ws/echo/{new_key()}/") as other:
        turn = asyncio.Lock()

        async def work() -> None:
            for name in todo:
                has_ended[name] = await ends(server, CASES[name])
                async with turn, asyncio.timeout(SOON):
                    await other.send(name)
                    assert await other.recv() == name, "the socket beside them got something else"

        async with asyncio.TaskGroup() as tasks:
            for _ in range(AT_ONCE):
                tasks.create_task(work())
    lines = [*server.output.all(), *(event["text"] for event in server.journal.logged())]
    tracebacks = sum(line.count("Traceback (most") for line in lines)
    open_ones = [name for name, ended in has_ended.items() if not ended]
    text = f"{len(names) - len(open_ones)} of {len(names)}"
    if open_ones:
        text += f"; open: {', '.join(open_ones[:3])}"
    if tracebacks:
        text += f"; {tracebacks} tracebacks"
    return Finding(text, not (open_ones or tracebacks))
