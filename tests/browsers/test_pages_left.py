"""A page that the browser keeps after its visitor has left it: the script of the README."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.documents import block_of
from tests.servers.harness import HOST, new_key, running

if TYPE_CHECKING:
    from pathlib import Path

    from selenium.webdriver import Chrome


async def test_a_page_that_is_kept(browser: Chrome, tmp_path: Path) -> None:
    """Its websocket ends at once, without a message from the server; the way back opens another."""
    key = new_key()
    script = block_of("README.md", "js").code.replace("/ws/hello/attic/", f"/ws/echo/{key}/")
    with running("daphne", tmp_path, SCRIPT=script) as server:
        browser.get(f"http://{HOST}:{server.port}/page/{key}/")
        await server.journal.wait(key, event="connect")
        browser.execute_script("window.wasKept = true")
        browser.get(f"http://{HOST}:{server.port}/plain/{new_key()}/")
        story = await server.ended(key)
        assert story.names == ["connect", "disconnect", "end"]
        browser.back()
        assert browser.execute_script("return window.wasKept")
        await server.journal.wait_for_times(key, "connect", 2)
        assert server.journal.story(key).names == [*story.names, "connect"]
