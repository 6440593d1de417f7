"""The page of ``wsconsumer.staff``, as somebody of the staff has it open."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth.models import User
from django.test import Client, modify_settings
from django.urls import path
from selenium.webdriver.common.by import By
from selenium.webdriver.support.wait import WebDriverWait
from websockets.sync.client import connect

from tests.staff.site import Urls, installed, urls
from wsconsumer import WebsocketConsumer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from selenium.webdriver import Chrome

    from wsconsumer.test.live import LiveServer

pytestmark = pytest.mark.django_db(transaction=True)

PATIENCE = 20
"""Seconds that anything may take in the browser before a test gives up."""


class Refuses(WebsocketConsumer):
    """Lets nobody in."""

    async def connect(self) -> None:
        await self.reject(403)


class Broken(Urls):
    """A URLconf in which the page's own websocket does not open."""

    @property
    def urlpatterns(self) -> list[Any]:
        """What is mapped."""
        return [path("admin/websockets/watch/", Refuses.as_view()), *super().urlpatterns]


@pytest.fixture
def urlconf(request: pytest.FixtureRequest) -> object:
    """What is mapped: all that works, unless the test says otherwise."""
    return getattr(request, "param", urls)


@pytest.fixture(autouse=True)
def _site(urlconf: object) -> Iterator[None]:
    """The page under a strict policy; before the server reads the settings."""
    policy = {"prepend": "tests.browsers.test_docs_page.Policy"}
    with installed(urlconf), modify_settings(MIDDLEWARE=policy):
        yield


class Page:
    """The page in a browser, whose user may do everything."""

    def __init__(self, browser: Chrome, server: LiveServer) -> None:
        self.browser = browser
        self.server = server
        self.client = Client()
        self.client.force_login(User.objects.create_superuser("root"))
        browser.get(f"{server.url}/nowhere/")
        cookie = self.client.cookies["sessionid"].value
        browser.add_cookie({"name": "sessionid", "value": cookie, "path": "/"})
        browser.get(f"{server.url}/admin/websockets/?path=/ws/*")
        browser.get_log("browser")  # what other tests left there

    def text(self, selector: str) -> str:
        """Return the text of an element, as it is at this moment."""
        script = "return document.querySelector(arguments[0])?.textContent ?? ''"
        return str(self.browser.execute_script(script, selector))

    def press(self, selector: str) -> None:
        """Click, whatever takes the element's place meanwhile."""
        self.browser.execute_script("document.querySelector(arguments[0]).click()", selector)

    def until(self, condition: Callable[[], object]) -> None:
        """Wait until something is so."""
        WebDriverWait(self.browser, PATIENCE, 0.05).until(lambda _: condition())

    def open_socket(self) -> Any:
        """Open a websocket of somebody else's."""
        return connect(self.server.websocket_url_for("/ws/room/a/"), proxy=None)


@pytest.fixture
def page(browser: Chrome, live_websocket_server: LiveServer) -> Iterator[Page]:
    """The page, until the test has ended."""
    yield Page(browser, live_websocket_server)
    browser.get("about:blank")
    browser.delete_all_cookies()


def test_it_refreshes_itself(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who connects appears, and a click disconnects; nothing inline is needed for it."""
    monkeypatch.setattr("wsconsumer.staff.watching.PERIOD", 0.1)
    page.until(lambda: page.text("#refreshed").startswith("As of "))
    assert page.text("#result_list tbody") == ""
    with page.open_socket() as socket:
        page.until(lambda: "/ws/room/a/" in page.text("#result_list tbody"))
        page.press("#result_list button")
        page.until(lambda: page.browser.find_elements(By.NAME, "confirmed"))
        page.press("[name=confirmed]")
        page.until(lambda: "being closed: 1" in page.text(".messagelist"))
        with pytest.raises(Exception, match="4501"):
            socket.recv(timeout=PATIENCE)
    page.until(lambda: page.text("#refreshed").startswith("As of "))
    assert page.browser.get_log("browser") == []


@pytest.mark.parametrize("urlconf", [Broken()], ids=["broken"], indirect=True)
def test_where_no_websocket_opens(page: Page) -> None:
    """The page asks again instead, and says why."""
    with page.open_socket():
        page.browser.refresh()
        page.until(lambda: page.text("#trouble").startswith("No WebSocket opens here"))
        assert page.text("#refreshed").startswith("As of ")
        assert "/ws/room/a/" in page.text("#result_list tbody")
        page.client.logout()
        page.until(lambda: page.text("#trouble").startswith("The page is not refreshed"))
