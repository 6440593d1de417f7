"""Authenticate by the first message, and the page's script: tokens/static/tokens/news.js."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from django.contrib.auth.models import User
from django.core import signing

from tests.cookbook.browsing import until, visit

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

    from tests.cookbook.project import Project
    from wsconsumer.test import WebsocketClient
    from wsconsumer.test.live import LiveServer

MORE = {
    "pages/urls.py": """
from django.http import HttpResponse
from django.urls import path

PAGE = '''<script type="module">
import { openNews } from "/static/tokens/news.js";
window.story = [];
const getToken = async () => (await (await fetch("/token/")).json()).token;
const socket = openNews("/ws/news/", getToken);
socket.addEventListener("message", ({ detail }) => story.push(detail.data));
</script>'''

urlpatterns = [path("", lambda request: HttpResponse(PAGE))]
"""
}


@pytest.fixture
def ada(loaded: Project) -> User:
    """A user, as whom nobody is logged in."""
    return User.objects.create_user("ada")


@pytest.fixture
def token(loaded: Project, ada: User) -> str:
    """Her token."""
    value: str = loaded.module("tokens.tokens").token_for(ada)
    return value


async def test_a_token(token: str, websocket_client: WebsocketClient) -> None:
    """Who has shown a token is that user, for as long as the connection lives."""
    async with websocket_client.connect("/ws/news/") as ws:
        await ws.send_json({"token": token})
        assert await ws.receive_json() == {"welcome": "ada"}
        await ws.advance(10)
        await ws.send_json({"news": 1})
        assert await ws.receive_json() == {"news": 1}


async def test_nothing_comes(loaded: Project, websocket_client: WebsocketClient) -> None:
    """After five seconds the connection is closed."""
    async with websocket_client.connect("/ws/news/") as ws:
        await ws.settle()
        await ws.advance(4)
        await ws.expect_nothing()
        assert ws.close_code is None
        await ws.advance(1)
        assert (await ws.receive_close(), ws.close_reason) == (4401, "no token came")


@pytest.mark.parametrize("kind", ["forged", "of another use", "without", "not a dict", "old"])
async def test_no_token(
    loaded: Project, ada: User, token: str, websocket_client: WebsocketClient, kind: str
) -> None:
    """Whatever else comes closes the connection at once, also for who has logged in."""
    await websocket_client.aforce_login(ada)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("time.time", lambda: 0.0)
        old = loaded.module("tokens.tokens").token_for(ada)
    content = {
        "forged": {"token": token[:-1]},
        "of another use": {"token": signing.dumps(ada.pk)},
        "without": {"news": 1},
        "not a dict": [token],
        "old": {"token": old},
    }[kind]
    async with websocket_client.connect("/ws/news/") as ws:
        await ws.send_json(content)
        assert await ws.receive_close() == 4401
        await ws.expect_nothing()


async def test_a_user_who_is_gone(ada: User, token: str, websocket_client: WebsocketClient) -> None:
    """The token of a user who is no longer active lets nobody in."""
    await User.objects.filter(pk=ada.pk).aupdate(is_active=False)
    async with websocket_client.connect("/ws/news/") as ws:
        await ws.send_json({"token": token})
        assert await ws.receive_close() == 4401


def test_in_a_browser(site: LiveServer, browser: Chrome, ada: User) -> None:
    """The page gets a token and is let in, and again after the connection was lost."""
    visit(browser, site, "/", ada)
    until(browser, "return window.story", [{"welcome": "ada"}])
    browser.execute_script("dispatchEvent(new Event('pagehide'))")
    browser.execute_script("dispatchEvent(new PageTransitionEvent('pageshow', {persisted: true}))")
    until(browser, "return window.story", [{"welcome": "ada"}] * 2)
