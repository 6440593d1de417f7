"""SIGTERM with connections open: each is ended properly, and the process exits by itself."""

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import InvalidStatus

from tests.servers.harness import Server, Story, new_key, remaining, running
from tests.servers.known_limits import RESTART_CODES

BOUND = 6.0
"""Seconds within which a server must have exited: hypercorn alone takes 3 to lose patience."""

ONE_AFTER_THE_OTHER = [
    ["disconnect"],
    ["wait began", "wait ended", "disconnect"],
    ["push began", "push ended", "disconnect"],
]

Clients = dict[str, ClientConnection]
Scene = Callable[[Server, AsyncExitStack], Awaitable[Clients]]


async def crowd(server: Server, stack: AsyncExitStack) -> Clients:
    """Connections that idle, wait in a task and send without end."""
    return await opened(server, *["echo"] * 20, *["waits-in-task", "pushes"] * 3)


async def busy(server: Server, stack: AsyncExitStack) -> Clients:
    """Connections of which some are in the middle of `receive()`."""
    clients = await opened(server, *["echo", "waits-in-receive"] * 3)
    for client in clients.values():
        await client.send("go")
    waiting = [
        key for key, client in clients.items() if client.request and "waits" in client.request.path
    ]
    await server.journal.wait(*waiting, event="wait began")
    return clients


async def fresh(server: Server, stack: AsyncExitStack) -> Clients:
    """Connections opened in the instant before the signal, and others that are over already."""
    connection = stack.enter_context(server.http())  # stays open, its request done
    connection.request("GET", f"/plain/{new_key()}/")
    connection.getresponse().read()
    async with server.connect(f"/ws/close/4000/{new_key()}/") as websocket:
        await websocket.send("go")
        await remaining(websocket)
    with pytest.raises(InvalidStatus):
        await server.open(f"/ws/reject/{new_key()}/")
    return await opened(server, "echo", "echo", "echo")


async def opened(server: Server, *scenarios: str) -> Clients:
    """Open a websocket for each scenario, and return them by their keys."""
    paths = {new_key(): scenario for scenario in scenarios}
    return {key: await server.open(f"/ws/{paths[key]}/{key}/") for key in paths}


SCENES: dict[str, Scene] = {scene.__name__: scene for scene in (crowd, busy, fresh)}


@dataclass
class Outcome:
    """What came of a server that was asked to stop."""

    exited: bool
    output: str
    loop_errors: list[str]
    stories: dict[str, Story] = field(default_factory=dict)
    close_codes: dict[str, int | None] = field(default_factory=dict)


async def stop(name: str, folder: Path, scene: Scene) -> Outcome:
    """Start a server, set the scene, and ask the server to stop in the middle of it."""
    with running(name, folder) as server:
        async with AsyncExitStack() as stack:
            clients = await scene(server, stack)
            server.terminate()
            readers = asyncio.gather(*map(remaining, clients.values()))
            exited = await asyncio.to_thread(server.has_exited, BOUND)
            for client in clients.values():
                client.transport.abort()
            await readers
    return Outcome(
        exited=exited,
        output="".join(server.output.all()),
        loop_errors=[e["text"] for e in server.journal.logged() if e["logger"] == "asyncio"],
        stories={key: server.journal.story(key) for key in clients},
        close_codes={key: client.close_code for key, client in clients.items()},
    )


@pytest.fixture(scope="session")
def outcomes(server_name: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Outcome]:
    """What came of each scene; each has its own server, and all run at the same time."""

    folders = {scene: tmp_path_factory.mktemp(f"{server_name}-{scene}") for scene in SCENES}

    def run(scene: str) -> Outcome:
        return asyncio.run(stop(server_name, folders[scene], SCENES[scene]))

    with ThreadPoolExecutor(len(SCENES)) as pool:
        return dict(zip(SCENES, pool.map(run, SCENES), strict=True))


@pytest.fixture(params=SCENES)
def outcome(outcomes: dict[str, Outcome], request: pytest.FixtureRequest) -> Outcome:
    """What came of one scene."""
    return outcomes[request.param]


def test_every_disconnect_runs_once(outcome: Outcome) -> None:
    """Every connection that was accepted gets its `disconnect()`, exactly once."""
    counts = {key: len(story.disconnects) for key, story in outcome.stories.items()}
    assert counts == dict.fromkeys(outcome.stories, 1)


def test_disconnect_is_told_of_the_restart(outcome: Outcome, server_name: str) -> None:
    """`disconnect()` is given 1012, service restart."""
    codes = {code for story in outcome.stories.values() for code, _ in story.disconnects}
    assert codes
    assert codes <= RESTART_CODES.get(server_name, {1012})


def test_every_client_is_told_of_the_restart(outcome: Outcome) -> None:
    """Every client sees a close frame with 1012, service restart."""
    assert outcome.close_codes == dict.fromkeys(outcome.close_codes, 1012)


def test_tasks_and_hooks_end_before_disconnect(outcome: Outcome) -> None:
    """Whatever the connection was doing has ended by the time `disconnect()` runs."""
    for story in outcome.stories.values():
        work = [name for name in story.names if name.endswith((" began", " ended", "disconnect"))]
        assert work in ONE_AFTER_THE_OTHER


def test_the_process_exits_by_itself(outcome: Outcome) -> None:
    """The process is gone within the bound, with every client still there."""
    assert outcome.exited


def test_the_shutdown_is_quiet(outcome: Outcome) -> None:
    """Nothing fails on the way: no traceback in the output, no complaint of the event loop."""
    assert "Traceback" not in outcome.output
    assert outcome.loop_errors == []


async def test_a_page_under_way_is_finished(server_name: str, tmp_path: Path) -> None:
    """A server that stops waits for the pages that it has begun."""
    key = new_key()
    with running(server_name, tmp_path) as server, server.http() as connection:
        connection.request("GET", f"/long/{key}/")
        await server.journal.wait(key, event="page began")
        server.terminate()
        response = await asyncio.to_thread(connection.getresponse)
        assert response.status == 200
