"""``handshake/handler.py``: the user and the session."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import AnonymousUser, Permission, User
from django.contrib.sessions.backends.db import SessionStore
from django.core import signals
from django.db import connection
from django.test import AsyncClient, override_settings
from django.urls import path

from tests.fakes import disconnect, run, sent
from tests.handshake.telling import denied, heard, logged_in
from tests.settings import MIDDLEWARE
from wsconsumer import WebsocketConsumer
from wsconsumer.handshake.dispatcher import WebsocketDispatcher
from wsconsumer.sessions import fresh_session

if TYPE_CHECKING:
    from collections.abc import Iterator


pytestmark = pytest.mark.urls("tests.handshake.telling")


@pytest.fixture
def ada(transactional_db: None) -> User:
    """A user who may look at users."""
    user = User.objects.create_user("ada", password="secret")
    user.user_permissions.add(Permission.objects.get(codename="view_user"))
    return user


@pytest.fixture
def cookie(ada: User) -> list[tuple[bytes, bytes]]:
    """Headers with Ada's session."""
    return logged_in(ada)


@pytest.fixture
def queries() -> Iterator[list[str]]:
    """Collect the SQL of handshakes, in whichever thread it runs."""
    statements: list[str] = []

    def note(execute: Any, sql: str, *args: Any) -> Any:
        statements.append(sql)
        return execute(sql, *args)

    def started(**_: Any) -> None:
        connection.execute_wrappers.append(note)

    def finished(**_: Any) -> None:
        connection.execute_wrappers.remove(note)

    signals.request_started.connect(started)
    signals.request_finished.connect(finished)
    yield statements
    signals.request_started.disconnect(started)
    signals.request_finished.disconnect(finished)


@pytest.mark.usefixtures("transactional_db")
async def test_an_anonymous_visitor(queries: list[str]) -> None:
    """Without a session the user is anonymous, and the database is not asked."""
    assert await heard() == "AnonymousUser"
    assert queries == []


async def test_a_user(cookie: Any, queries: list[str]) -> None:
    """A session's user is there, loaded, in async code: one query besides the session's own."""
    assert await heard(headers=cookie) == "ada"
    session, user = queries
    assert "django_session" in session
    assert "auth_user" in user


@override_settings(SESSION_ENGINE="django.contrib.sessions.backends.signed_cookies")
async def test_a_user_costs_one_query(ada: User, queries: list[str]) -> None:
    """Where sessions are not in the database, the user's is the only query."""
    lines = await sync_to_async(logged_in)(ada)
    assert await heard(headers=lines) == "ada"
    (user,) = queries
    assert "auth_user" in user


@pytest.mark.parametrize(
    ("address", "anonymous", "user"),
    [
        ("/ws/login/", 302, None),
        ("/ws/permission/", 403, None),
        ("/ws/passes/", 302, 302),
    ],
)
async def test_decorators(address: str, anonymous: int, user: int | None, cookie: Any) -> None:
    """Django's own decorators work unmodified, and their response is the denial."""
    assert (await denied(address)).status == anonymous
    if user is None:
        assert await heard(address, cookie) == "ada"
    else:
        assert (await denied(address, cookie)).status == user


@pytest.mark.usefixtures("transactional_db")
async def test_login_required_redirects() -> None:
    """The redirect to the login page says where to come back to, for clients that look."""
    denial = await denied("/ws/login/")
    assert denial.headers["Location"] == "/accounts/login/?next=/ws/login/"


async def test_login_required_middleware(cookie: Any) -> None:
    """LoginRequiredMiddleware guards sockets like pages, login_not_required opens them."""
    guard = "django.contrib.auth.middleware.LoginRequiredMiddleware"
    with override_settings(MIDDLEWARE=[*MIDDLEWARE, guard]):
        assert (await denied()).status == 302
        assert (await denied("/nowhere/")).status == 404
        assert await heard("/ws/open/") == "AnonymousUser"
        assert await heard(headers=cookie) == "ada"


async def test_a_session_is_written_from_a_consumer(cookie: Any, ada: User) -> None:
    """The documented way, fresh_session(); a page sees it afterwards."""

    class Counting(WebsocketConsumer):
        async def receive(self, data: str | bytes) -> None:
            async with fresh_session(self.request) as session:
                session["visits"] = session.get("visits", 0) + 1
            await self.send("saved")

    application = WebsocketDispatcher([path("ws/", Counting.as_view())])
    go = {"type": "websocket.receive", "text": "go"}
    messages = await run(application, go, go, disconnect(), path="/ws/", headers=cookie)
    assert messages[1:] == [sent("saved"), sent("saved")]
    key = dict(cookie)[b"cookie"].decode().partition("=")[2]
    assert await SessionStore(key).aget("visits") == 2


@pytest.mark.usefixtures("transactional_db")
async def test_pages_are_served_as_before() -> None:
    """The same URLconf under HTTP: a consumer's path is 426 behind all the middleware."""
    response = await AsyncClient().get("/ws/")
    assert response.status_code == 426
    assert AnonymousUser() == response.asgi_request.user
