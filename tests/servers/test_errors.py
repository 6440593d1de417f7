"""A consumer's exception is logged once, and the client learns nothing of it but that it was."""

import asyncio

import pytest
from websockets.exceptions import InvalidStatus

from tests.servers.harness import SOON, Server, Story, new_key, remaining


async def ended(server: Server, key: str) -> Story:
    """Return the connection's story, after a check of what became of its one exception."""
    story = await server.ended(key)
    assert story.how("end") == "returned", "the exception must not reach the server"
    [record] = await server.journal.wait_for_log(f"RuntimeError: deliberate {key}")
    assert (record["logger"], record["level"]) == ("wsconsumer.consumer", "ERROR")
    assert "Traceback (most recent call last)" in record["text"]
    return story


async def test_in_connect(server: Server) -> None:
    """An exception in `connect()` is a 500 without its text, and `disconnect()` does not run."""
    key = new_key()
    with pytest.raises(InvalidStatus) as caught:
        await server.open(f"/ws/fails-in-connect/{key}/")
    assert caught.value.response.status_code == 500
    assert b"deliberate" not in caught.value.response.serialize()
    assert (await ended(server, key)).names == ["end"]


async def test_in_receive(server: Server) -> None:
    """An exception in `receive()` closes with 1011 and without its text."""
    await check_close(server, "/ws/fails-in-receive/")


async def test_in_task(server: Server) -> None:
    """An exception in a task of the connection closes with 1011 and without its text."""
    await check_close(server, "/ws/fails-in-task/")


async def check_close(server: Server, path: str) -> None:
    """Check what a connection comes to that fails at the first message."""
    key = new_key()
    async with server.connect(f"{path}{key}/") as websocket:
        await websocket.send("go")
        async with asyncio.timeout(SOON):
            assert await remaining(websocket) == []
    assert websocket.close_code == 1011
    assert "deliberate" not in (websocket.close_reason or "")
    story = await ended(server, key)
    assert story.names == ["connect", "disconnect", "end"]
    assert [code for code, _ in story.disconnects] == [1011]


async def test_in_disconnect(server: Server) -> None:
    """An exception in `disconnect()` changes nothing for the client, which has gone."""
    key = new_key()
    async with server.connect(f"/ws/fails-in-disconnect/{key}/") as websocket:
        await websocket.close(1000)
    assert websocket.close_code == 1000
    assert (await ended(server, key)).names == ["connect", "disconnect", "end"]
