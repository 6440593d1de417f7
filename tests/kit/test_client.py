"""``wsconsumer.test.WebsocketClient``: the whole project, as a browser or another client."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth.decorators import login_required
from django.contrib.auth.models import User
from django.http import HttpResponse
from django.test import override_settings
from django.urls import path

from tests.settings import MIDDLEWARE
from wsconsumer import WebsocketConsumer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wsconsumer.test import WebsocketClient


class Who(WebsocketConsumer):
    """Says who is there, by which cookies."""

    async def connect(self) -> None:
        await self.accept()
        visits = await self.request.session.aget("visits", 0)
        await self.send(f"{self.user} {self.kwargs} {visits}")


def visit(request: Any) -> HttpResponse:
    """Count a visit in the session."""
    request.session["visits"] = request.session.get("visits", 0) + 1
    return HttpResponse()


def tracking(get_response: Any) -> Any:
    """Set a cookie on every response."""

    def middleware(request: Any) -> Any:
        response = get_response(request)
        response.set_cookie("tracked", f"{request.COOKIES.get('tracked', '')}x")
        return response

    return middleware


urlpatterns = [
    path("ws/<slug:room>/", Who.as_view()),
    path("ws/<slug:room>/members/", login_required(Who.as_view())),
    path("visit/", visit),
]


@pytest.fixture(autouse=True)
def _urls() -> Iterator[None]:
    with override_settings(ROOT_URLCONF=__name__):
        yield


@pytest.mark.usefixtures("db")
async def test_an_anonymous_visitor(websocket_client: WebsocketClient) -> None:
    """Without a login the user is anonymous, and login_required denies with its redirect."""
    async with websocket_client.connect("/ws/lobby/") as ws:
        assert await ws.receive() == "AnonymousUser {'room': 'lobby'} 0"
    async with websocket_client.connect("/ws/lobby/members/") as ws:
        assert ws.denial is not None
        assert ws.denial.status == 302
        assert ws.denial.headers["Location"] == "/accounts/login/?next=/ws/lobby/members/"


@pytest.fixture
def ada(db: None) -> User:
    return User.objects.create_user("ada", password="secret")


@pytest.mark.parametrize("how", ["aforce_login", "alogin"])
async def test_a_user(how: str, ada: User, websocket_client: WebsocketClient) -> None:
    """A client that is logged in is the user, until it logs out."""
    if how == "aforce_login":
        await websocket_client.aforce_login(ada)
    else:
        assert await websocket_client.alogin(username="ada", password="secret")
    async with websocket_client.connect("/ws/lobby/members/") as ws:
        assert await ws.receive() == "ada {'room': 'lobby'} 0"
    await websocket_client.alogout()
    async with websocket_client.connect("/ws/lobby/members/") as ws:
        assert not ws.accepted


def test_a_user_who_is_logged_in_by_sync_code(ada: User, websocket_client: WebsocketClient) -> None:
    """force_login() in a fixture or a sync test counts, too."""
    websocket_client.force_login(ada)
    assert "sessionid" in websocket_client.cookies


@override_settings(MIDDLEWARE=[*MIDDLEWARE, f"{__name__}.tracking"])
@pytest.mark.usefixtures("db")
async def test_pages_and_sockets_share_cookies(websocket_client: WebsocketClient) -> None:
    """What a page puts into the session a socket finds, and cookies of both are kept."""
    await websocket_client.get("/visit/")
    assert websocket_client.cookies["tracked"].value == "x"
    async with websocket_client.connect("/ws/lobby/") as ws:
        assert websocket_client.cookies["tracked"].value == "xx"
        assert await ws.receive() == "AnonymousUser {'room': 'lobby'} 1"
    async with websocket_client.connect("/ws/lobby/members/"):
        assert websocket_client.cookies["tracked"].value == "xxx"


async def test_origin(websocket_client: WebsocketClient) -> None:
    """The client is a page of the site, unless the test says otherwise."""
    with override_settings(MIDDLEWARE=[]):
        async with websocket_client.connect("/nowhere/", origin="http://evil.com") as ws:
            assert ws.denial is not None
            assert ws.denial.status == 403
        for origin in ("http://testserver", None):
            async with websocket_client.connect("/nowhere/", origin=origin) as ws:
                assert ws.denial is not None
                assert ws.denial.status == 404


@override_settings(SECURE_SSL_REDIRECT=True)
@pytest.mark.usefixtures("db")
async def test_secure(websocket_client: WebsocketClient) -> None:
    """A secure client is a page that came by https."""
    async with websocket_client.connect("/nowhere/") as ws:
        assert ws.denial is not None
        assert ws.denial.status == 301
    async with websocket_client.connect("/nowhere/", secure=True) as ws:
        assert ws.denial is not None
        assert ws.denial.status == 404


@override_settings(MIDDLEWARE=[])
async def test_headers(websocket_client: WebsocketClient) -> None:
    """Headers of the test's own go before the client's, such as another Host or Origin."""
    headers = {"Host": "example.com", "Origin": "http://example.com", "Cookie": "a=1"}
    async with websocket_client.connect("/nowhere/", headers=headers) as ws:
        assert ws.denial is not None
        assert ws.denial.status == 404
