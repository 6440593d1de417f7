"""Logouts on real servers: what ends in one process closes websockets in another."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from websockets.exceptions import InvalidStatus

from tests.browsers.relay import Relay
from tests.engines import Postgres, Redis
from tests.processes.running import ROOT
from tests.servers.harness import Server, remaining, running
from wsconsumer.protocol import OWN_SUBPROTOCOL

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from websockets.asyncio.client import ClientConnection

SITE = "tests.processes.logins:application"

LOGIN = 404
"""The client follows the redirect to the page for logins, which this site does not have."""

SECOND = 1.0
"""Seconds in which a logout has to reach every process."""


@contextmanager
def serving(names: list[str], database: dict[str, Any], wsconsumer: Any) -> Iterator[list[Server]]:
    """Start servers with these settings."""
    given = {"LOGINS": json.dumps({"database": database, "wsconsumer": wsconsumer})}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        subprocess.run(
            [sys.executable, "-m", "tests.processes.logins"],
            env={"PYTHONPATH": str(ROOT), **given},
            cwd=folder,
            check=True,
            timeout=60,
        )
        servers = []
        for number, name in enumerate(names):
            own = folder / f"{number}"
            own.mkdir()
            servers.append(stack.enter_context(running(name, own, SITE, **given)))
        yield servers


@pytest.fixture(scope="module")
def database(postgres: Postgres) -> dict[str, Any]:
    """Make a database, since the servers leave their tables in it; return its settings."""
    postgres.query("CREATE DATABASE logouts")
    return {**postgres.settings, "NAME": "logouts"}


@pytest.fixture(scope="module", params=["redis", "postgres"])
def servers(request: pytest.FixtureRequest, database: dict[str, Any]) -> Iterator[list[Server]]:
    """A daphne and a uvicorn on each engine."""
    with ExitStack() as stack:
        groups = {"BACKEND": "wsconsumer.groups.postgres.PostgresBackend", "LOCATION": "default"}
        if request.param == "redis":
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            redis = Redis(folder)
            stack.callback(redis.stop)
            backend = "wsconsumer.groups.redis.RedisBackend"
            groups = {"BACKEND": backend, "LOCATION": redis.url}
        wsconsumer = {"GROUPS": groups, "REVALIDATE_EVERY": 2}
        names = ["daphne", "uvicorn-websockets"]
        yield stack.enter_context(serving(names, database, wsconsumer))


class Browser:
    """Pages and websockets of one visitor, who has one cookie."""

    def __init__(self) -> None:
        self.cookie = ""

    def get(self, server: Server, path: str) -> None:
        """Get a page."""
        with server.http() as client:
            client.request("GET", path, headers={"Cookie": self.cookie})
            response = client.getresponse()
            response.read()
            assert response.status == 200
            if (cookie := response.getheader("Set-Cookie")) is not None:
                self.cookie = cookie.partition(";")[0]

    async def open(self, server: Server, *, is_ours: bool = False) -> ClientConnection:
        """Open a websocket."""
        more: Any = {"subprotocols": [OWN_SUBPROTOCOL]} if is_ours else {}
        headers = {"Cookie": self.cookie}
        return await server.open("/ws/", additional_headers=headers, **more)

    @asynccontextmanager
    async def opened(self, *servers: Server) -> AsyncIterator[list[ClientConnection]]:
        """Have a websocket at each of these servers, which answers."""
        sockets = [await self.open(server) for server in servers]
        for socket in sockets:
            await socket.send("hello")
            assert await socket.recv() == "hello"
        yield sockets
        for socket in sockets:
            await socket.close()


async def closed(socket: ClientConnection, within: float = 10.0) -> int | None:
    """Return the code that a websocket is closed with."""
    async with asyncio.timeout(within):
        await remaining(socket)
    return socket.close_code


async def refused(browser: Browser, server: Server) -> int:
    """Return the status that a handshake is refused with."""
    with pytest.raises(InvalidStatus) as caught:
        await browser.open(server)
    return caught.value.response.status_code


async def stays_no_longer(browser: Browser, server: Server, seconds: float) -> bool:
    """Return whether a handshake is refused, or else its websocket is closed soon."""
    try:
        socket = await browser.open(server)
    except InvalidStatus as error:
        return error.response.status_code == 403
    return await closed(socket, seconds) == 4501


async def test_a_logout_reaches_another_process(servers: list[Server]) -> None:
    """Before its page has answered; and a client that is back sooner is refused."""
    daphne, uvicorn = servers
    ada, bob = Browser(), Browser()
    ada.get(daphne, "/login/ada/")
    bob.get(daphne, "/login/bob/")
    async with ada.opened(daphne, uvicorn) as sockets, bob.opened(uvicorn) as others:
        old = Browser()
        old.cookie = ada.cookie
        page = asyncio.create_task(asyncio.to_thread(ada.get, daphne, "/logout/2/"))
        begun = time.monotonic()
        codes = await asyncio.gather(*(closed(socket) for socket in sockets))
        # The transaction is open, and the session can still be loaded.
        assert [await refused(old, server) for server in servers] == [403, 403]
        ours = [await old.open(server, is_ours=True) for server in servers]
        assert [await closed(socket) for socket in ours] == [4501, 4501]
        assert not page.done()
        took = time.monotonic() - begun
        await page
        assert codes == [4501, 4501]
        assert took < 2
        # Now it is gone, so that nobody is logged in.
        assert [await refused(old, server) for server in servers] == [LOGIN, LOGIN]
        await others[0].send("I am still here")
        assert await others[0].recv() == "I am still here"


async def test_a_client_that_is_back_at_once(servers: list[Server]) -> None:
    """On another process, within a millisecond of its close: it never stays."""
    daphne, uvicorn = servers
    for here, there in ((daphne, uvicorn), (uvicorn, daphne)):
        ada = Browser()
        ada.get(daphne, "/login/ada/")
        old = Browser()
        old.cookie = ada.cookie
        async with ada.opened(here) as (socket,):
            page = asyncio.create_task(asyncio.to_thread(ada.get, daphne, "/logout/1/"))
            assert await closed(socket) == 4501
            assert await stays_no_longer(old, there, SECOND)
            await page


async def test_a_new_password(servers: list[Server]) -> None:
    """All websockets of the user are closed with 4401 after the commit; the page comes back."""
    daphne, uvicorn = servers
    page, phone = Browser(), Browser()
    page.get(daphne, "/login/ada/")
    phone.get(uvicorn, "/login/ada/")
    async with page.opened(uvicorn) as (one,), phone.opened(daphne) as (other,):
        await asyncio.to_thread(page.get, daphne, "/password/0/")
        assert [await closed(one), await closed(other)] == [4401, 4401]
        async with page.opened(daphne, uvicorn):
            assert await refused(phone, daphne) == LOGIN


async def test_what_nobody_tells(servers: list[Server]) -> None:
    """Sessions that another program has ended are found by ``revalidate_every``."""
    daphne, uvicorn = servers
    ada = Browser()
    ada.get(daphne, "/login/ada/")
    async with ada.opened(daphne, uvicorn) as sockets:
        await asyncio.to_thread(ada.get, daphne, "/end/")
        assert [await closed(socket) for socket in sockets] == [4401, 4401]


async def test_one_process_needs_no_engine(postgres: Postgres, database: dict[str, Any]) -> None:
    """
    With the memory backend a logout reaches the websockets of its process.

    When its database is away, ``revalidate_every`` closes nobody, and goes on when it is back.
    """
    with Relay(postgres.port) as relay:
        through = {**database, "PORT": str(relay.port)}
        with serving(["daphne"], through, {"REVALIDATE_EVERY": 2}) as (daphne,):
            ada, bob = Browser(), Browser()
            ada.get(daphne, "/login/ada/")
            bob.get(daphne, "/login/bob/")
            async with ada.opened(daphne, daphne) as sockets, bob.opened(daphne) as (other,):
                await asyncio.to_thread(ada.get, daphne, "/logout/0/")
                codes = await asyncio.gather(*(closed(socket, SECOND) for socket in sockets))
                assert codes == [4501, 4501]
                relay.to = 0
                relay.cut()

                def is_said(lines: list[str]) -> bool:
                    return any("could not be checked" in line for line in lines)

                assert await asyncio.to_thread(daphne.output.wait, is_said, 20)
                await other.send("I am still here")
                assert await other.recv() == "I am still here"
                relay.to = postgres.port
                await asyncio.to_thread(bob.get, daphne, "/end/")
                assert await closed(other) == 4401
