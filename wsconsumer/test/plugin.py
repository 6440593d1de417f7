"""The pytest plugin: ``websocket_client``, ``live_websocket_server``. Loaded by its entry point."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from . import WebsocketClient
    from .live import LiveServer


def pytest_itemcollected(item: pytest.Item) -> None:
    """Let tests with the live server commit what they write, where pytest-django is installed."""
    names = getattr(item, "fixturenames", [])
    if "live_websocket_server" not in names or "transactional_db" in names:
        return
    if item.config.pluginmanager.has_plugin("django"):
        # pytest-django looks here before the test runs, for the databases and the order of tests.
        names.insert(0, "transactional_db")


def pytest_runtest_setup() -> None:
    """Let no test find what groups of another one keep."""
    from ..groups.histories import histories

    histories.clear()


@pytest.fixture
def websocket_client() -> Iterator[WebsocketClient]:
    """A fresh ``wsconsumer.test.WebsocketClient``; what the test awaits shares its database."""
    from . import WebsocketClient
    from .database import shared_database_for_fixture
    from .engine import in_memory

    with in_memory(), shared_database_for_fixture():
        yield WebsocketClient()


@pytest.fixture
def live_websocket_server() -> Iterator[LiveServer]:
    """The project behind daphne: ``live_websocket_server.websocket_url_for("/ws/echo/")``."""
    from .database import shared_database_for_fixture
    from .live import serve

    with shared_database_for_fixture(), serve() as server:
        yield server
