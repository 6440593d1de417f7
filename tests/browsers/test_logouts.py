"""``socket.js`` when its user logs out, or changes the password."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.processes.test_logouts import serving
from tests.servers.harness import HOST

if TYPE_CHECKING:
    from collections.abc import Iterator

    from selenium.webdriver import Chrome

    from tests.servers.harness import Server

UNTIL = "const [text, times, done] = arguments; until(text, times).then(done);"

FETCH = "const [path, done] = arguments; fetch(path).then(({ status }) => done(status));"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of the site."""
    name = str(tmp_path_factory.mktemp("logins") / "db.sqlite3")
    database = {"ENGINE": "django.db.backends.sqlite3", "NAME": name}
    with serving(["daphne"], database, {}) as (server,):
        yield server


@pytest.fixture
def page(browser: Chrome, server: Server) -> Chrome:
    """A page whose user is logged in, with an open socket."""
    browser.set_script_timeout(20)
    for path in ("/login/ada/", "/page/"):
        browser.get(f"http://{HOST}:{server.port}{path}")
    browser.execute_script("window.open()")
    browser.execute_async_script(UNTIL, "open", 1)
    return browser


def log(page: Chrome) -> list[str]:
    """Return all states that the socket had."""
    states: list[str] = page.execute_script("return log")
    return states


def test_a_logout(page: Chrome) -> None:
    """The socket is closed, and stays away."""
    assert page.execute_async_script(FETCH, "/logout/0/") == 200
    page.execute_async_script(UNTIL, "closed 4501", 1)
    assert log(page) == ["open", "closed 4501"]


def test_a_new_password(page: Chrome) -> None:
    """
    The page that changed it gets its new cookie a second later, and the socket comes back with it.
    """
    assert page.execute_async_script(FETCH, "/password/1/alone/") == 200
    page.execute_async_script(UNTIL, "open", 2)
    assert log(page) == ["open", "waiting 4401", "connecting", "open"]


def test_a_new_password_elsewhere(page: Chrome, server: Server) -> None:
    """Another page of the user comes back once, is refused, and stays away."""
    cookie = page.get_cookie("sessionid")
    assert cookie is not None
    with server.http() as client:
        client.request("GET", "/login/ada/")
        phone = client.getresponse()
        phone.read()
        header = (phone.getheader("Set-Cookie") or "").partition(";")[0]
        client.request("GET", "/password/0/", headers={"Cookie": header})
        assert client.getresponse().status == 200
    page.execute_async_script(UNTIL, "closed 4401", 1)
    # A refusal is a websocket that is opened and closed, since a page sees no status.
    assert log(page) == ["open", "waiting 4401", "connecting", "open", "closed 4401"]
