"""Who pings whom, and what comes of a client that does not answer.

The servers run with pings as often as each allows, so that it takes seconds; those that have no
such setting run as they come.
"""

import asyncio
import inspect
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from websockets.asyncio.client import unix_connect

from tests.programs import require
from tests.servers.harness import COMMANDS, HOST, Server, new_key, running

UVICORN = ["--ws-ping-interval", "0.5", "--ws-ping-timeout", "1"]

OPTIONS = {
    "daphne": ["--ping-interval", "1", "--ping-timeout", "2"],
    "uvicorn-websockets": UVICORN,
    "uvicorn-sansio": UVICORN,
    "uvicorn-wsproto": UVICORN,
    "hypercorn": ["--websocket-ping-interval", "1"],
    "granian": [],
}

LONG = 5.0
"""Seconds after which a server that takes a client for dead has dropped it."""

LONGER = 10.0
"""Seconds within which it has to, on a machine that is busy."""

MESSAGES = 300
"""More than is read ahead of a hook, by wsconsumer and by any server."""

PING = b"\x89"


@dataclass
class Outcome:
    """What a server does about three clients."""

    mute_is_pinged: bool
    mute_is_dropped: bool
    answering_stays: bool
    waiting_stays: bool


async def mute(server: Server) -> tuple[bool, bool]:
    """Answer no ping; return whether there was one, and whether the connection ended."""
    seen, is_dropped = b"", False
    async with server.raw(f"/ws/echo/{new_key()}/", 2 * LONGER) as (reader, _):
        with suppress(TimeoutError):
            async with asyncio.timeout(LONGER):
                with suppress(ConnectionError):
                    while data := await reader.read(1000):
                        seen += data
                is_dropped = True
    return seen.startswith(PING), is_dropped


async def answering(server: Server) -> bool:
    """Answer pings and do no more; return whether the connection stays."""
    async with server.connect(f"/ws/echo/{new_key()}/") as websocket:
        closed = asyncio.create_task(websocket.wait_closed())
        await asyncio.wait({closed}, timeout=LONG)
        return not closed.done()


async def waiting(server: Server) -> bool:
    """Answer pings behind messages that wait for a hook; return whether the connection stays."""
    key = new_key()
    websocket = await server.open(f"/ws/takes-its-time/{key}/")
    for _ in range(MESSAGES):
        await websocket.send(b"more")
    closed = asyncio.create_task(websocket.wait_closed())
    await asyncio.wait({closed}, timeout=LONG)
    stays = not closed.done()
    async with server.connect(f"/ws/says-go/{key}/{new_key()}/"):
        await websocket.close()
    return stays


async def outcome_on(server: Server) -> Outcome:
    """Let all clients be there at the same time."""
    (pinged, dropped), answers, waits = await asyncio.gather(
        mute(server), answering(server), waiting(server)
    )
    return Outcome(pinged, dropped, answers, waits)


@pytest.fixture(scope="session")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Outcome]:
    """What each server does; all run at the same time."""
    folders = {name: tmp_path_factory.mktemp(f"{name}-pinging") for name in COMMANDS}

    def run(name: str, folder: Path) -> Outcome:
        command = [*COMMANDS[name], *OPTIONS[name]]
        with running(name, folder, command=command) as server:
            return asyncio.run(outcome_on(server))

    with ThreadPoolExecutor(len(folders)) as pool:
        return dict(zip(folders, pool.map(run, folders, folders.values()), strict=True))


@pytest.fixture
def outcome(outcomes: dict[str, Outcome], server_name: str) -> Outcome:
    """What one of them does."""
    return outcomes[server_name]


def test_an_idle_client_is_pinged(outcome: Outcome) -> None:
    """A proxy in between sees that the connection is alive, and does not cut it."""
    assert outcome.mute_is_pinged


def test_a_client_that_answers_no_pings_is_dropped(outcome: Outcome) -> None:
    """Whoever has vanished without a word does not stay forever."""
    assert outcome.mute_is_dropped


def test_a_client_that_answers_pings_stays(outcome: Outcome) -> None:
    """Silence alone ends no connection."""
    assert outcome.answering_stays


def test_a_client_whose_messages_wait_behind_a_hook_stays(outcome: Outcome) -> None:
    """Its answers to pings must not wait there as well."""
    assert outcome.waiting_stays


NGINX = """
pid {folder}/nginx.pid; events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}; proxy_temp_path {folder}; fastcgi_temp_path {folder};
    uwsgi_temp_path {folder}; scgi_temp_path {folder};
    server {{
        listen unix:{folder}/socket;
        location / {{
            proxy_pass http://{host}:{port};
            proxy_http_version 1.1;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection upgrade;
            proxy_set_header Host $http_host;
            proxy_read_timeout 2s;
        }}
    }}
}}
"""


@contextmanager
def behind_nginx(server: Server, folder: Path) -> Iterator[str]:
    """Let nginx stand before a server, and yield the path of its socket."""
    program = require("nginx", "nginx-light")
    configuration = folder / "nginx.conf"
    configuration.write_text(NGINX.format(folder=folder, host=HOST, port=server.port))
    command = [program, "-p", str(folder), "-e", "stderr", "-c", str(configuration)]
    # It listens before it goes into the background, and the command returns.
    subprocess.run(command, stderr=subprocess.DEVNULL, check=True)
    try:
        yield str(folder / "socket")
    finally:
        subprocess.run([*command, "-s", "stop"], stderr=subprocess.DEVNULL, check=True)


@pytest.mark.parametrize(
    ("options", "stays"),
    [(["--websocket-ping-interval", "1"], True), ([], False)],
    ids=["pings", "silence"],
)
async def test_a_proxy_with_a_short_timeout(
    options: list[str], stays: bool, tmp_path: Path
) -> None:
    """Pings keep a silent websocket open for longer than ``proxy_read_timeout``; else it is cut."""
    command = [*COMMANDS["hypercorn"], *options]
    with (
        running("hypercorn", tmp_path, command=command) as server,
        behind_nginx(server, tmp_path) as path,
    ):
        uri = server.url(f"/ws/echo/{new_key()}/")
        websocket = await unix_connect(path, uri, ping_interval=None)
        closed = asyncio.create_task(websocket.wait_closed())
        await asyncio.wait({closed}, timeout=LONG if stays else LONGER)
        assert closed.done() is not stays
        await websocket.close()


def test_defaults() -> None:
    """The documentation names them."""
    from daphne.cli import CommandLineInterface
    from granian import Granian
    from hypercorn import Config as HypercornConfig
    from uvicorn import Config as UvicornConfig

    daphne = CommandLineInterface().parser.get_default
    uvicorn = UvicornConfig("a:b")
    assert (daphne("ping_interval"), daphne("ping_timeout")) == (20, 30)
    assert (uvicorn.ws_ping_interval, uvicorn.ws_ping_timeout) == (20.0, 20.0)
    assert HypercornConfig().websocket_ping_interval is None
    granian = inspect.signature(Granian.__init__).parameters
    assert not [name for name in granian if "websocket" in name and "ping" in name]
