"""Tokens over daphne: from a browser, and from a client that can set headers."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from rest_framework_simplejwt.tokens import AccessToken
from websockets.exceptions import InvalidStatus

from tests.chromium import chromium
from tests.servers.harness import HOST, Server, running

if TYPE_CHECKING:
    from collections.abc import Iterator

    from selenium.webdriver import Chrome

LIFETIME = 6
"""Seconds of a token that the test sees end: a browser opens its websocket long before."""

OPEN = """
    const [url, subprotocols, done] = arguments;
    const socket = new WebSocket(url, subprotocols);
    const heard = [];
    socket.onmessage = ({ data }) => heard.push(data, socket.protocol);
    socket.onclose = ({ code, reason }) => done([...heard, code, reason]);
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
    """Its token comes in a subprotocol; when it ends, the page is told with 4401."""
    browser.get(f"http://{HOST}:{site.port}/page/")
    browser.add_cookie({"name": "sessionid", "value": "ada"})

    def opened(*subprotocols: str) -> object:
        return browser.execute_async_script(OPEN, site.url("/ws/"), subprotocols)

    assert opened() == [1006, ""]
    assert opened("bearer", "nonsense") == [1006, ""]
    token = make_token(seconds=LIFETIME)
    assert opened("bearer", token) == ["user 7", "bearer", 4401, "the token has expired"]
    assert opened("bearer", token) == [1006, ""]
