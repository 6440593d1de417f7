"""A socket that comes back: ``pages/static/pages/socket.js`` in a browser."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from selenium.webdriver.support.ui import WebDriverWait

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

    from wsconsumer.test.live import LiveServer

MORE = {
    "pages/urls.py": """
from django.http import HttpResponse
from django.urls import path
from wsconsumer import JsonWebsocketConsumer

class EchoConsumer(JsonWebsocketConsumer):
    async def connect(self):
        await self.join("everybody")

    async def receive_json(self, content):
        if "close" in content:
            await self.close(content["close"])
        else:
            await self.send(content)

SCRIPT = '''<script type="module">
import { Socket } from "/static/pages/socket.js";
window.story = [];
window.socket = new Socket("/ws/echo/");
for (const name of ["open", "message", "close"])
    socket.addEventListener(name, ({ data, code }) => story.push([name, data ?? code ?? null]));
</script>'''

urlpatterns = [
    path("", lambda request: HttpResponse(SCRIPT)),
    path("other/", lambda request: HttpResponse("another page")),
    path("ws/echo/", EchoConsumer.as_view()),
]
"""
}


def wait_for(browser: Chrome, *story: Any) -> None:
    """Wait until the page has seen these events, and no others."""
    expected = [list(event) for event in story]
    found: list[Any] = []

    def is_there(_: object) -> bool:
        found[:] = browser.execute_script("return window.story ?? []")
        return found == expected

    WebDriverWait(browser, 20, poll_frequency=0.02).until(is_there, f"not {expected}")


def test_it_comes_back(site: LiveServer, browser: Chrome) -> None:
    """A socket that the server closes is opened again; one with a code from 4500 is not."""
    browser.get(site.url)
    wait_for(browser, ("open", None))
    assert browser.execute_script("return socket.send({ n: 1 })")
    wait_for(browser, ("open", None), ("message", {"n": 1}))
    browser.execute_script("Math.random = () => 0; story.length = 0; socket.send({ close: 1012 })")
    wait_for(browser, ("close", 1012), ("open", None))
    browser.execute_script("story.length = 0; socket.send({ close: 4501 })")
    wait_for(browser, ("close", 4501))
    assert not browser.execute_script("return socket.send({ n: 2 })")


def test_a_page_that_is_left(site: LiveServer, browser: Chrome) -> None:
    """Its socket is closed, and another one opened when the visitor comes back to it."""
    browser.get(site.url)
    wait_for(browser, ("open", None))
    browser.execute_script("window.wasKept = true")
    browser.get(f"{site.url}/other/")
    browser.back()
    assert browser.execute_script("return window.wasKept")
    wait_for(browser, ("open", None), ("close", 1000), ("open", None))
