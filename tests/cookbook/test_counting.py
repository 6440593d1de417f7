"""Who is in a room, and the page's script: presence/static/presence/presence.js."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth.models import User
from django.utils import timezone

from tests.cookbook.browsing import texts, until, visit
from wsconsumer.test import WebsocketClient

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

    from tests.cookbook.project import Project
    from wsconsumer.test.live import LiveServer

MORE = {
    "pages/urls.py": """
from django.http import HttpResponse
from django.urls import path

PAGE = '''<output id="here" data-socket="/ws/presence/attic/"></output>
<script type="module" src="/static/presence/presence.js"></script>'''

urlpatterns = [path("", lambda request: HttpResponse(PAGE))]
"""
}

ATTIC = "/ws/presence/attic/"


@pytest.fixture
def models(loaded: Project) -> Any:
    """The module of models."""
    return loaded.module("presence.models")


@pytest.fixture
def ada(models: Any, websocket_client: WebsocketClient) -> User:
    """A user, as whom the client is logged in."""
    user = User.objects.create_user("ada")
    websocket_client.force_login(user)
    return user


@pytest.fixture
def bob(models: Any) -> User:
    """Another user."""
    return User.objects.create_user("bob")


async def test_people_come_and_go(ada: User, bob: User, websocket_client: WebsocketClient) -> None:
    """Those who are in the room hear how many users are, however many tabs these have."""
    bobs_client = WebsocketClient()
    await bobs_client.aforce_login(bob)
    async with websocket_client.connect(ATTIC) as one:
        assert await one.receive_json() == {"here": 1}
        async with websocket_client.connect(ATTIC) as other:
            for ws in (one, other):
                assert await ws.receive_json() == {"here": 1}
            async with bobs_client.connect(ATTIC) as bobs:
                for ws in (one, other, bobs):
                    assert await ws.receive_json() == {"here": 2}
                async with bobs_client.connect("/ws/presence/cellar/") as elsewhere:
                    assert await elsewhere.receive_json() == {"here": 1}
                await bobs.vanish()
                for ws in (one, other):
                    assert await ws.receive_json() == {"here": 1}
        assert await one.receive_json() == {"here": 1}


async def test_a_process_was_killed(
    ada: User, bob: User, models: Any, websocket_client: WebsocketClient
) -> None:
    """What it left behind does not count after a minute, and is deleted by the next who comes."""
    visit = await models.Visit.objects.acreate(room="attic", user=bob)
    async with websocket_client.connect(ATTIC) as ws:
        assert await ws.receive_json() == {"here": 2}
        visit.seen_at = timezone.now() - models.LIFETIME
        await visit.asave()
        await ws.settle()
        await ws.advance(20)
        assert await ws.receive_json() == {"here": 1}
        async with websocket_client.connect(ATTIC) as other:
            await other.receive_json()
            assert await ws.receive_json() == {"here": 1}
            assert not await models.Visit.objects.filter(user=bob).aexists()
        assert await ws.receive_json() == {"here": 1}


async def test_it_says_that_it_is_there(
    ada: User, models: Any, websocket_client: WebsocketClient
) -> None:
    """A connection renews its row, and makes it again if somebody has deleted it."""
    async with websocket_client.connect(ATTIC) as ws:
        await ws.receive_json()
        await models.Visit.objects.all().adelete()
        await ws.settle()
        await ws.advance(20)
        assert await ws.receive_json() == {"here": 1}
    assert not await models.Visit.objects.aexists()


def test_in_a_browser(site: LiveServer, browser: Chrome, ada: User) -> None:
    """The page shows the number, and does not pretend to know it without a connection."""
    visit(browser, site, "/", ada)
    until(browser, texts("#here"), ["1"])
    browser.execute_script("dispatchEvent(new Event('pagehide'))")
    until(browser, texts("#here"), ["?"])
