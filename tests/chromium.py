"""A headless Chromium, from what is installed: nothing is downloaded."""

from __future__ import annotations

import os
from contextlib import contextmanager
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import pytest
from selenium import webdriver

from tests.programs import require

if TYPE_CHECKING:
    from collections.abc import Iterator

    from selenium.webdriver import Chrome


@contextmanager
def chromium(*arguments: str) -> Iterator[Chrome]:
    """Start a Chromium, with these arguments too; yield what drives it."""
    binary = require("chromium", "chromium chromium-driver", "google-chrome")
    chromedriver = require("chromedriver", "chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = binary
    usual = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage")
    for argument in (*usual, *arguments):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    # Chromium leaves folders where temporary files go; this one is removed with all of them.
    with TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        service = webdriver.ChromeService(chromedriver, env={**os.environ, "TMPDIR": folder})
        with pytest.MonkeyPatch.context() as environment:
            environment.setenv("SE_OFFLINE", "true")
            environment.setenv("NO_PROXY", "127.0.0.1,localhost")
            chrome = webdriver.Chrome(options, service)
        try:
            yield chrome
        finally:
            chrome.quit()
