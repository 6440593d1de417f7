"""The whole handshake, from the session cookie through `urls.py` to the consumer; no server."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from django.contrib.auth.models import User
from django.urls import reverse

if TYPE_CHECKING:
    from wsconsumer.test import WebsocketClient

pytestmark = pytest.mark.django_db

GREETING, MEMBERS = reverse("demo:greeting"), reverse("demo:members")


@pytest.fixture
def ada(db: None) -> User:
    """A member."""
    return User.objects.create_user("ada")


async def test_members_sends_strangers_to_the_login_page(websocket_client: WebsocketClient) -> None:
    """Without a login the answer is that of any view with `login_required`: a redirect."""
    async with websocket_client.connect(MEMBERS) as ws:
        assert ws.denial is not None
        assert ws.denial.status == 302
        assert ws.denial.headers["Location"] == f"{reverse('accounts:login')}?next={MEMBERS}"


async def test_members_lets_members_in(ada: User, websocket_client: WebsocketClient) -> None:
    """The session cookie opens the members socket, which knows whose it is."""
    await websocket_client.aforce_login(ada)
    async with websocket_client.connect(MEMBERS) as ws:
        assert await ws.receive() == "Members so far: 1"
        await ws.send("hello")
        assert await ws.receive() == "ada: hello"


async def test_members_refuses_a_session_that_has_ended(
    ada: User, websocket_client: WebsocketClient
) -> None:
    """After a logout the old cookie opens nothing."""
    await websocket_client.aforce_login(ada)
    await websocket_client.alogout()
    async with websocket_client.connect(MEMBERS) as ws:
        assert not ws.accepted


async def test_other_sites_are_refused(ada: User, websocket_client: WebsocketClient) -> None:
    """A page of another site can't open a socket with a visitor's cookie."""
    await websocket_client.aforce_login(ada)
    async with websocket_client.connect(MEMBERS, origin="https://evil.example") as ws:
        assert ws.denial is not None
        assert ws.denial.status == 403


async def test_greeting_by_name(ada: User, websocket_client: WebsocketClient) -> None:
    """The greeting socket finds the name by the session cookie."""
    await websocket_client.aforce_login(ada)
    async with websocket_client.connect(GREETING) as ws:
        assert await ws.receive() == "Hello ada, you are logged in."


async def test_greeting_without_a_cookie(websocket_client: WebsocketClient) -> None:
    """Whoever has no session is let in as a stranger."""
    async with websocket_client.connect(GREETING) as ws:
        assert await ws.receive() == "Hello stranger. Log in and come back."
