"""Kick a user."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from django.contrib.auth.models import Permission, User

from wsconsumer.test import WebsocketClient, run_on_commit

if TYPE_CHECKING:
    from tests.cookbook.project import Project


@pytest.fixture
def ada(loaded: Project, websocket_client: WebsocketClient) -> User:
    """A user, as whom the client is logged in."""
    user = User.objects.create_user("ada")
    websocket_client.force_login(user)
    return user


@pytest.fixture
def bobs_client(loaded: Project, websocket_client: WebsocketClient) -> WebsocketClient:
    """The client of another user, who may kick."""
    client = WebsocketClient()
    bob = User.objects.create_user("bob")
    bob.user_permissions.add(Permission.objects.get(codename="change_user"))
    client.force_login(bob)
    return client


async def test_every_tab_of_hers(
    ada: User, websocket_client: WebsocketClient, bobs_client: WebsocketClient
) -> None:
    """All her sockets close with the reason; those of others stay."""
    async with (
        websocket_client.connect("/ws/lobby/") as one,
        websocket_client.connect("/ws/lobby/") as other,
        bobs_client.connect("/ws/lobby/") as bob,
    ):
        await bobs_client.post(f"/kick/{ada.pk}/", {"reason": "be kind"})
        for ws in (one, other):
            assert (await ws.receive_close(), ws.close_reason) == (4501, "be kind")
        await bob.send_json({"type": "shout", "text": "hi"})
        assert (await bob.receive_json())["text"] == "hi"


async def test_she_is_banned(
    ada: User, websocket_client: WebsocketClient, bobs_client: WebsocketClient
) -> None:
    """Her sockets close by themselves, and the next handshake sends her to the login page."""
    async with websocket_client.connect("/ws/lobby/") as ws:
        await bobs_client.post(f"/ban/{ada.pk}/")
        await run_on_commit()
        assert (await ws.receive_close(), ws.close_reason) == (4501, "deactivated")
    async with websocket_client.connect("/ws/lobby/") as ws:
        assert ws.denial is not None
        assert ws.denial.status == 302


async def test_not_everybody_kicks(
    ada: User, websocket_client: WebsocketClient, bobs_client: WebsocketClient
) -> None:
    """It takes a permission."""
    async with websocket_client.connect("/ws/lobby/") as ws:
        for path in ("/kick/", "/ban/"):
            response = await websocket_client.post(f"{path}{ada.pk}/")
            assert response.status_code == 403
        await ws.expect_nothing()
