"""Notifications after commit, and the page's script: notifications/static/notifications/bell.js."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import User
from django.db import transaction

from tests.cookbook.browsing import texts, until, visit

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

    from tests.cookbook.project import Project
    from wsconsumer.test import WebsocketClient
    from wsconsumer.test.live import LiveServer

MORE = {
    "pages/urls.py": """
from django.http import HttpResponse
from django.urls import path

PAGE = '''<ul id="notifications"></ul>
<script type="module" src="/static/notifications/bell.js"></script>'''

urlpatterns = [path("", lambda request: HttpResponse(PAGE))]
"""
}


@pytest.fixture
def models(loaded: Project) -> Any:
    """The module of the model."""
    return loaded.module("notifications.models")


@pytest.fixture
def ada(models: Any, websocket_client: WebsocketClient) -> User:
    """A user, as whom the client is logged in."""
    user = User.objects.create_user("ada")
    websocket_client.force_login(user)
    return user


async def test_unread_and_new(ada: User, models: Any, websocket_client: WebsocketClient) -> None:
    """A page gets what is unread, in order, then each new notification of its user."""
    bob = await User.objects.acreate(username="bob")
    for text in ("one", "two"):
        await sync_to_async(models.notify)(ada, text)
    async with websocket_client.connect("/ws/notifications/") as ws:
        assert [(await ws.receive_json())["text"] for _ in range(2)] == ["one", "two"]
        await sync_to_async(models.notify)(bob, "not for ada")
        await ws.expect_nothing()
        await sync_to_async(models.notify)(ada, "three")
        assert (await ws.receive_json())["text"] == "three"


async def test_a_rollback(ada: User, models: Any, websocket_client: WebsocketClient) -> None:
    """What is rolled back is told to nobody; what is committed only then."""

    def fail() -> None:
        with transaction.atomic():
            models.notify(ada, "shipped")
            raise ZeroDivisionError

    async with websocket_client.connect("/ws/notifications/") as ws:
        with pytest.raises(ZeroDivisionError):
            await sync_to_async(fail)()
        await ws.expect_nothing()
    assert not await models.Notification.objects.aexists()


async def test_two_tabs(ada: User, models: Any, websocket_client: WebsocketClient) -> None:
    """What is read in one tab is gone from the other, and stays away."""
    await sync_to_async(models.notify)(ada, "shipped")
    async with (
        websocket_client.connect("/ws/notifications/") as one,
        websocket_client.connect("/ws/notifications/") as other,
    ):
        pk = (await one.receive_json())["id"]
        await other.receive_json()
        await one.send_json({"type": "read", "id": pk})
        assert await one.receive_json() == await other.receive_json() == {"type": "read", "id": pk}
    async with websocket_client.connect("/ws/notifications/") as ws:
        await ws.expect_nothing()


async def test_those_of_others(ada: User, models: Any, websocket_client: WebsocketClient) -> None:
    """Nobody marks another user's notifications as read, and other commands do nothing."""
    bob = await User.objects.acreate(username="bob")
    await sync_to_async(models.notify)(bob, "shipped")
    notification = await models.Notification.objects.aget()
    async with websocket_client.connect("/ws/notifications/", allow_unread=True) as ws:
        await ws.send_json({"type": "read", "id": notification.pk})
        await ws.send_json({"type": "read", "id": "all"})
        await ws.send_json(None)
        await ws.settle()
    await notification.arefresh_from_db()
    assert not notification.is_read


def test_in_a_browser(site: LiveServer, browser: Chrome, ada: User, models: Any) -> None:
    """The list shows the newest first; what is clicked goes."""
    models.notify(ada, "one")
    visit(browser, site, "/", ada)
    until(browser, texts("li"), ["one"])
    models.notify(ada, "two")
    until(browser, texts("li"), ["two", "one"])
    browser.execute_script("document.querySelector('li').click()")
    until(browser, texts("li"), ["one"])
