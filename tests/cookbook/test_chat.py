"""A chat, and its page: chat/templates/chat/room.html with chat/static/chat/room.js."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from django.contrib.auth.models import User

from tests.cookbook.browsing import submit, texts, until, visit

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

    from tests.cookbook.project import Project
    from wsconsumer.test import WebsocketClient
    from wsconsumer.test.live import LiveServer


@pytest.fixture
def ada(loaded: Project, websocket_client: WebsocketClient) -> WebsocketClient:
    """A client that is logged in."""
    websocket_client.force_login(User.objects.create_user("ada"))
    return websocket_client


async def test_those_in_the_room_hear_it(ada: WebsocketClient) -> None:
    """What one says reaches everybody in the room, the speaker too, and nobody in another."""
    async with (
        ada.connect("/ws/chat/attic/") as one,
        ada.connect("/ws/chat/attic/") as other,
        ada.connect("/ws/chat/cellar/") as elsewhere,
    ):
        await one.send_json({"type": "say", "text": "hi"})
        said = {"type": "said", "author": "ada", "text": "hi"}
        assert await one.receive_json() == await other.receive_json() == said
        await elsewhere.expect_nothing()


@pytest.mark.parametrize(
    "content",
    [{"type": "say", "text": ""}, {"type": "say", "text": "x" * 501}, {"type": "say"}, ["say"]],
    ids=["empty", "too long", "without text", "a list"],
)
async def test_what_is_not_valid(ada: WebsocketClient, content: object) -> None:
    """It is answered with an error, which the others do not see, and the socket stays."""
    async with ada.connect("/ws/chat/attic/") as one, ada.connect("/ws/chat/attic/") as other:
        await one.send_json(content)
        assert (await one.receive_json())["code"] == "invalid"
        await other.expect_nothing()
        await one.expect_nothing()


async def test_strangers(loaded: Project, websocket_client: WebsocketClient) -> None:
    """Those who have not logged in are redirected, as from the page."""
    async with websocket_client.connect("/ws/chat/attic/") as ws:
        assert ws.denial is not None
        assert ws.denial.status == 302


def test_in_a_browser(site: LiveServer, browser: Chrome) -> None:
    """The page shows what its form says, as text."""
    visit(browser, site, "/chat/attic/", User.objects.create_user("ada"))
    submit(browser, "#say", "<b>hi</b>")
    until(browser, texts("#log li").replace("]", "].slice(-1)", 1), ["ada: <b>hi</b>"])
