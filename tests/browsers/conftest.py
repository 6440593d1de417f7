"""A browser that trusts the certificates of our own servers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.browsers.tab import Tab
from tests.chromium import chromium

if TYPE_CHECKING:
    from collections.abc import Iterator

    from selenium.webdriver import Chrome


@pytest.fixture(scope="session")
def browser() -> Iterator[Chrome]:
    """A browser."""
    with chromium("--ignore-certificate-errors") as browser:
        yield browser


@pytest.fixture
def tab(browser: Chrome) -> Iterator[Tab]:
    """A new tab, which is closed in the end."""
    first = browser.current_window_handle
    browser.switch_to.new_window("tab")
    tab = Tab(browser)
    yield tab
    browser.switch_to.window(tab.handle)
    browser.close()
    browser.switch_to.window(first)
