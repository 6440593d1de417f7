"""What a consumer's hooks do to themselves: the server and everybody else live on."""

import asyncio
import signal
from functools import partial
from pathlib import Path

import pytest
from websockets.exceptions import InvalidStatus

from tests.servers.harness import PATIENCE, SOON, Server, new_key, remaining, running

WHERE = ["receive", "group", "spawned"]


async def check_it_answers(server: Server) -> None:
    """Check that the server still serves a websocket."""
    async with server.connect(f"/ws/echo/{new_key()}/") as websocket:
        await websocket.send("still here")
        assert await websocket.recv() == "still here"


async def check_exit(server: Server, where: str) -> None:
    """Let a hook raise SystemExit; check that it is an error of its own connection."""
    key = new_key()
    async with server.connect(f"/ws/exits/{where}/{key}/") as websocket:
        await websocket.send("--help")
        async with asyncio.timeout(SOON):
            await remaining(websocket)
    assert websocket.close_code == 1011
    story = await server.ended(key)
    assert story.names == ["connect", "disconnect", "end"]
    assert story.how("end") == "returned"


@pytest.mark.parametrize("where", WHERE)
async def test_system_exit_ends_its_own_connection_alone(server: Server, where: str) -> None:
    """`SystemExit` closes with 1011, and a connection that was there before lives on."""
    async with server.connect(f"/ws/echo/{new_key()}/") as other:
        await check_exit(server, where)
        await other.send("still here")
        assert await other.recv() == "still here"
    assert not server.has_exited(within=0)
    await check_it_answers(server)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
async def test_a_signal_still_stops_the_server(
    server_name: str, tmp_path: Path, number: signal.Signals, request: pytest.FixtureRequest
) -> None:
    """After `SystemExit` in each hook, a signal stops the server, and `disconnect()` runs."""
    # A program started with an ignored SIGINT, as a shell starts those in the background, keeps
    # ignoring it, and so would a server that it starts.
    request.addfinalizer(partial(signal.signal, signal.SIGINT, signal.getsignal(signal.SIGINT)))
    signal.signal(signal.SIGINT, signal.default_int_handler)
    key = new_key()
    with running(server_name, tmp_path) as server:
        other = await server.open(f"/ws/echo/{key}/")
        for where in WHERE:
            await check_exit(server, where)
        server.process.send_signal(number)
        await other.close()
        assert await asyncio.to_thread(server.has_exited)
    assert len(server.journal.story(key).disconnects) == 1


async def test_disconnect_beside_a_task_that_swallows_its_cancellation(server: Server) -> None:
    """The task is left behind, and `disconnect()` runs."""
    key = new_key()
    async with server.connect(f"/ws/keeps-a-task/{key}/"):
        pass
    await server.journal.wait(key, event="disconnect")


async def test_stops_beside_a_task_that_swallows_its_cancellation(
    server_name: str, tmp_path: Path
) -> None:
    """SIGTERM stops the server all the same."""
    with running(server_name, tmp_path) as server:
        websocket = await server.open(f"/ws/keeps-a-task/{new_key()}/")
        server.terminate()
        await websocket.close()
        assert await asyncio.to_thread(server.has_exited, PATIENCE)


async def test_connection_closed_of_another_connection(server: Server) -> None:
    """`connect()` sends to a connection that has gone: its own handshake is answered with 500."""
    gone = new_key()
    async with server.connect(f"/ws/sends-to/{gone}/{gone}/"):
        pass
    await server.ended(gone)
    key = new_key()
    with pytest.raises(InvalidStatus) as caught:
        await server.open(f"/ws/sends-to/{gone}/{key}/")
    assert caught.value.response.status_code == 500
    assert (await server.ended(key)).names == ["end"]
