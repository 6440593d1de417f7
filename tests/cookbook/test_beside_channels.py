"""Beside Channels: both kinds of consumer in one project, behind one handshake."""

from __future__ import annotations

from typing import TYPE_CHECKING

from asgiref.sync import sync_to_async

from wsconsumer.test import WebsocketClient

if TYPE_CHECKING:
    from django.contrib.auth.models import User

    from tests.cookbook.project import Project

MORE = {
    "legacy/urls.py": """
from channels.generic.websocket import WebsocketConsumer
from django.contrib.auth.decorators import login_required
from django.contrib.auth.models import User
from django.urls import path
from wsconsumer import asgi_view

class VisitsConsumer(WebsocketConsumer):
    def receive(self, text_data):
        session = self.scope["session"]
        session["visits"] = session.get("visits", 0) + 1
        session.save()
        self.send(f"{User.objects.count()} {session['visits']}")

urlpatterns = [path("ws/visits/", login_required(asgi_view(VisitsConsumer.as_asgi())))]
"""
}


async def test_both_in_one_project(
    loaded: Project, websocket_client: WebsocketClient, admin_user: User
) -> None:
    """The old consumer knows its user and room; news reach the members of either side."""
    await websocket_client.aforce_login(admin_user)
    async with (
        websocket_client.connect("/ws/room/attic/") as old,
        WebsocketClient().connect("/ws/news/") as new,
    ):
        await old.send_json({"text": "hello"})
        assert await old.receive_json() == {"by": "admin", "text": "hello"}
        await sync_to_async(loaded.module("chat.news").publish)("Moved!")
        assert await old.receive_json() == {"news": "Moved!"}
        assert await new.receive_json() == {"news": "Moved!"}


async def test_sync_consumers(
    loaded: Project, websocket_client: WebsocketClient, admin_user: User
) -> None:
    """A decorator refuses strangers; a sync consumer of Channels has ORM and session."""
    async with WebsocketClient().connect("/ws/visits/") as ws:
        assert (ws.accepted, ws.denial and ws.denial.status) == (False, 302)
    await websocket_client.aforce_login(admin_user)
    for visit in ("1 1", "1 2"):
        async with websocket_client.connect("/ws/visits/") as ws:
            await ws.send("knock")
            assert await ws.receive() == visit


def test_what_the_page_says(project: Project) -> None:
    """The routes are listed, each with what serves it."""
    listed = project.manage("websockets")
    assert "NewsConsumer" in listed
    assert "RoomConsumer" in listed


async def test_refusals(loaded: Project, websocket_client: WebsocketClient) -> None:
    """Another origin gets 403 and an unknown path 404, also where Channels serves."""
    for path, origin, status in (
        ("/ws/room/attic/", "https://evil.example", 403),
        ("/ws/cellar/", "", 404),
    ):
        async with websocket_client.connect(path, origin=origin) as ws:
            assert ws.denial is not None
            assert ws.denial.status == status
