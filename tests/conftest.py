"""Fixtures for the whole suite."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.engines import Postgres, drop_lanes
from tests.marks import add_markers
from wsconsumer.counters import counters
from wsconsumer.log_thread import log_thread

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.hookimpl(tryfirst=True)  # before pytest selects by marker
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what `make test-fast` leaves out."""
    add_markers(items)


@pytest.fixture(autouse=True)
def _fresh_counters() -> Iterator[None]:
    """Count from zero in each test."""
    before = dict(counters)
    counters.update(dict.fromkeys(counters, 0))
    yield
    counters.update(before)


@pytest.fixture(autouse=True)
def _log_in_place() -> Iterator[None]:
    """Emit log records at once, in the thread that logs."""
    with log_thread().in_place():
        yield


@pytest.fixture(autouse=True)
def _fresh_lanes() -> Iterator[None]:
    """Give each test lanes of its own, and leave no thread and no database connection behind."""
    yield
    drop_lanes()


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL server of our own."""
    # Not below pytest's own directory, which only its owner may enter.
    with tempfile.TemporaryDirectory() as directory:
        server = Postgres(Path(directory))
        yield server
        server.stop()
