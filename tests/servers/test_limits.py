"""Limits of connections: the client sees each close code, and so does `disconnect()`."""

import pytest
from websockets.exceptions import InvalidStatus

from tests.servers.harness import PATIENCE, Server, new_key, remaining

CLOSES = [
    ("idle", [], [], 4408, "idle"),
    ("lifetime", [], [], 4408, "the lifetime is over"),
    ("rate", ["a", b"b", "c"], ["a", b"b"], 4429, "after=3600"),
    ("size", ["x" * 100, "é" * 51], ["x" * 100], 1009, "at most 100 bytes"),
]


@pytest.mark.parametrize(
    ("limit", "messages", "echoes", "code", "reason"), CLOSES, ids=[case[0] for case in CLOSES]
)
async def test_limits(
    server: Server,
    limit: str,
    messages: list[str | bytes],
    echoes: list[str | bytes],
    code: int,
    reason: str,
) -> None:
    """What is within the limit is handled, and what is beyond it closes."""
    key = new_key()
    async with server.connect(f"/ws/limited/{limit}/{key}/") as websocket:
        for message in messages:
            await websocket.send(message)
        assert await remaining(websocket) == echoes
    assert (websocket.close_code, websocket.close_reason) == (code, reason)
    assert (await server.ended(key)).disconnects == [(code, reason)]


async def test_a_connection_too_many(server: Server) -> None:
    """It gets 429, where the server can say so, and a client of ours 4429; then there is room."""
    path = "/ws/limited/crowd/"
    async with server.connect(f"{path}{new_key()}/"):
        with pytest.raises(InvalidStatus) as refused:
            async with server.connect(f"{path}{new_key()}/", open_timeout=PATIENCE):
                pass
        assert refused.value.response.status_code in (429, 403)
        own = server.connect(f"{path}{new_key()}/", subprotocols=["wsconsumer.v1"])
        async with own as websocket:
            assert await remaining(websocket) == []
        assert (websocket.close_code, websocket.close_reason) == (4429, "after=30")
    async with server.connect(f"{path}{new_key()}/"):
        pass


async def test_connect_timeout(server: Server) -> None:
    """A `connect()` that does not decide is cancelled, and the client gets 503."""
    key = new_key()
    with pytest.raises(InvalidStatus) as refused:
        async with server.connect(f"/ws/limited/connect/{key}/", open_timeout=PATIENCE):
            pass
    assert refused.value.response.status_code == 503
    story = await server.ended(key)
    assert (story.how("wait ended"), story.disconnects) == ("raised CancelledError", [])
