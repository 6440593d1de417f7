"""SIGTERM with `DRAIN_SECONDS`: the clients leave one by one, and then the server stops."""

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import pytest
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import InvalidStatus
from websockets.protocol import State

from tests.servers.harness import (
    COMMANDS,
    HOST,
    PATIENCE,
    Server,
    Story,
    new_key,
    remaining,
    running,
)
from wsconsumer.handshake.draining import GRACE
from wsconsumer.protocol import CLOSE_TIMEOUT, OWN_SUBPROTOCOL

WINDOW = 2.0
"""Seconds over which the clients are closed."""

CLIENTS = 20

BOUND = 8.0
"""Seconds beyond it within which a server must have exited."""

ALONE = {
    **COMMANDS,
    "hypercorn --workers 0": [*COMMANDS["hypercorn"], "--workers", "0"],
}
SEVERAL = {
    "uvicorn --workers 2": [*COMMANDS["uvicorn-sansio"], "--workers", "2"],
    "granian --workers 2": [*COMMANDS["granian"], "--workers", "2"],
    "gunicorn": [
        *("gunicorn", "-k", "uvicorn_worker.UvicornWorker", "-w", "2"),
        *("-b", f"{HOST}:{{port}}"),
    ],
}
STARTED = {"granian --workers 2": "runtime-1"}
"""What each worker writes when it has started; granian loses a signal that comes before."""

BY_THE_SIGNAL = {"uvicorn-websockets", "uvicorn-sansio", "uvicorn-wsproto"}
"""Servers that end with the signal that they were sent, so that their parent sees it."""


@dataclass
class Outcome:
    """What came of a server that was asked to stop; times are seconds since then."""

    closed_at: dict[str, float] = field(default_factory=dict)
    closes: dict[str, tuple[int | None, str | None]] = field(default_factory=dict)
    stories: dict[str, Story] = field(default_factory=dict)
    statuses: dict[str, int] = field(default_factory=dict)
    exited_at: float | None = None
    exit_code: int | None = None
    output: str = ""
    logged: list[str] = field(default_factory=list)


class Scene:
    """A server with clients, and what is noted of them."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.outcome = Outcome()
        self.clients: dict[str, ClientConnection] = {}
        self._readers: list[asyncio.Task[None]] = []
        self._began_at = 0.0

    async def open(self, scenario: str) -> str:
        """Open a websocket; return its key."""
        key = new_key()
        self.clients[key] = await self.server.open(f"/ws/{scenario}/{key}/")
        return key

    def terminate(self, ask: Callable[[], object] | None = None) -> None:
        """Ask the server to stop, while all clients are there."""
        assert all(client.state is State.OPEN for client in self.clients.values())
        self._began_at = time.monotonic()
        (ask or self.server.terminate)()
        self._readers = [
            asyncio.create_task(self._read(key, client)) for key, client in self.clients.items()
        ]

    async def first_close(self) -> None:
        """Wait until a client was closed."""
        await asyncio.wait(self._readers, return_when=asyncio.FIRST_COMPLETED)

    async def all_closed(self) -> None:
        """Wait until all clients were closed."""
        async with asyncio.timeout(WINDOW + BOUND):
            await asyncio.gather(*self._readers)

    async def exit(self) -> None:
        """Wait for the server to exit by itself."""
        if await asyncio.to_thread(self.server.has_exited, WINDOW + BOUND):
            self.outcome.exited_at = time.monotonic() - self._began_at
            self.outcome.exit_code = self.server.process.returncode
        for client in self.clients.values():
            client.transport.abort()
        await asyncio.gather(*self._readers)

    async def ask(self, name: str, path: str) -> None:
        """Note the status of a page."""
        self.outcome.statuses[name] = await asyncio.to_thread(self._get, path)

    async def refused(self, name: str, *subprotocols: str) -> None:
        """Note the status of a handshake."""
        with pytest.raises(InvalidStatus) as refusal:
            await self.server.open("/ws/echo/late/", subprotocols=list(subprotocols) or None)
        self.outcome.statuses[name] = refusal.value.response.status_code

    async def _read(self, key: str, client: ClientConnection) -> None:
        await remaining(client)
        self.outcome.closed_at[key] = time.monotonic() - self._began_at
        self.outcome.closes[key] = client.close_code, client.close_reason

    def _get(self, path: str) -> int:
        with self.server.http() as connection:
            connection.request("GET", path)
            answer = connection.getresponse()
            answer.read()
            return answer.status


async def rolling(scene: Scene) -> None:
    """Ask for pages and websockets while the clients leave; some are in the middle of things."""
    server = scene.server
    for _ in range(CLIENTS):
        await scene.open("echo")
    shaking, deciding = new_key(), new_key()
    late = asyncio.create_task(server.open(f"/ws/waits-in-handshake/{shaking}/"))
    undecided = asyncio.create_task(server.open(f"/ws/decides-later/{deciding}/"))
    await server.journal.wait(shaking, event="handshake began")
    await server.journal.wait(deciding, event="connect")
    await scene.ask("ready before", "/ready/")
    scene.terminate()
    await scene.first_close()
    await scene.ask("ready", "/ready/")
    await scene.ask("page", f"/plain/{new_key()}/")
    await scene.refused("handshake")
    await scene.refused("handshake of our client", OWN_SUBPROTOCOL)
    await scene.ask("go", f"/go/{shaking}/")
    with pytest.raises(InvalidStatus) as refusal:
        await late
    scene.outcome.statuses["handshake before"] = refusal.value.response.status_code
    # This one holds up the end of the drain, so that all the others came before it.
    await scene.ask("go", f"/go/{deciding}/")
    scene.clients[deciding] = client = await undecided
    await remaining(client)
    scene.outcome.closes[deciding] = client.close_code, client.close_reason
    await scene.all_closed()


async def leaving(scene: Scene) -> None:
    """As systemd does it: parent and workers get SIGTERM, and the workers again by the parent."""
    text = STARTED.get(scene.server.name, "startup complete")
    both = await asyncio.to_thread(
        scene.server.output.wait, lambda lines: sum(text in line for line in lines) >= 2, PATIENCE
    )
    assert both
    for _ in range(CLIENTS):
        await scene.open("echo")
    scene.terminate(lambda: os.killpg(scene.server.process.pid, signal.SIGTERM))
    await scene.all_closed()


async def hurried(scene: Scene) -> None:
    """The whole group of processes is interrupted, as by Ctrl-C, when the first has left."""
    for _ in range(CLIENTS):
        await scene.open("echo")
    scene.terminate()
    await scene.first_close()
    os.killpg(scene.server.process.pid, signal.SIGINT)


async def silent(scene: Scene) -> None:
    """A client reads nothing, and so never answers the close."""
    key = await scene.open("echo")
    scene.clients[key].transport.pause_reading()
    scene.terminate()


async def empty(scene: Scene) -> None:
    """There was a client, and it is gone."""
    key = await scene.open("echo")
    await scene.clients.pop(key).close()
    await scene.server.ended(key)
    scene.terminate()


Play = Callable[[Scene], Awaitable[None]]

PLAYS: dict[tuple[str, str], tuple[Play, float]] = {
    **{("rolling", name): (rolling, WINDOW) for name in ALONE},
    **{("leaving", name): (leaving, WINDOW) for name in SEVERAL},
    **{("hurried", name): (hurried, 60.0) for name in ("daphne", "uvicorn-sansio", "granian")},
    ("silent", "daphne"): (silent, 0.1),
    ("empty", "uvicorn-sansio"): (empty, 60.0),
}
"""What is played on which server, and its window."""


async def play(name: str, folder: Path, scene: Play, window: float) -> Outcome:
    """Start a server, and play a scene on it to its end."""
    command = {**ALONE, **SEVERAL}[name]
    with running(name, folder, command=command, DRAIN_SECONDS=f"{window}") as server:
        played = Scene(server)
        await scene(played)
        await played.exit()
        outcome = played.outcome
        outcome.logged = [event["text"] for event in server.journal.logged()]
        outcome.stories = {key: server.journal.story(key) for key in played.clients}
    outcome.output = "".join(server.output.all())
    return outcome


@pytest.fixture(scope="session")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Outcome]:
    """What came of each play; they mostly wait, so several run at the same time."""
    folders = {which: tmp_path_factory.mktemp("drained") for which in PLAYS}

    def run(which: tuple[str, str]) -> Outcome:
        scene, window = PLAYS[which]
        return asyncio.run(play(which[1], folders[which], scene, window))

    with ThreadPoolExecutor(4) as pool:
        return dict(zip(PLAYS, pool.map(run, PLAYS), strict=True))


@pytest.fixture
def outcome(outcomes: dict[tuple[str, str], Outcome], which: tuple[str, str]) -> Outcome:
    """What came of one of them."""
    return outcomes[which]


def played(*scenes: str) -> pytest.MarkDecorator:
    """Run a test on what came of these scenes."""
    found = [which for which in PLAYS if which[0] in scenes]
    return pytest.mark.parametrize("which", found, ids=" ".join)


@played("rolling", "leaving")
def test_every_client_is_told_when_to_come_back(outcome: Outcome) -> None:
    """All see 1012, and how long to wait before what they add at random."""
    assert set(outcome.closes.values()) == {(1012, "after=1")}
    assert len(outcome.closes) >= CLIENTS


@played("rolling", "leaving")
def test_the_closes_are_spread(outcome: Outcome) -> None:
    """The clients leave in several moments, the last after most of the window."""
    times = sorted(outcome.closed_at.values())
    moments = 1 + sum(later - earlier > 0.1 for earlier, later in pairwise(times))
    assert moments >= 3, times
    assert times[-1] > WINDOW / 2, times


@played("rolling", "leaving", "hurried", "silent")
def test_every_disconnect_runs_once(outcome: Outcome) -> None:
    """Every connection that was accepted gets its `disconnect()`, exactly once."""
    counts = {key: len(story.disconnects) for key, story in outcome.stories.items()}
    assert counts == dict.fromkeys(outcome.stories, 1)


@played("rolling", "leaving")
def test_disconnect_is_told_of_the_restart(outcome: Outcome) -> None:
    """`disconnect()` is given 1012, on every server."""
    told = {told for story in outcome.stories.values() for told in story.disconnects}
    assert told == {(1012, "after=1")}


@played("rolling")
def test_new_clients_are_sent_elsewhere(outcome: Outcome) -> None:
    """New handshakes, and one that had begun, get 503; pages are served on."""
    assert outcome.statuses == {
        "ready before": 200,
        "ready": 503,
        "page": 200,
        "handshake": 503,
        "handshake of our client": 503,
        "handshake before": 503,
        "go": 200,
    }


@played("rolling")
def test_the_log_tells(outcome: Outcome) -> None:
    """Two lines frame it, and each refusal has one."""
    logged = "\n".join(outcome.logged)
    assert f"Websockets to close over {WINDOW:g} s: {CLIENTS + 1}." in logged
    assert f"Websockets closed: {CLIENTS + 1}, refused: 3, left: 0." in logged
    assert "Refused a websocket on /ws/echo/late/ with 503: the server is going to stop." in logged


@played("rolling", "leaving", "empty")
def test_the_process_exits_by_itself(outcome: Outcome, which: tuple[str, str]) -> None:
    """It does so as without a drain, and nothing fails on the way."""
    assert outcome.exited_at is not None
    assert outcome.exit_code == (-signal.SIGTERM if which[1] in BY_THE_SIGNAL else 0)
    assert "Traceback" not in outcome.output


@played("hurried")
def test_a_second_signal(outcome: Outcome) -> None:
    """Ctrl-C ends a drain of a minute at once."""
    assert outcome.exited_at is not None
    assert outcome.exited_at < WINDOW + BOUND
    assert "A second signal: the server stops at once." in outcome.logged


@played("silent")
def test_a_client_that_answers_nothing(outcome: Outcome) -> None:
    """It holds up the stop, for a bounded time."""
    assert outcome.exited_at is not None
    assert outcome.exited_at < GRACE + CLOSE_TIMEOUT


@played("empty")
def test_nobody_is_there(outcome: Outcome) -> None:
    """The process exits at once, not after the window."""
    assert outcome.exited_at is not None
    assert outcome.exited_at < WINDOW + BOUND
