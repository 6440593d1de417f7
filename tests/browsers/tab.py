"""A page with the browser's client on it, in a tab of its own, and a server of its site."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from selenium.common.exceptions import TimeoutException

from tests.servers.harness import HOST, Server, new_key, running

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from selenium.webdriver import Chrome

SITE = "tests.browsers.site:application"

PONG = 'sent \x1e{"pong":1}'

UNTIL = "const [text, times, done] = arguments; until(text, times).then(done);"

AWAIT = "const done = arguments[0]; (async () => done(await (%s)))();"


@contextmanager
def site(folder: Path, heartbeat: int = 25, **variables: str) -> Iterator[Server]:
    """Start a server of the site."""
    folder.mkdir(exist_ok=True)
    with running("daphne", folder, SITE, HEARTBEAT=f"{heartbeat}", **variables) as server:
        yield server


class Tab:
    """A tab of the browser with the page of the site, and a key that names its sockets."""

    def __init__(self, browser: Chrome) -> None:
        self.browser = browser
        self.handle = browser.current_window_handle
        self.key = new_key()

    def open(self, port: int, path: str = "/ws/room/{}/", options: str = "{}") -> None:
        """Load the page, and open a socket that comes back soon."""
        self.browser.get(f"http://{HOST}:{port}/")
        self.run("Math.random = () => 0.1")
        self.run(f"window.open({path.format(self.key)!r}, {options})")

    def run(self, script: str) -> Any:
        """Run a script in the page; return what it makes."""
        return self.browser.execute_script(f"return {script}")

    def wait(self, expression: str) -> Any:
        """Return what a promise resolves to."""
        return self.browser.execute_async_script(AWAIT % expression)

    def until(self, *texts: str, times: int = 1) -> None:
        """Wait until the page has been told each of these so often."""
        for text in texts:
            try:
                self.browser.execute_async_script(UNTIL, text, times)
            except TimeoutException:
                pytest.fail(f"Expected {text!r} {times} times, but only {self.log}")

    @property
    def log(self) -> list[str]:
        """All that the page has been told."""
        log: list[str] = self.run("log")
        return log

    @property
    def messages(self) -> list[str]:
        """The messages that it was told."""
        return [text.removeprefix("message ") for text in self.log if text.startswith("message")]

    @property
    def reloads(self) -> list[str]:
        """The groups that it was told to reload."""
        return [text.removeprefix("reload ") for text in self.log if text.startswith("reload")]

    @property
    def delays(self) -> list[float]:
        """The milliseconds that it had to wait before each attempt but the first."""
        delays: list[float] = self.run("delays")
        return delays

    def say(self, server: Server, text: str) -> None:
        """Have something said in the room, by another."""
        with server.http() as client:
            client.request("GET", f"/say/{self.key}/{text}/")
            assert client.getresponse().status == 200

    def join(self, server: Server) -> None:
        """Wait until the page knows where it is in the room."""
        self.until("open")
        self.say(server, "begin")
        self.until("message begin")

    async def told(self, server: Server, event: str) -> None:
        """Wait until the socket had an event on the server."""
        await server.journal.wait(self.key, event=event)

    @contextmanager
    def offline(self) -> Iterator[None]:
        """Let the browser have no network for new connections."""
        self._be_offline(is_offline=True)
        yield
        self._be_offline(is_offline=False)

    def _be_offline(self, *, is_offline: bool) -> None:
        limits = {"latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
        self.browser.execute_cdp_cmd("Network.enable", {})
        self.browser.execute_cdp_cmd(
            "Network.emulateNetworkConditions", {"offline": is_offline, **limits}
        )

    @contextmanager
    def hidden(self, port: int) -> Iterator[None]:
        """Be in another tab, which hears what the page of this one is told."""
        self.browser.switch_to.new_window("tab")
        self.browser.get(f"http://{HOST}:{port}/")
        self.until("other hidden")
        yield
        self.browser.close()
        self.browser.switch_to.window(self.handle)

    def lifecycle(self, state: str) -> None:
        """Freeze the tab, or let it go on."""
        self.browser.execute_cdp_cmd("Page.setWebLifecycleState", {"state": state})

    def show(self) -> None:
        """Bring the tab to the front, from behind another one."""
        self.browser.switch_to.new_window("tab")
        self.browser.close()
        self.browser.switch_to.window(self.handle)
