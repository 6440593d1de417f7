"""What all tests may use: a server and browsers, for the live ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.marks import add_markers

if TYPE_CHECKING:
    from pytest_django import Settings

pytest_plugins = ["config.tests.live"]


@pytest.hookimpl(tryfirst=True)  # before pytest selects by marker
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what `make test-fast` leaves out."""
    add_markers(items)


@pytest.fixture(autouse=True)
def _fast_passwords(settings: Settings) -> None:
    """Hash passwords quickly: a strong hash takes half a second, and protects nobody here."""
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
