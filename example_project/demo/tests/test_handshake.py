"""The whole handshake, from the session cookie through `urls.py` to the consumer; no server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.urls import reverse

from demo.tests.wire import data_of, talk
from wsconsumer.dispatcher import WebsocketDispatcher

if TYPE_CHECKING:
    from django.test import AsyncClient

pytestmark = pytest.mark.usefixtures("transactional_db")

GREETING, MEMBERS = reverse("demo:greeting"), reverse("demo:members")
HOST = (b"host", b"testserver")
DENIAL: dict[str, Any] = {"websocket.http.response": {}}  # what a server says that can send one


@pytest.fixture
async def cookie(async_client: AsyncClient) -> tuple[bytes, bytes]:
    """Log in as ada; return the header with the session cookie."""
    await async_client.aforce_login(await User.objects.acreate(username="ada"))
    session = async_client.cookies[settings.SESSION_COOKIE_NAME].value
    return b"cookie", f"{settings.SESSION_COOKIE_NAME}={session}".encode()


async def test_members_sends_strangers_to_the_login_page() -> None:
    """Without a login the answer is that of any view with `login_required`: a redirect."""
    start, body = await talk(WebsocketDispatcher(), path=MEMBERS, headers=[HOST], extensions=DENIAL)
    assert start["type"] == "websocket.http.response.start"
    assert start["status"] == 302
    location = f"{reverse('accounts:login')}?next={MEMBERS}"
    assert dict(start["headers"])[b"location"] == location.encode()
    assert body["type"] == "websocket.http.response.body"


async def test_members_refuses_strangers_where_the_server_has_no_denial_responses() -> None:
    """Without the extension the connection is closed before it was accepted: a bare 403."""
    sent = await talk(WebsocketDispatcher(), path=MEMBERS, headers=[HOST])
    assert [event["type"] for event in sent] == ["websocket.close"]


async def test_members_lets_members_in(cookie: tuple[bytes, bytes]) -> None:
    """The session cookie opens the members socket, which knows whose it is."""
    sent = await talk(WebsocketDispatcher(), "hello", path=MEMBERS, headers=[HOST, cookie])
    assert sent[0]["type"] == "websocket.accept"
    assert data_of(sent) == ["Members so far: 1", "ada: hello"]


async def test_members_refuses_a_session_that_has_ended(
    cookie: tuple[bytes, bytes], async_client: AsyncClient
) -> None:
    """After a logout the old cookie opens nothing."""
    await async_client.alogout()
    sent = await talk(
        WebsocketDispatcher(), path=MEMBERS, headers=[HOST, cookie], extensions=DENIAL
    )
    assert sent[0]["status"] == 302


async def test_greeting_by_name(cookie: tuple[bytes, bytes]) -> None:
    """The greeting socket finds the name by the session cookie."""
    sent = await talk(WebsocketDispatcher(), path=GREETING, headers=[HOST, cookie])
    assert data_of(sent) == ["Hello ada, you are logged in."]


async def test_greeting_without_a_cookie() -> None:
    """Whoever has no session is let in as a stranger."""
    sent = await talk(WebsocketDispatcher(), path=GREETING, headers=[HOST])
    assert data_of(sent) == ["Hello stranger. Log in and come back."]
