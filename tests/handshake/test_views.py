"""``view.py``: any ASGI application as a view, tested with a Channels consumer and Starlette."""

from __future__ import annotations

from typing import Any

import pytest
from asgiref.sync import sync_to_async
from channels.db import database_sync_to_async
from channels.generic.websocket import AsyncWebsocketConsumer, WebsocketConsumer
from django.contrib.auth.decorators import login_required
from django.contrib.auth.models import User
from django.http import HttpRequest
from django.test import AsyncClient, override_settings
from django.urls import path
from starlette.endpoints import WebSocketEndpoint

from tests.fakes import scope
from tests.handshake.telling import logged_in
from wsconsumer import WebsocketConsumer as OurConsumer
from wsconsumer import asgi_view
from wsconsumer.handshake.dispatcher import WebsocketDispatcher
from wsconsumer.handshake.request import WebsocketRequest
from wsconsumer.handshake.response import UpgradeResponse
from wsconsumer.test import connect


class ChannelsChat(AsyncWebsocketConsumer):  # type: ignore[misc]  # Channels has no types
    """An async consumer as people have it."""

    async def connect(self) -> None:
        await self.accept()
        kwargs = self.scope["url_route"]["kwargs"]
        await self.send(f"{self.scope['user']} {kwargs} {self.scope['cookies'].get('theme')}")

    async def receive(self, text_data: Any = None, bytes_data: Any = None) -> None:
        users = await database_sync_to_async(User.objects.count)()
        visits = self.scope["session"].get("visits", 0)
        await self.send(f"{text_data} {users} {visits}")


class ChannelsSyncChat(WebsocketConsumer):  # type: ignore[misc]  # Channels has no types
    """A sync consumer, which Channels runs in threads."""

    def receive(self, text_data: Any = None, bytes_data: Any = None) -> None:
        self.send(f"{self.scope['user']} {text_data}")


class StarletteEcho(WebSocketEndpoint):
    """An endpoint of another framework."""

    encoding = "text"

    async def on_receive(self, websocket: Any, data: Any) -> None:
        await websocket.send_text(f"{websocket.scope['user']} {data}")


async def bare(scope: Any, receive: Any, send: Any) -> None:
    """Accepts, and says what is in its scope."""
    await receive()
    await send({"type": "websocket.accept", "headers": [(b"x-mine", b"1")]})
    await send({"type": "websocket.send", "text": str("user" in scope)})


urlpatterns = [
    path("ws/channels/<int:pk>/", login_required(asgi_view(ChannelsChat.as_asgi()))),
    path("ws/sync/", asgi_view(ChannelsSyncChat.as_asgi())),
    path("ws/starlette/", asgi_view(StarletteEcho)),
    path("ws/bare/", asgi_view(bare)),
]


def tracking(get_response: Any) -> Any:
    """Set a cookie on every response."""

    def middleware(request: Any) -> Any:
        response = get_response(request)
        response.set_cookie("tracked", "yes")
        return response

    return middleware


@pytest.fixture
def ada(transactional_db: None) -> User:
    return User.objects.create_user("ada")


async def test_a_channels_consumer(ada: User) -> None:
    """It finds user, session, cookies and url_route where Channels puts them, behind decorators."""
    lines = await sync_to_async(logged_in)(ada)
    lines = [(name, value + b"; theme=dark" * (name == b"cookie")) for name, value in lines]
    dispatcher = WebsocketDispatcher(urlpatterns)
    headers = [(name.decode(), value.decode()) for name, value in lines]
    async with connect(dispatcher, "/ws/channels/7/", headers=headers) as ws:
        assert await ws.receive() == "ada {'pk': 7} dark"
        await ws.send("hi")
        assert await ws.receive() == "hi 1 0"
    async with connect(dispatcher, "/ws/channels/7/") as ws:
        assert ws.denial is not None
        assert ws.denial.status == 302


@pytest.mark.usefixtures("transactional_db")
@pytest.mark.parametrize("address", ["/ws/sync/", "/ws/starlette/"])
async def test_other_applications(address: str) -> None:
    """A sync consumer of Channels and an endpoint of Starlette run too."""
    async with connect(WebsocketDispatcher(urlpatterns), address) as ws:
        await ws.send("hi")
        assert await ws.receive() == "AnonymousUser hi"


@override_settings(MIDDLEWARE=[f"{__name__}.tracking"])
async def test_cookies_of_the_handshake() -> None:
    """Cookies of middleware go out with the application's accept, beside its own headers."""
    async with connect(WebsocketDispatcher(urlpatterns), "/ws/bare/") as ws:
        assert ws.headers["X-Mine"] == "1"
        assert ws.cookies["tracked"].value == "yes"
        assert await ws.receive() == "False"


async def test_plain_http() -> None:
    """Like a consumer's path, a mounted application's answers plain HTTP with 426."""
    with override_settings(ROOT_URLCONF=__name__, MIDDLEWARE=[]):
        assert (await AsyncClient().get("/ws/bare/")).status_code == 426


async def test_the_view_itself() -> None:
    """as_view() makes a function that returns a 101 carrying an instance, named like its class."""
    view = OurConsumer.as_view()
    response = view(WebsocketRequest(scope()), 1, room="lobby")
    assert isinstance(response, UpgradeResponse)
    assert response.status_code == 101
    consumer: Any = response.application
    assert (consumer.args, consumer.kwargs) == ((1,), {"room": "lobby"})
    assert (view.__name__, view.__doc__) == ("WebsocketConsumer", OurConsumer.__doc__)
    assert view(HttpRequest()).status_code == 426
    async with connect(response.application) as ws:
        assert ws.accepted
