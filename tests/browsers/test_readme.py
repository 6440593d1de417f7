"""The first program of the README, in the windows of a browser."""

from __future__ import annotations

from typing import TYPE_CHECKING

from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.wait import WebDriverWait

from tests.documents import ROOT, blocks
from tests.test_docs import DAPHNE, Served

if TYPE_CHECKING:
    from pathlib import Path

    from selenium.webdriver import Chrome

IS_OPEN = "return socket.readyState === WebSocket.OPEN"


async def test_two_windows_talk(browser: Chrome, tmp_path: Path) -> None:
    """What somebody says in one window is shown in both."""
    program = next(block for block in blocks(ROOT / "README.md") if block.file == "app.py")
    (tmp_path / "app.py").write_text(program.code)
    async with Served(tmp_path, *DAPHNE, "app:application") as server:
        first = browser.current_window_handle
        windows = [first]
        for _ in range(2):
            browser.switch_to.new_window("tab")
            windows.append(browser.current_window_handle)
            browser.get(f"http://127.0.0.1:{server.port}/")
            WebDriverWait(browser, 15).until(lambda page: page.execute_script(IS_OPEN))
        browser.find_element("css selector", "input").send_keys("Hello", Keys.ENTER)
        for window in windows[1:]:
            browser.switch_to.window(window)
            WebDriverWait(browser, 15).until(lambda page: "Hello" in page.page_source)
            browser.close()
        browser.switch_to.window(first)
