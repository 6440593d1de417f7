"""The code of ``docs/browser.md``, in a browser and under a strict policy for its content."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.wait import WebDriverWait

from tests.documents import ROOT, blocks
from tests.servers.harness import HOST, PATIENCE, Server, running
from tests.test_docs import named, python

if TYPE_CHECKING:
    from collections.abc import Iterator

    from selenium.webdriver import Chrome

SETTINGS = """
TEMPLATES[0]["DIRS"] = [BASE_DIR / "mysite" / "templates"]
STATICFILES_DIRS = [BASE_DIR / "mysite" / "static"]
MIDDLEWARE += ["mysite.policy.add_policy"]
WSCONSUMER = {"AUTHORIZATION_SUBPROTOCOL": "Bearer"}
"""

POLICY = """
def add_policy(get_response):
    def middleware(request):
        response = get_response(request)
        response["Content-Security-Policy"] = "default-src 'self'"
        return response
    return middleware
"""

URLS = """
from django.contrib.staticfiles.urls import staticfiles_urlpatterns
from django.http import HttpResponse
from wsconsumer import WebsocketConsumer

class MembersConsumer(WebsocketConsumer):
    async def connect(self):
        await self.accept()
        await self.send(self.request.headers["Authorization"])

urlpatterns += [
    path("api/token/", lambda request: HttpResponse("made-just-now")),
    path("ws/members/", MembersConsumer.as_view()),
    *staticfiles_urlpatterns(),
]
"""

RUN = """
    const [done] = arguments;
    (async () => done(await (async () => { %s })()))();
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of the page's project, which serves static files too."""
    folder = tmp_path_factory.mktemp("project")
    python(folder, "-m", "django", "startproject", "mysite", ".")
    for block in [named("README.md", "mysite/asgi.py"), *blocks(ROOT / "docs" / "browser.md")]:
        file = folder / block.file
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(block.code)
    settings = named("README.md", "mysite/settings.py").code + SETTINGS
    for name, text in {"settings": settings, "policy": POLICY, "urls": URLS}.items():
        with (folder / "mysite" / f"{name}.py").open("a") as added:
            added.write(text)
    environment = {"DJANGO_SETTINGS_MODULE": "mysite.settings"}
    with running("daphne", folder, "mysite.asgi:application", **environment) as server:
        yield server


def run(browser: Chrome, script: str) -> object:
    """Run an async function's body in the page; return what it returns."""
    result: object = browser.execute_async_script(RUN % script)
    return result


def test_a_page(browser: Chrome, server: Server) -> None:
    """What is written in the form comes back through the room, also after another visit."""
    browser.get(f"http://{HOST}:{server.port}/room/lobby/")
    waiting = WebDriverWait(browser, PATIENCE)
    waiting.until(lambda page: page.find_elements("css selector", "main[data-state=open]"))
    field = browser.find_element("css selector", "input")
    field.send_keys("Hello", Keys.ENTER)
    waiting.until(lambda page: page.find_elements("css selector", "main p"))
    assert browser.find_element("css selector", "main p").text == "Hello"
    assert field.get_property("value") == ""


def test_asking(browser: Chrome, server: Server) -> None:
    """Replies, errors, and a stream that is left."""
    browser.get(f"http://{HOST}:{server.port}/room/lobby/")
    said = """
        const { say } = await import("/static/chat.js");
        while (await say("hi") === "try again later") await new Promise(requestAnimationFrame);
        return [await say("hi"), await say("spam")];
    """
    assert run(browser, said) == ["said", "Not in this room."]
    counted = """
        const { countDown } = await import("/static/chat.js");
        const found = [];
        await countDown(10, (value) => found.push(value));
        return found;
    """
    assert run(browser, counted) == [10, 9, 8, 7]


def test_a_token(browser: Chrome, server: Server) -> None:
    """It is fetched, and is the request's header."""
    browser.get(f"http://{HOST}:{server.port}/room/lobby/")
    told = """
        const { connect } = await import("/static/members.js");
        const members = connect("/ws/members/");
        return await new Promise((resolve) => {
            members.addEventListener("message", ({ detail }) => resolve(detail.data));
        });
    """
    assert run(browser, told) == "Bearer made-just-now"
