"""Many rooms on one socket, and the page's script: rooms/static/rooms/rooms.js."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from django.contrib.auth.models import User

from tests.cookbook.browsing import texts, until, visit
from wsconsumer.messages import MessageError

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

    from tests.cookbook.project import Project
    from wsconsumer.test import WebsocketClient
    from wsconsumer.test.live import LiveServer

MORE = {
    "pages/urls.py": """
from django.urls import path
from django.views.generic import TemplateView

urlpatterns = [path("", TemplateView.as_view(template_name="pages/rooms.html"))]
""",
    "pages/templates/pages/rooms.html": """
<section data-room="attic"><form id="attic"><input name="text"></form></section>
<section data-room="cellar"><form id="cellar"><input name="text"></form></section>
<script type="module" src="/static/rooms/rooms.js"></script>
""",
}


@pytest.fixture
def ada(loaded: Project) -> User:
    """A user who is a member of all rooms but the vault."""
    user = User.objects.create_user("ada")
    for slug in ("attic", "hall"):
        loaded.module("rooms.models").Room.objects.create(slug=slug).members.add(user)
    loaded.module("rooms.models").Room.objects.create(slug="vault")
    return user


@pytest.fixture
def client(ada: User, websocket_client: WebsocketClient) -> WebsocketClient:
    """A client that is logged in as her."""
    websocket_client.force_login(ada)
    return websocket_client


async def test_enter_say_and_exit(client: WebsocketClient, loaded: Project) -> None:
    """A member of several rooms hears those that it has entered, by their names."""
    rooms = loaded.module("rooms.consumers")
    async with client.connect("/ws/rooms/") as one, client.connect("/ws/rooms/") as other:
        for room in ("attic", "hall"):
            await one.request(rooms.Enter(room))
        await other.request(rooms.Enter("attic"))
        await other.send(rooms.Say("attic", "hi"))
        for ws in (one, other):
            assert await ws.receive(rooms.Said) == rooms.Said("attic", "ada", "hi")
        await one.send(rooms.Say("hall", "anybody?"))
        assert (await one.receive(rooms.Said)).room == "hall"
        await one.request(rooms.Exit("attic"))
        await other.send(rooms.Say("attic", "still here?"))
        await other.receive(rooms.Said)
        await one.expect_nothing()


@pytest.mark.parametrize("room", ["vault", "nowhere", "", "\0"])
async def test_a_room_that_is_not_theirs(
    client: WebsocketClient, loaded: Project, room: str
) -> None:
    """It can't be entered, left or spoken in, and looks like one that does not exist."""
    rooms = loaded.module("rooms.consumers")
    async with client.connect("/ws/rooms/") as ws:
        for message, code in (
            (rooms.Enter(room), "not_found"),
            (rooms.Exit(room), "not_entered"),
            (rooms.Say(room, "hi"), "not_entered"),
        ):
            with pytest.raises(MessageError) as caught:
                await ws.request(message)
            assert caught.value.code == code


async def test_too_many_rooms(
    client: WebsocketClient, loaded: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beyond the limit the client is told so, and stays in the others."""
    rooms = loaded.module("rooms.consumers")
    monkeypatch.setattr(rooms.RoomsConsumer, "max_groups", 1)
    async with client.connect("/ws/rooms/") as ws:
        await ws.request(rooms.Enter("attic"))
        with pytest.raises(MessageError, match="too_many_rooms: At most 1"):
            await ws.request(rooms.Enter("hall"))
        await ws.request(rooms.Say("attic", "hi"))
        await ws.receive(rooms.Said)


def test_in_a_browser(site: LiveServer, browser: Chrome, ada: User) -> None:
    """Each section shows what is said in its room, and why it was refused."""
    visit(browser, site, "/", ada)
    until(browser, texts("[data-room=cellar] p"), ["not_found"])
    browser.execute_script(
        "const form = document.querySelector('#attic');"
        "form.elements.text.value = 'hi'; form.requestSubmit();"
    )
    until(browser, texts("[data-room=attic] p"), ["ada: hi"])
    until(browser, "return document.querySelector('#attic').elements.text.value", "")
