"""A browser that trusts the certificates of our own servers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.chromium import chromium

if TYPE_CHECKING:
    from collections.abc import Iterator

    from selenium.webdriver import Chrome


@pytest.fixture(scope="session")
def browser() -> Iterator[Chrome]:
    """A browser."""
    with chromium("--ignore-certificate-errors") as browser:
        yield browser
