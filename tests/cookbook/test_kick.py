"""Kick a user."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import User
from django.db import transaction

from wsconsumer.test import WebsocketClient, connect

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
    """The client of another user."""
    client = WebsocketClient()
    client.force_login(User.objects.create_user("bob"))
    return client


async def test_every_tab_of_hers(
    ada: User, loaded: Project, websocket_client: WebsocketClient, bobs_client: WebsocketClient
) -> None:
    """All her sockets close with the reason; those of others stay."""
    async with (
        websocket_client.connect("/ws/lobby/") as one,
        websocket_client.connect("/ws/lobby/") as other,
        bobs_client.connect("/ws/lobby/") as bob,
    ):
        await sync_to_async(loaded.module("accounts.sockets").kick)(ada, "be kind")
        for ws in (one, other):
            assert (await ws.receive_close(), ws.close_reason) == (4501, "be kind")
        await bob.send_json({"type": "shout", "text": "hi"})
        assert (await bob.receive_json())["text"] == "hi"


async def test_she_is_deactivated(ada: User, websocket_client: WebsocketClient) -> None:
    """Her sockets close by themselves, and the next handshake sends her to the login page."""
    async with websocket_client.connect("/ws/lobby/") as ws:
        ada.is_active = False
        await ada.asave()
        assert (await ws.receive_close(), ws.close_reason) == (4501, "deactivated")
    async with websocket_client.connect("/ws/lobby/") as ws:
        assert ws.denial is not None
        assert ws.denial.status == 302


async def test_between_handshake_and_group(ada: User, loaded: Project) -> None:
    """A user who was active when the handshake read them does not get in any more."""
    await User.objects.filter(pk=ada.pk).aupdate(is_active=False)
    async with connect(loaded.module("accounts.consumers").LobbyConsumer, user=ada) as ws:
        assert ws.denial is not None
        assert ws.denial.status == 403


async def test_a_rollback(ada: User, loaded: Project, websocket_client: WebsocketClient) -> None:
    """What is rolled back kicks nobody."""

    def deactivate() -> None:
        with transaction.atomic():
            ada.is_active = False
            ada.save()
            transaction.set_rollback(True)

    async with websocket_client.connect("/ws/lobby/") as ws:
        await sync_to_async(deactivate)()
        await ws.expect_nothing()
        assert ws.close_code is None


async def test_no_client_can_send_it(ada: User, websocket_client: WebsocketClient) -> None:
    """The event is no message."""
    async with websocket_client.connect("/ws/lobby/") as ws:
        await ws.send_json({"type": "kicked", "reason": "x"})
        assert (await ws.receive_json())["code"] == "unknown_type"
