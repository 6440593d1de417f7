"""Tokens over daphne: from a browser, and from a client that can set headers."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from rest_framework_simplejwt.tokens import AccessToken
from websockets.exceptions import InvalidStatus

from tests.chromium import chromium
from tests.documents import ROOT, block_of
from tests.servers.harness import HOST, Server, running

if TYPE_CHECKING:
    from collections.abc import Iterator

    from selenium.webdriver import Chrome

LIFETIME = 6
"""Seconds of a token that the test sees end: a browser opens its websocket long before."""

OPEN = """
    const [url, subprotocols, done] = arguments;
    const socket = new WebSocket(url, subprotocols);
    socket.onmessage = ({ data }) => done([data, socket.protocol]);
    socket.onerror = () => done("denied");
"""

RUN = """
    const [script, token, another, done] = arguments;
    const heard = [];
    window.WebSocket = class extends WebSocket {
        constructor(...given) {
            super(...given);
            this.addEventListener("close", ({ code, reason }) => heard.push(code, reason));
            this.addEventListener("message", ({ data }) => {
                heard.push(data);
                if (heard.length > 1) done(heard);
            });
        }
    };
    window.refreshToken = async () => another;
    new Function("token", script + "openNotes(token);")(token);
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The site, on daphne."""
    folder = tmp_path_factory.mktemp("daphne")
    with running("daphne", folder, "tests.authentication.served:application") as server:
        yield server


@pytest.fixture(scope="module")
def browser() -> Iterator[Chrome]:
    """A browser."""
    with chromium() as browser:
        yield browser


def make_token(**lifetime: float) -> str:
    """Return a token of user 7."""
    token: Any = AccessToken()
    token["user_id"] = "7"
    token.set_exp(lifetime=timedelta(**lifetime))
    return str(token)


async def test_a_client_that_sets_a_header(site: Server) -> None:
    """Its token is looked at, and a denial names the scheme."""
    headers = {"Authorization": f"Bearer {make_token(minutes=1)}"}
    async with site.connect("/ws/", additional_headers=headers) as websocket:
        assert await websocket.recv() == "user 7"
    for wrong in ({"Authorization": "Bearer nonsense"}, {"Cookie": "sessionid=ada"}):
        with pytest.raises(InvalidStatus) as caught:
            await site.open("/ws/", additional_headers=wrong)
        assert caught.value.response.status_code == 401
        assert caught.value.response.headers["WWW-Authenticate"] == 'Bearer realm="api"'


def test_a_browser(browser: Chrome, site: Server) -> None:
    """Its token comes in a subprotocol, and a cookie is not enough."""
    browser.get(f"http://{HOST}:{site.port}/page/")
    browser.add_cookie({"name": "sessionid", "value": "ada"})

    def opened(*subprotocols: str) -> object:
        return browser.execute_async_script(OPEN, site.url("/ws/"), subprotocols)

    assert opened() == opened("bearer", "nonsense") == "denied"
    assert opened("bearer", make_token(minutes=1)) == ["user 7", "bearer"]


@pytest.mark.skipif(not (ROOT / "docs").exists(), reason="the tests are run without the documents")
def test_a_page_whose_token_ends(browser: Chrome, site: Server) -> None:
    """It is told with 4401, and the script of the page about this comes back with a new one."""
    script = block_of("docs/authentication.md", "js").code
    assert "wss://example.com/ws/jwt/" in script
    script = script.replace("wss://example.com/ws/jwt/", site.url("/ws/"))
    browser.get(f"http://{HOST}:{site.port}/page/")
    tokens = make_token(seconds=LIFETIME), make_token(minutes=1)
    heard = browser.execute_async_script(RUN, script, *tokens)
    assert heard == ["user 7", 4401, "the token has expired", "user 7"]
