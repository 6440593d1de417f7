"""Commands in JSON, by hand and typed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from django.contrib.auth.models import User

if TYPE_CHECKING:
    from tests.cookbook.project import Project
    from wsconsumer.test import WebsocketClient

pytestmark = pytest.mark.parametrize("way", ["by-hand", "typed"])


@pytest.fixture
def client(loaded: Project, websocket_client: WebsocketClient) -> WebsocketClient:
    """A client that is logged in."""
    websocket_client.force_login(User.objects.create_user("ada"))
    return websocket_client


async def test_add_and_tick(way: str, client: WebsocketClient) -> None:
    """Everybody gets what was added, and that it was ticked."""
    path = f"/ws/todo/{way}/"
    async with client.connect(path) as one, client.connect(path) as other:
        await one.send_json({"type": "add", "text": "milk"})
        task = await one.receive_json()
        assert task == {"type": "task", "id": task["id"], "text": "milk", "is_done": False}
        assert await other.receive_json() == task
        await other.send_json({"type": "tick", "id": task["id"]})
        for ws in (one, other):
            assert await ws.receive_json() == {**task, "is_done": True}


@pytest.mark.parametrize(
    "content",
    [
        {"type": "add", "text": ""},
        {"type": "add", "text": 1},
        {"type": "tick"},
        {"type": "tell"},
        1,
    ],
    ids=["empty", "a number", "without id", "a method", "no object"],
)
async def test_what_is_not_valid(way: str, client: WebsocketClient, content: object) -> None:
    """It is answered with an error, and nobody else hears of it."""
    path = f"/ws/todo/{way}/"
    async with client.connect(path) as one, client.connect(path) as other:
        await one.send_json(content)
        assert (await one.receive_json())["type"] == "error"
        await other.expect_nothing()


@pytest.mark.parametrize("pk", [99, 10**30], ids=["unknown", "huge"])
async def test_a_task_that_is_gone(way: str, client: WebsocketClient, pk: int) -> None:
    """Nobody is told of it; with types, its client is."""
    async with client.connect(f"/ws/todo/{way}/") as ws:
        await ws.send_json({"type": "tick", "id": pk})
        if way == "typed":
            assert (await ws.receive_json())["code"] == "not_found"
        await ws.expect_nothing()
