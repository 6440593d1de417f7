"""Whose pages send the session's cookie with a websocket: ``SameSite=Lax``, as Django sets it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from selenium.webdriver.common.by import By

from tests.servers.harness import HOST, Server, new_key, running

if TYPE_CHECKING:
    from collections.abc import Iterator

    from selenium.webdriver import Chrome

HEAR = """
    const [url, done] = arguments;
    const socket = new WebSocket(url);
    socket.onmessage = ({ data }) => done(data);
    socket.onerror = () => done("null");
"""

FRAME = """
    const [url, done] = arguments;
    const frame = document.body.appendChild(document.createElement("iframe"));
    frame.onload = () => done();
    frame.src = url;
"""


@pytest.fixture
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that lets in the pages of another site too."""
    with running("daphne", tmp_path_factory.mktemp("daphne")) as server:
        yield server


def test_whose_pages_send_the_cookie(browser: Chrome, server: Server) -> None:
    """The site's own do; another site's do not, nor does an own one in a frame of another site."""
    own = f"http://{HOST}:{server.port}/plain/{new_key()}/"
    other = f"http://localhost:{server.port}/plain/{new_key()}/"

    def cookies() -> object:
        told = browser.execute_async_script(HEAR, server.url(f"/ws/tells/{new_key()}/"))
        return json.loads(told)["cookies"]

    browser.get(own)
    browser.add_cookie({"name": "sessionid", "value": "ada", "sameSite": "Lax"})
    assert cookies() == {"sessionid": "ada"}
    browser.get(other)
    assert cookies() == {}
    browser.execute_async_script(FRAME, own)
    browser.switch_to.frame(browser.find_element(By.TAG_NAME, "iframe"))
    assert browser.execute_script("return location.href") == own
    assert cookies() == {}
