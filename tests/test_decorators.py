"""``decorators.py``: ``authenticate_with()`` around a view and on ``dispatch()``."""

from __future__ import annotations

import logging
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth import get_user
from django.contrib.auth.decorators import (
    login_not_required,
    login_required,
    permission_required,
    user_passes_test,
)
from django.contrib.auth.mixins import LoginRequiredMixin, PermissionRequiredMixin
from django.contrib.auth.models import Permission, User
from django.http import HttpResponse
from django.test import Client, override_settings
from django.urls import path
from django.utils.decorators import method_decorator
from django.views.decorators.csrf import csrf_exempt

from tests.settings import MIDDLEWARE
from wsconsumer import WebsocketConsumer, asgi_view
from wsconsumer.decorators import authenticate_with
from wsconsumer.handshake.routes import websocket_routes
from wsconsumer.test import WebsocketClient, advance, connect

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from wsconsumer.test import Websocket

pytestmark = [pytest.mark.urls(__name__), pytest.mark.django_db]


def by_token(request: Any) -> Any:
    """Find the user whose name is the token, with a payload that ends in a minute."""
    token = request.headers.get("Authorization", "").removeprefix("Bearer ")
    user = User.objects.filter(username=token).first()
    return user and (user, {"sub": token, "exp": time.time() + 60})


class Who(WebsocketConsumer):
    """Says who is there."""

    async def connect(self) -> None:
        await self.accept()
        request: Any = self.request
        assert await request.auser() == self.user
        await self.send(f"{self.user} {type(request.auth).__name__}")


class Session(WebsocketConsumer):
    """Says whether the handshake has read the session."""

    async def connect(self) -> None:
        await self.accept()
        await self.send(f"accessed: {self.request.session.accessed}")


class Members(LoginRequiredMixin, Who):
    """For those who are logged in."""


class Viewers(PermissionRequiredMixin, Who):
    """For those who have a permission."""

    permission_required = "auth.view_user"
    raise_exception = True


@method_decorator(authenticate_with(by_token), name="dispatch")
class Decorated(Members):
    """A token first, then a mixin that looks at its user."""


@method_decorator([login_required, authenticate_with(by_token)], name="dispatch")
class Outside(Who):
    """The session first."""


@method_decorator([authenticate_with(by_token), login_required], name="dispatch")
class Inside(Who):
    """The token first."""


@method_decorator(authenticate_with(by_token, optional=True), name="dispatch")
class Anybody(Who):
    """With a token or without."""


class UnderAMixin(LoginRequiredMixin, Anybody):
    """The session first."""


async def mounted(scope: Any, receive: Any, send: Any) -> None:
    """Say who is there."""
    await receive()
    await send({"type": "websocket.accept"})
    await send({"type": "websocket.send", "text": f"{scope['user']} mounted"})
    await send({"type": "websocket.close"})


@authenticate_with(by_token)
def page(request: Any) -> HttpResponse:
    """A page that is not for sockets."""
    return HttpResponse(str(request.user))


with_token = authenticate_with(by_token)
viewer = permission_required("auth.view_user", raise_exception=True)
staff = user_passes_test(lambda user: user.is_staff, login_url="/nope/")
urlpatterns = [
    path("ws/", with_token(Who.as_view())),
    path("ws/session/", with_token(Session.as_view())),
    path("ws/optional/", authenticate_with(by_token, optional=True)(Who.as_view())),
    path("ws/open/", authenticate_with(by_token, optional=True)(login_not_required(Who.as_view()))),
    path("ws/either/", authenticate_with(by_token, get_user)(Who.as_view())),
    path("ws/twice/", authenticate_with(get_user)(with_token(Who.as_view()))),
    path("ws/login-outside/", login_required(with_token(Who.as_view()))),
    path("ws/login-inside/", with_token(login_required(Who.as_view()))),
    path("ws/viewer-inside/", with_token(viewer(Who.as_view()))),
    path("ws/viewer-outside/", viewer(with_token(Who.as_view()))),
    path("ws/staff-inside/", with_token(staff(Who.as_view()))),
    path("ws/csrf/", csrf_exempt(with_token(Who.as_view()))),
    path("ws/members/", with_token(Members.as_view())),
    path("ws/viewers/", with_token(Viewers.as_view())),
    path("ws/decorated/", Decorated.as_view()),
    path("ws/outside/", Outside.as_view()),
    path("ws/inside/", Inside.as_view()),
    path("ws/anybody/", Anybody.as_view()),
    path("ws/under-a-mixin/", UnderAMixin.as_view()),
    path("ws/mounted/", with_token(asgi_view(mounted))),
    path("page/", page),
]

BOTH_WAYS = ("/ws/", "/ws/decorated/", "/ws/inside/")


@pytest.fixture(autouse=True)
def ada() -> User:
    """A user who may look at users."""
    user = User.objects.create_user("ada")
    user.user_permissions.add(Permission.objects.get(codename="view_user"))
    return user


@pytest.fixture(autouse=True)
def bob() -> User:
    """One who may do nothing."""
    return User.objects.create_user("bob")


@pytest.fixture
def cookie(bob: User) -> dict[str, str]:
    """Bob's session."""
    client = Client()
    client.force_login(bob)
    return {"cookie": f"sessionid={client.cookies['sessionid'].value}"}


@asynccontextmanager
async def opened(address: str, token: str = "", **headers: str) -> AsyncIterator[Websocket]:
    """Open a websocket with a token."""
    lines = {"Authorization": f"Bearer {token}"} if token else {}
    async with WebsocketClient().connect(address, headers={**lines, **headers}) as ws:
        yield ws


async def answer(address: str, token: str = "", **headers: str) -> str | bytes | int:
    """Return what the consumer says, or the status of the denial."""
    async with opened(address, token, **headers) as ws:
        return await ws.receive() if ws.denial is None else ws.denial.status


@pytest.mark.parametrize(
    ("address", "alone", "with_cookie", "with_token", "with_both"),
    [
        ("/ws/", 403, 403, "ada dict", "ada dict"),
        ("/ws/decorated/", 403, 403, "ada dict", "ada dict"),
        ("/ws/inside/", 403, 403, "ada dict", "ada dict"),
        ("/ws/login-inside/", 403, 403, "ada dict", "ada dict"),
        ("/ws/members/", 403, 403, "ada dict", "ada dict"),
        ("/ws/csrf/", 403, 403, "ada dict", "ada dict"),
        ("/ws/login-outside/", 302, 403, 302, "ada dict"),
        ("/ws/outside/", 302, 403, 302, "ada dict"),
        ("/ws/under-a-mixin/", 302, "AnonymousUser NoneType", 302, "ada dict"),
        ("/ws/optional/", *["AnonymousUser NoneType"] * 2, *["ada dict"] * 2),
        ("/ws/anybody/", *["AnonymousUser NoneType"] * 2, *["ada dict"] * 2),
        ("/ws/either/", 403, "bob NoneType", "ada dict", "ada dict"),
        ("/ws/twice/", 403, 403, 403, "ada dict"),
        ("/ws/viewer-inside/", 403, 403, "ada dict", "ada dict"),
        ("/ws/viewer-outside/", 403, 403, 403, 403),
        ("/ws/viewers/", 403, 403, "ada dict", "ada dict"),
        ("/ws/staff-inside/", 403, 403, 302, 302),
        ("/ws/mounted/", 403, 403, "ada mounted", "ada mounted"),
    ],
)
async def test_who_gets_in(
    address: str,
    alone: Any,
    with_cookie: Any,
    with_token: Any,
    with_both: Any,
    cookie: dict[str, str],
) -> None:
    """What stands outside sees the session's user, what stands inside the token's."""
    assert await answer(address) == alone
    assert await answer(address, **cookie) == with_cookie
    assert await answer(address, "ada") == with_token
    assert await answer(address, "ada", **cookie) == with_both


@pytest.mark.parametrize("address", ["/ws/viewer-inside/", "/ws/viewers/"])
async def test_permissions_are_those_of_the_tokens_user(address: str) -> None:
    """Who may not do this is denied, token or not."""
    assert await answer(address, "bob") == 403


@pytest.mark.parametrize(
    ("address", "alone", "token"),
    [
        *((address, 403, "ada dict") for address in BOTH_WAYS),
        ("/ws/optional/", 302, 302),
        ("/ws/anybody/", 302, 302),
        ("/ws/open/", "AnonymousUser NoneType", "ada dict"),
        ("/ws/login-outside/", 302, 302),
    ],
)
async def test_login_required_middleware(
    address: str, alone: Any, token: Any, cookie: dict[str, str]
) -> None:
    """It leaves a view that needs a user to the decorator, and guards one that needs none."""
    guard = "django.contrib.auth.middleware.LoginRequiredMiddleware"
    with override_settings(MIDDLEWARE=[*MIDDLEWARE, guard]):
        assert await answer(address) == alone
        assert await answer(address, "ada") == token
        assert await answer(address, "ada", **cookie) == "ada dict"


def test_the_view_itself_is_not_touched() -> None:
    """login_not_required is said of what is returned, not of what is decorated."""
    view = Who.as_view()
    assert getattr(with_token(view), "login_required", True) is False
    assert not hasattr(view, "login_required")
    assert not hasattr(authenticate_with(by_token, optional=True)(view), "login_required")


async def test_without_authentication_middleware() -> None:
    """Neither sessions nor a user of theirs are needed."""
    with override_settings(MIDDLEWARE=[]):
        assert await answer("/ws/", "ada") == "ada dict"
        assert await answer("/ws/") == 403
        assert await answer("/ws/optional/") == "AnonymousUser NoneType"


async def test_a_session_costs_nothing(cookie: dict[str, str]) -> None:
    """A cookie that does not count is not looked up."""
    assert await answer("/ws/session/", "ada", **cookie) == "accessed: False"


@pytest.mark.parametrize("address", BOTH_WAYS)
async def test_the_connection_ends_with_the_token(address: str) -> None:
    """At the exp of request.auth the connection is closed with 4401."""
    async with opened(address, "ada") as ws:
        assert await ws.receive() == "ada dict"
        await advance(59)
        await ws.expect_nothing()
        await advance(2)
        assert (await ws.receive_close(), ws.close_reason) == (4401, "the token has expired")


async def test_in_a_test_of_one_consumer(bob: User) -> None:
    """The kit's connect() asks too; the user that it is given is a session's."""
    async with connect(Decorated, headers={"Authorization": "Bearer ada"}, user=bob) as ws:
        assert await ws.receive() == "ada dict"
    async with connect(Decorated, user=bob) as ws:
        assert ws.denial is not None
        assert ws.denial.status == 403


async def test_the_log_says_who_was_asked(caplog: pytest.LogCaptureFixture) -> None:
    """A denial is one line, at the level of other refusals, with the request."""
    assert await answer("/ws/") == 403
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("wsconsumer.handshake", logging.WARNING)
    text = "Refused a websocket on /ws/ with 403: no user was found by by_token."
    assert record.getMessage() == text
    assert record.__dict__["request"].path == "/ws/"


@pytest.mark.parametrize("address", BOTH_WAYS)
async def test_a_page_gets_426(address: str) -> None:
    """Plain HTTP is told that there is a websocket, whoever asks."""
    assert (await WebsocketClient().get(address)).status_code == 426


async def test_an_ordinary_page_is_guarded_too() -> None:
    """The decorator lets nobody past who was not found, wherever it stands."""
    client = WebsocketClient()
    assert (await client.get("/page/")).status_code == 403
    response = await client.get("/page/", headers={"authorization": "Bearer ada"})
    assert response.content == b"ada"


def test_the_routes_name_it() -> None:
    """manage.py websockets shows it among the decorators, in their order."""
    shown = {route.path: route.decorators for route in websocket_routes()}
    assert shown["/ws/"] == ["authenticate_with"]
    assert shown["/ws/login-outside/"] == ["login_required", "authenticate_with"]
    assert shown["/ws/outside/"] == ["login_required", "authenticate_with"]
    assert shown["/ws/decorated/"] == ["authenticate_with", "LoginRequiredMixin"]


def test_as_asgi_is_refused() -> None:
    """Without a handshake nobody would be asked."""
    with pytest.raises(TypeError, match="has no handshake, so dispatch\\(\\) of Decorated would"):
        Decorated.as_asgi()


def test_nobody_to_ask() -> None:
    """Without an authenticator, and with what is none, decorating is an error."""
    with pytest.raises(TypeError, match="at least one authenticator, got none"):
        authenticate_with()
    with pytest.raises(TypeError, match=r"expects authenticators.*'JWTAuthentication'"):
        authenticate_with("JWTAuthentication")
