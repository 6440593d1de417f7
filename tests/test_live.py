"""``live.py``: from the rendered page to its socket, without losing what happens in between."""

from __future__ import annotations

import base64
import json
import secrets
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import AnonymousUser, User
from django.core import signing
from django.core.exceptions import ImproperlyConfigured, SynchronousOnlyOperation
from django.http import HttpResponse
from django.test import RequestFactory
from django.urls import path
from django.views.generic import TemplateView, View

from wsconsumer import CloseCode, Group, WebsocketConsumer, abroadcast
from wsconsumer.groups import declared
from wsconsumer.groups.histories import histories
from wsconsumer.live import LiveConsumer, LiveView, aposition, position
from wsconsumer.live_token import SALT
from wsconsumer.test import WebsocketClient

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from django.contrib.auth.base_user import AbstractBaseUser
    from django.http import HttpRequest

    from wsconsumer.test import Websocket

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.urls(__name__)]


class Room(WebsocketConsumer):
    """Joins what the URL says."""

    async def connect(self) -> None:
        await self.join(f"room.{self.kwargs['slug']}")


class Choosy(LiveConsumer):
    """Asks again who may hear."""

    async def allow(self, user: AbstractBaseUser | AnonymousUser, group: str) -> bool:
        return group != "room.secret"


urlpatterns = [
    path("ws/live/", LiveConsumer.as_view()),
    path("ws/choosy/", Choosy.as_view()),
    path("ws/room/<slug:slug>/", Room.as_view()),
]


@pytest.fixture(autouse=True)
def _rooms() -> Iterator[None]:
    histories.clear()
    with declared.only():
        Group("room.{slug}", keep=5)
        yield


@pytest.fixture
def ada() -> User:
    return User.objects.create_user("ada", password="analytical")


def request_of(user: Any = None) -> HttpRequest:
    request = RequestFactory().get("/")
    request.user = user or AnonymousUser()
    return request


def url(where: str, live: str, **more: Any) -> str:
    wsc = json.dumps({"live": live, **more}).encode()
    return f"{where}?wsc={base64.urlsafe_b64encode(wsc).decode().rstrip('=')}"


@asynccontextmanager
async def open_page(
    where: str, live: str, user: User | None = None, **more: Any
) -> AsyncIterator[Any]:
    client = WebsocketClient()
    if user is not None:
        await client.aforce_login(user)
    address = url(where, live, **more)
    offered = ["wsconsumer.v1"]
    async with client.connect(address, subprotocols=offered, allow_unread=True) as ws:
        yield ws


async def frames(ws: Websocket, count: int) -> list[Any]:
    """Receive frames; return the offset of each, and its payload if it has one."""
    found = []
    for _ in range(count):
        data = await ws.receive()
        assert isinstance(data, str)
        header, newline, payload = data[1:].partition("\n")
        offset = json.loads(header)["offset"]
        found.append((offset, payload) if newline else offset)
    return found


@pytest.mark.parametrize("where", ["/ws/live/", "/ws/room/a/"])
async def test_what_comes_after_the_page_was_rendered(where: str) -> None:
    """A consumer without code, and one that joins the group itself, go on from the position."""
    await abroadcast("room.a", "in the page")
    live = await aposition("room.a", request=request_of())
    await abroadcast("room.a", "while it travels")
    async with open_page(where, live) as ws:
        await abroadcast("room.a", "later")
        assert await frames(ws, 3) == [1, (2, "while it travels"), (3, "later")]


async def test_who_has_seen_more_than_the_page() -> None:
    """When the socket comes back, what the client saw itself counts, not where the page was."""
    live = await aposition("room.a", request=request_of())
    async with open_page("/ws/live/", live) as ws:
        await abroadcast("room.a", "one")
        await abroadcast("room.a", "two")
        epoch = json.loads(str(await ws.receive())[1:])["epoch"]
    async with open_page("/ws/live/", live, at={"room.a": [epoch, 1]}) as back:
        assert await frames(back, 2) == [1, (2, "two")]


async def test_several_groups() -> None:
    """A page may be about more than one."""
    live = await aposition("room.a", "room.b", request=request_of())
    async with open_page("/ws/live/", live) as ws:
        assert await frames(ws, 2) == [0, 0]
        await abroadcast("room.b", "b")
        assert await frames(ws, 1) == [(1, "b")]


async def test_another_user(ada: User) -> None:
    """The text is for the user of the page; for whoever else has it, it opens nothing."""
    live = await sync_to_async(position)("room.a", request=request_of(ada))
    async with open_page("/ws/live/", live, ada) as ws:
        assert await frames(ws, 1) == [0]
    async with open_page("/ws/live/", live) as ws:
        assert await ws.receive_close() == CloseCode.REFUSED
    for_all = await aposition("room.a", request=request_of())
    async with open_page("/ws/live/", for_all, ada) as ws:
        assert await ws.receive_close() == CloseCode.REFUSED


async def test_another_password(ada: User) -> None:
    """After the password was changed, pages that were rendered before open nothing."""
    live = await sync_to_async(position)("room.a", request=request_of(ada))
    ada.set_password("difference")
    await ada.asave()
    async with open_page("/ws/live/", live, ada) as ws:
        assert await ws.receive_close() == CloseCode.REFUSED


@pytest.mark.parametrize("live", ["", "nonsense", "a:b:c"])
async def test_a_text_that_nobody_signed(live: str, caplog: pytest.LogCaptureFixture) -> None:
    """It opens nothing, as the log says, and tells an ordinary consumer nothing."""
    async with open_page("/ws/live/", live) as ws:
        assert await ws.receive_close() == CloseCode.REFUSED
    assert caplog.messages == [
        "Refused a websocket on /ws/live/ with 403: the client sends no text that position() made."
    ]
    async with open_page("/ws/room/a/", live) as ws:
        assert await frames(ws, 1) == [0]


async def test_an_old_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a day a page has to be loaded again."""
    live = await aposition("room.a", request=request_of())
    later = time.time() + 25 * 60 * 60
    monkeypatch.setattr("django.core.signing.time.time", lambda: later)
    async with open_page("/ws/live/", live) as ws:
        assert await ws.receive_close() == CloseCode.NOT_AUTHENTICATED
    async with open_page("/ws/room/a/", live) as ws:
        assert json.loads(str(await ws.receive())[1:])["reload"] is True


async def test_asking_again(caplog: pytest.LogCaptureFixture) -> None:
    """``allow()`` is asked for each group at each connection, and a no is logged."""
    live = await aposition("room.a", "room.secret", request=request_of())
    async with open_page("/ws/choosy/", live) as ws:
        assert await ws.receive_close() == CloseCode.REFUSED
    assert "with 403: allow() says no to the group 'room.secret'." in caplog.text
    live = await aposition("room.a", request=request_of())
    async with open_page("/ws/choosy/", live) as ws:
        assert await frames(ws, 1) == [0]


async def test_a_group_that_keeps_nothing() -> None:
    """The error says what to declare."""
    with pytest.raises(ValueError, match="expects groups that keep, got 'news'"):
        await aposition("news", request=request_of())
    with pytest.raises(TypeError, match="The name of a group is a str"):
        await aposition(7, request=request_of())  # type: ignore[arg-type]


async def test_a_group_that_nobody_resumes_yet() -> None:
    """Its page says that it knows nothing of it: once it is resumed, the page is told to reload."""
    with declared.only():
        Group("room.{slug}", keep=5, resume=False)
        await abroadcast("room.a", "numbered")
        live = await aposition("room.a", request=request_of())
        async with open_page("/ws/live/", live) as ws:
            await abroadcast("room.a", "while nobody resumes")
            data = await ws.receive()
            assert data == '\x1e{"group":"room.a"}\nwhile nobody resumes'
    async with open_page("/ws/live/", live) as ws:
        header = json.loads(str(await ws.receive())[1:])
        assert (header["offset"], header["reload"]) == (2, True)


async def test_too_many_groups() -> None:
    """What would fit in no URL is refused."""
    names = [f"room.{secrets.token_hex(20)}" for _ in range(90)]
    with pytest.raises(ValueError, match="for 90 groups, and a URL has room for 3000"):
        await aposition(*names, request=request_of())


async def test_in_an_event_loop() -> None:
    """``position()`` may wait, and says what to write."""
    with pytest.raises(SynchronousOnlyOperation, match=r"Write `await aposition\(\.\.\.\)`"):
        position("room.a", request=request_of())


class Page(LiveView, TemplateView):
    """Reads its state after the position was taken."""

    template_name = "never-rendered.html"

    def get_live_groups(self) -> list[str]:
        return [f"room.{self.kwargs['slug']}"]

    def render_to_response(self, context: dict[str, Any], **kwargs: Any) -> HttpResponse:
        return HttpResponse(json.dumps({"live": context["live"]}))


class Fixed(LiveView, View):
    """Is always about the same, and makes its own context."""

    live_groups = ("room.a",)

    def get(self, request: HttpRequest) -> HttpResponse:
        return HttpResponse(self._live)


def test_a_live_view() -> None:
    """Its context has ``live``, for the groups that the view names."""
    response: Any = Page.as_view()(request_of(), slug="a")
    live = json.loads(response.content)["live"]
    assert list(signing.loads(live, salt=SALT)[0]) == ["room.a"]
    response = Fixed.as_view()(request_of())
    live = response.content.decode()
    assert list(signing.loads(live, salt=SALT)[0]) == ["room.a"]


def test_a_live_view_about_nothing() -> None:
    """It has to say which groups."""
    with pytest.raises(ImproperlyConfigured, match="is a LiveView without groups"):
        type("Nothing", (LiveView, View), {}).as_view()(request_of())  # type: ignore[attr-defined]
