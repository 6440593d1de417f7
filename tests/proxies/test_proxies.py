"""Each proxy of docs/proxies.md, with the file that stands there, in front of daphne."""

from __future__ import annotations

import asyncio
import http.client
import json
from contextlib import AsyncExitStack, asynccontextmanager, closing, suppress
from typing import TYPE_CHECKING, Any, Final

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidHandshake, InvalidStatus

from tests.proxies.running import PROXIES, Proxy, proxied
from tests.servers.harness import HOST, PATIENCE, Server, new_key, running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The daphne behind all of them."""
    folder = tmp_path_factory.mktemp("daphne")
    with running("daphne", folder, options=["--proxy-headers"]) as server:
        yield server


@pytest.fixture(scope="module", params=PROXIES)
def proxy(
    request: pytest.FixtureRequest, server: Server, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Proxy]:
    """Each proxy, the same for all tests that leave it running."""
    with proxied(request.param, tmp_path_factory.mktemp(request.param), server) as proxy:
        yield proxy


async def open_socket(proxy: Proxy, path: str, **options: Any) -> ClientConnection:
    """Open a websocket through a proxy."""
    bounds = {"open_timeout": PATIENCE, "close_timeout": 3, "ping_interval": None, "proxy": None}
    return await connect(f"ws://{HOST}:{proxy.port}{path}", **{**bounds, **options})


@asynccontextmanager
async def socket(proxy: Proxy, path: str, **options: Any) -> AsyncIterator[ClientConnection]:
    """Open a websocket, and close it when the block ends; bound the time the block takes."""
    async with asyncio.timeout(PATIENCE), await open_socket(proxy, path, **options) as websocket:
        yield websocket


async def echoes(websocket: ClientConnection, data: str | bytes = "hello") -> bool:
    """Return whether a message comes back."""
    async with asyncio.timeout(PATIENCE):
        await websocket.send(data)
        return await websocket.recv() == data


@pytest.mark.parametrize(
    "data", ["hello", b"\x00\xff", "x" * 300_000], ids=["text", "bytes", "long"]
)
async def test_echo(proxy: Proxy, data: str | bytes) -> None:
    """Messages pass both ways, as they are."""
    async with socket(proxy, f"/ws/echo/{new_key()}/") as websocket:
        assert await echoes(websocket, data)


async def test_denial(proxy: Proxy) -> None:
    """A denial passes whole: status, headers and body."""
    with pytest.raises(InvalidStatus) as caught:
        await open_socket(proxy, f"/ws/reject/{new_key()}/")
    response = caught.value.response
    assert (response.status_code, response.body) == (451, b"not in this country")
    assert response.headers["X-Why"] == "law"


async def test_the_consumer_closes(proxy: Proxy) -> None:
    """The client gets its code and its reason."""
    async with socket(proxy, f"/ws/close/4001/{new_key()}/") as websocket:
        await websocket.send("go")
        await websocket.wait_closed()
    assert (websocket.close_code, websocket.close_reason) == (4001, "because 4001")


async def test_the_client_closes(proxy: Proxy, server: Server) -> None:
    """disconnect() gets its code and its reason."""
    key = new_key()
    async with socket(proxy, f"/ws/echo/{key}/") as websocket:
        await websocket.close(4321, "farewell")
    assert (await server.ended(key)).disconnects == [(4321, "farewell")]


async def test_origin(proxy: Proxy) -> None:
    """The site's own pages may open a websocket, and those of others may not."""
    own = f"http://{HOST}:{proxy.port}"
    async with socket(proxy, f"/ws/echo/{new_key()}/", origin=own) as websocket:
        assert await echoes(websocket)
    with pytest.raises(InvalidStatus, match="403"):
        await open_socket(proxy, f"/ws/echo/{new_key()}/", origin="http://evil.com")


async def test_what_the_server_is_told(proxy: Proxy) -> None:
    """Host, scheme and address are what the proxy saw, and not what a client makes up."""
    made_up = {"X-Forwarded-For": "192.0.2.9", "X-Forwarded-Proto": "https"}
    path = f"/ws/tells/{new_key()}/"
    async with socket(proxy, path, additional_headers=made_up) as websocket:
        facts = json.loads(await websocket.recv())
    assert facts["address"] == HOST
    assert facts["host"] == f"{HOST}:{proxy.port}"
    assert facts["is_secure"] is False


KEPT: Final = {"nginx", "haproxy", "apache", "varnish"}
"""Those that keep their sockets when they read a new configuration."""

CUT: Final = {"nginx", "haproxy", "apache", "varnish"}
"""Those that cut a socket which is quiet for too long."""


@pytest.mark.parametrize("name", PROXIES)
async def test_a_reload_and_the_end(name: str, server: Server, tmp_path: Path) -> None:
    """What a socket outlives, and what the client is told where it does not."""
    key = new_key()
    with proxied(name, tmp_path, server) as proxy:
        websocket = await open_socket(proxy, f"/ws/echo/{key}/")
        await asyncio.to_thread(proxy.reload, 1)
        if name in CUT:
            assert await code_of_a_quiet_socket(proxy) == 1006
        if name in KEPT:
            assert await echoes(websocket)
        else:
            await websocket.wait_closed()
            assert websocket.close_code == 1001
            assert (await server.ended(key)).names == ["connect", "disconnect", "end"]
            key = new_key()
            websocket = await open_socket(proxy, f"/ws/echo/{key}/")
        if name == "apache":  # it takes ten seconds to stop, and then ends them all the same
            proxy.kill()
        proxy.stop()
        async with asyncio.timeout(PATIENCE):
            await websocket.wait_closed()
        assert websocket.close_code == (1006 if name in KEPT else 1001)
    assert (await server.ended(key)).names == ["connect", "disconnect", "end"]


@pytest.mark.parametrize("name", ["nginx", "haproxy"])
async def test_a_process_that_drains(
    name: str, server: Server, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Who comes back is let in by the other process, at the first attempt."""
    folders = [tmp_path_factory.mktemp("draining") for _ in range(2)]
    with (
        running("uvicorn-sansio", folders[0], DRAIN_SECONDS="60") as draining,
        proxied(name, folders[1], draining, server) as proxy,
    ):
        keys = [new_key() for _ in range(6)]
        sockets = [await open_socket(proxy, f"/ws/echo/{key}/") for key in keys]
        draining.terminate()
        closes = [asyncio.create_task(websocket.wait_closed()) for websocket in sockets]
        await asyncio.wait(closes, timeout=PATIENCE, return_when=asyncio.FIRST_COMPLETED)
        assert [websocket.close_code for websocket in sockets].count(1012) == 1
        for _ in range(6):
            sockets.append(await open_socket(proxy, f"/ws/echo/{new_key()}/"))
            assert await echoes(sockets[-1])
        await asyncio.gather(*(websocket.close() for websocket in sockets))
        assert draining.has_exited()
        assert draining.journal.logged("the server is going to stop")


@pytest.mark.parametrize("name", ["nginx", "haproxy"])
async def test_pages_that_answer_503(name: str, server: Server, tmp_path: Path) -> None:
    """They reach the visitor, the rest of the site goes on, and nothing is posted twice."""
    posted = new_key()
    with proxied(name, tmp_path, server, server) as proxy:
        answers = [
            await asyncio.to_thread(status_of, proxy, method, path)
            for method, path in (
                ("POST", f"/busy/{posted}/"),
                ("GET", f"/busy/{new_key()}/"),
                ("GET", f"/busy/{new_key()}/"),
                ("GET", f"/plain/{new_key()}/"),
            )
        ]
    assert answers == [503, 503, 503, 200]
    assert await server.journal.count(posted, "POST came") == 1


def status_of(proxy: Proxy, method: str, path: str) -> int:
    """Ask for a page through a proxy."""
    with closing(http.client.HTTPConnection(HOST, proxy.port, timeout=PATIENCE)) as connection:
        connection.request(method, path)
        return connection.getresponse().status


async def code_of_a_quiet_socket(proxy: Proxy) -> int | None:
    """
    Open sockets that say nothing until one is closed; return the code that its client sees.

    The first may still be served by the old configuration, or meet nobody who listens: HAProxy
    refuses some while it reloads.
    """
    sockets: list[ClientConnection] = []
    async with AsyncExitStack() as stack, asyncio.timeout(2 * PATIENCE):
        while True:
            with suppress(OSError, InvalidHandshake):
                sockets.append(await open_socket(proxy, f"/ws/echo/{new_key()}/"))
                stack.push_async_callback(sockets[-1].close)
            closed = await first_closed(sockets)
            if closed is not None:
                return closed.close_code


async def first_closed(sockets: list[ClientConnection]) -> ClientConnection | None:
    """Wait a moment for one of these to be closed."""
    ends = [asyncio.ensure_future(each.wait_closed()) for each in sockets]
    if ends:
        await asyncio.wait(ends, timeout=0.3, return_when=asyncio.FIRST_COMPLETED)
    return next((each for each, end in zip(sockets, ends, strict=True) if end.done()), None)
