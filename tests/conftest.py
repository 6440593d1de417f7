"""Fixtures for the whole suite."""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.engines import Postgres, drop_threads
from tests.marks import add_markers
from tests.syncing import database
from wsconsumer.connected import answering, asking
from wsconsumer.counters import counters
from wsconsumer.groups import envelope, holes, orders, reconnecting
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
def _fresh_throttles() -> None:
    """Let what is said seldom be said in each test."""
    for seldom in (
        *(envelope.refused, holes.heard, holes.failed),
        *(orders.unknown, orders.refused, orders.failed, asking.refused, answering.dropped),
    ):
        seldom.reset()


@pytest.fixture(autouse=True)
def _no_engine_is_away() -> None:
    """Forget the engines that were away when an event loop of another test ended."""
    reconnecting._away.clear()  # noqa: SLF001  # a process has no loops that end before it


@pytest.fixture(autouse=True)
def _log_in_place() -> Iterator[None]:
    """Emit log records at once, in the thread that logs."""
    with log_thread().in_place():
        yield


@pytest.fixture(autouse=True)
def _no_access_log() -> Iterator[None]:
    """Leave out the record of each connection's end, unless a test sets the level."""
    access = logging.getLogger("wsconsumer.access")
    access.setLevel(logging.WARNING)
    yield
    access.setLevel(logging.NOTSET)


@pytest.fixture(autouse=True)
def _fresh_lanes() -> Iterator[None]:
    """Give each test lanes of its own, and leave no thread and no database connection behind."""
    yield
    drop_threads()


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL server of our own."""
    # Not below pytest's own directory, which only its owner may enter.
    with tempfile.TemporaryDirectory() as directory:
        server = Postgres(Path(directory))
        yield server
        server.stop()


@pytest.fixture
def pg(postgres: Postgres, django_db_blocker: Any) -> Iterator[str]:
    """Return the alias of a PostgreSQL database."""
    with django_db_blocker.unblock(), database("pg", postgres.settings) as alias:
        yield alias


@pytest.fixture
def sqlite(tmp_path: Path, django_db_blocker: Any) -> Iterator[str]:
    """Return the alias of a sqlite database in a file."""
    settings = {"ENGINE": "django.db.backends.sqlite3", "NAME": str(tmp_path / "db.sqlite3")}
    with django_db_blocker.unblock(), database("sqlite", settings) as alias:
        yield alias


@pytest.fixture(params=[pytest.param("sqlite"), pytest.param("pg", id="postgresql")])
def alias(request: pytest.FixtureRequest) -> str:
    """Return the alias of a database of each kind."""
    name: str = request.getfixturevalue(request.param)
    return name
