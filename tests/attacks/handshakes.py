"""Malformed handshakes, a table of bytes: each is answered or dropped, and nobody else notices."""

import asyncio
from collections.abc import Iterator
from contextlib import suppress

from tests.attacks.table import Finding, attack
from tests.servers.harness import HOST, SOON, Server, new_key

KEY = "AAAAAAAAAAAAAAAAAAAAAA=="
AT_ONCE = 8

HEADERS = {
    "Host": "{host}",
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": KEY,
}
"""Those of a good handshake."""

METHODS = ["POST", "PUT", "DELETE", "OPTIONS", "CONNECT", "TRACE", "PRI", "get", "G\x00T", ""]
VERSIONS = ["HTTP/1.0", "HTTP/0.9", "HTTP/2.0", "HTTP/3", "HTTP/1.11", "HTTP/x", "http/1.1", ""]
TARGETS = [
    "%0a", "%0d%0a", "%1b[31m", "%00", "%ff%fe", "%zz", "%", "\x01", "\x1b[31m", "\x7f", "é",
    "a b", "?" + "q" * 4000, "a" * 4000, "a" * 70_000, "%e2%80%ae", ";a=b", "#fragment", "..%2f..",
    "/" * 500, "?x=%0a%1b", "{{7*7}}", "%25n%25n", "\\..\\..",
]  # fmt: skip
"""Ends of a path that no handshake should have."""

VALUES = {
    "Host": [
        "", "a b", "evil.test", "{host}, {host}", "[::1", "{host}:99999", "{host}:x", "x" * 9000,
        "\x1b[31m", "user@{host}", "{host}/path", "é.test", "xn--a", "%0a", "..",
    ],
    "Origin": [
        "null", "http://evil.test", "http://[", "http://{host}@evil.test", "%0a", "x" * 9000,
        "http://{host}\x1b[31m", "javascript:alert(1)", "http://{host}:x", "://", "\xff",
        "http://{host}.evil.test", "http://{host} http://{host}", "file://",
    ],
    "Upgrade": ["", "h2c", "websocket2", "websocket, h2c", "WEBSOCKET\x00", "x" * 9000],
    "Connection": ["", "close", "keep-alive", "Upgrade, Upgrade, close", "x" * 9000, "\x00"],
    "Sec-WebSocket-Version": ["", "0", "12", "14", "-1", "13, 8", "9" * 400, "thirteen", "1e1"],
    "Sec-WebSocket-Key": [
        "", "=", "short", "A" * 24, "A" * 9000, "é" * 24, "AAAA AAAA", KEY + KEY, "\x00" * 16,
    ],
    "Sec-WebSocket-Protocol": ["", ",", ",,,", "a b", "\x00", "é", "x" * 9000, "a," * 2000],
    "Sec-WebSocket-Extensions": [
        "", ";", "permessage-deflate; server_max_window_bits=99", "x" * 9000, "\x00",
        "permessage-deflate; client_max_window_bits=a", "permessage-deflate," * 300, "é",
    ],
    "Content-Type": [
        "a/b; x*=nosuch'en'%41", "a/b; charset=nosuch", "multipart/form-data", "\x00", "é",
        "multipart/form-data; boundary=" + "b" * 300, "a/b; x*0=1; x*2=3", ";;;", "a" * 9000,
    ],
    "Content-Length": ["-1", "x", "5, 5", "9" * 40, "0x10", "+5", "1_0", ""],
    "Transfer-Encoding": ["chunked", "gzip", "chunked, chunked", "x", "identity", ""],
    "Cookie": ["a" * 9000, "a=b;" * 3000, "\x00", "é=é", "=", ";;;;", "a=\"b", "sessionid=%00"],
    "Expect": ["100-continue", "200-ok"],
    "Forwarded": ["for=\"", "for=;;;"],
    "X-Forwarded-Proto": ["https, http", "\x00", "javascript"],
    "X-Forwarded-For": ["%0a", "x" * 9000],
    "Accept-Language": ["x" * 9000, "a-" * 500, "é"],
    "Authorization": ["Basic \xff", "Bearer " + "x" * 9000],
}  # fmt: skip
"""What headers should not have for a value, whether a good handshake has them or not."""


def request(
    headers: dict[str, str], method: str = "GET", target: str = "", version: str = "HTTP/1.1"
) -> str:
    """Return a request, with as many things wrong as it is told."""
    lines = [f"{method} /ws/echo/{target or 'key/'} {version}"]
    return "\r\n".join([*lines, *(f"{name}: {value}" for name, value in headers.items()), "", ""])


def cases() -> Iterator[tuple[str, str]]:
    """Return names and texts; `{host}` stands for the server's."""
    good = request(HEADERS)
    for method in METHODS:
        yield f"method {method!r}", request(HEADERS, method=method)
    for version in VERSIONS:
        yield f"version {version!r}", request(HEADERS, version=version)
    for target in TARGETS:
        yield f"path {target[:20]!r}", request(HEADERS, target=target)
    for name, values in VALUES.items():
        for value in values:
            yield f"{name}: {value[:20]!r}", request({**HEADERS, name: value})
    for name in HEADERS:
        rest = {other: value for other, value in HEADERS.items() if other != name}
        yield f"no {name}", request(rest)
        again = f"\r\n{name}: other\r\n\r\n"
        yield f"two of {name}", good.removesuffix("\r\n\r\n") + again
    yield from shapes(good)


def shapes(good: str) -> Iterator[tuple[str, str]]:
    """Return what is wrong with the lines themselves."""
    head = good.removesuffix("\r\n\r\n")
    yield "bare line feeds", good.replace("\r\n", "\n")
    yield "bare carriage returns", good.replace("\r\n", "\r")
    yield "empty lines first", "\r\n\r\n\r\n" + good
    yield "a folded header", f"{head}\r\nX-A: b\r\n c\r\n\r\n"
    yield "a header without a colon", f"{head}\r\nX-A\r\n\r\n"
    yield "a header without a name", f"{head}\r\n: b\r\n\r\n"
    yield "a space before the colon", f"{head}\r\nX-A : b\r\n\r\n"
    yield "a NUL in a name", f"{head}\r\nX\x00A: b\r\n\r\n"
    yield "2,000 headers", head + "\r\nX-A: b" * 2000 + "\r\n\r\n"
    yield "a header of 300 kB", f"{head}\r\nX-A: {'b' * 300_000}\r\n\r\n"
    yield "two lengths", f"{head}\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx"
    yield (
        "a length and chunks",
        (f"{head}\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    )
    yield "no headers", "GET /ws/echo/key/ HTTP/1.1\r\n\r\n"
    yield "nothing", ""
    yield "half a line", "GET /ws/ec"
    yield "half the headers", good[: len(good) // 2]
    yield "TLS", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + "\xaa" * 200
    yield "HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + "\x00\x00\x00\x04" + "\x00" * 5
    yield "noise", "".join(chr(number * 37 % 256) for number in range(2000))


CASES = dict(cases())


async def status(server: Server, text: str) -> str:
    """Send a request; return the status of the answer, "dropped", or "" for neither."""
    reader, writer = await asyncio.open_connection(HOST, server.port, limit=1 << 20)
    try:
        async with asyncio.timeout(SOON):
            with suppress(ConnectionError):
                writer.write(text.replace("{host}", f"{HOST}:{server.port}").encode("latin-1"))
                await writer.drain()
            with suppress(ConnectionError):
                head = await answer(reader, writer)
                return head.split(b" ")[1].decode() if head.startswith(b"HTTP/") else "dropped"
            return "dropped"
    except TimeoutError:
        return ""
    finally:
        writer.transport.abort()


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    """Read the first line of the answer; one that waits for more is told that none will come."""
    line = asyncio.ensure_future(reader.readline())
    await asyncio.wait([line], timeout=SOON / 6)
    if not line.done():
        writer.write_eof()
    return await line


@attack(
    "{count} malformed handshakes: answered or dropped, and a socket beside them echoes",
    full=len(CASES),
    quick=len(CASES),
)
async def handshakes(server: Server, count: int) -> Finding:
    names = list(CASES)[:: len(CASES) // count][:count]
    answers: dict[str, str] = {}
    todo = iter(names)
    async with await server.open(f"/ws/echo/{new_key()}/") as other:
        turn = asyncio.Lock()

        async def work() -> None:
            for name in todo:
                answers[name] = await status(server, CASES[name])
                async with turn, asyncio.timeout(SOON):
                    await other.send(name)
                    assert await other.recv() == name, "the socket beside them got something else"

        async with asyncio.TaskGroup() as tasks:
            for _ in range(AT_ONCE):
                tasks.create_task(work())
    return judged(server, answers)


def judged(server: Server, answers: dict[str, str]) -> Finding:
    """Count those that were answered or dropped; name the others, and the kinds of tracebacks."""
    silent = [name for name, status in answers.items() if not status]
    errors = [name for name, status in answers.items() if status == "500"]
    lines = [*server.output.all(), *(event["text"] for event in server.journal.logged())]
    tracebacks = sum(line.count("Traceback (most") for line in lines)
    text = f"{len(answers) - len(silent)} of {len(answers)}"
    for problem, found in (("no answer", silent), ("500", errors)):
        if found:
            text += f"; {len(found)} {problem}: {', '.join(found[:3])}"
    if tracebacks:
        text += f"; {tracebacks} tracebacks"
    return Finding(text.replace("|", "/"), not (silent or errors or tracebacks))
