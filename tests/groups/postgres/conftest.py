"""A database of our own, and its log, for this folder."""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from django.core.management import call_command
from django.db import connections

from tests.groups.postgres.harness import Log, alias_of
from tests.groups.postgres.pgbouncer import PgBouncer
from wsconsumer.groups import reconnecting
from wsconsumer.groups.postgres import backend as postgres_backend
from wsconsumer.groups.postgres import publisher as postgres_publisher

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pytest_django import Settings

    from tests.engines import Postgres


@pytest.fixture
def database(postgres: Postgres, django_db_blocker: Any) -> Iterator[dict[str, Any]]:
    """Let the alias "pg" be our PostgreSQL; return its settings."""
    with django_db_blocker.unblock(), alias_of("pg", postgres.settings) as settings:
        yield settings


@pytest.fixture
def tables(database: dict[str, Any], postgres: Postgres, settings: Settings) -> None:
    """Let there be the tables of groups that keep, and nothing in them."""
    settings.INSTALLED_APPS = [*settings.INSTALLED_APPS, "wsconsumer.groups.postgres"]
    call_command("migrate", "wsconsumer_postgres", database="pg", verbosity=0)
    connections["pg"].close()
    postgres.query("TRUNCATE wsconsumer_history, wsconsumer_outbox, wsconsumer_process CASCADE")


@pytest.fixture
def pgbouncer(postgres: Postgres) -> Iterator[Callable[[str], PgBouncer]]:
    """Start a PgBouncer in the mode that is asked for."""
    started: list[PgBouncer] = []
    # Not below pytest's own directory, which only its owner may enter.
    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(0o755)

        def start(mode: str) -> PgBouncer:
            started.append(PgBouncer(Path(directory), postgres, mode))
            return started[-1]

        yield start
        for one in started:
            one.stop()


@pytest.fixture
def default(pgbouncer: Callable[[str], PgBouncer]) -> Iterator[dict[str, Any]]:
    """Let the default alias lead through a pool of transactions to the same database."""
    with alias_of("default", pgbouncer("transaction").settings) as settings:
        yield settings


@pytest.fixture
def log() -> Iterator[Log]:
    """Note what is logged."""
    handler = Log()
    logging.getLogger("wsconsumer").addHandler(handler)
    yield handler
    logging.getLogger("wsconsumer").removeHandler(handler)


@pytest.fixture
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let checks and attempts come fast one after the other."""
    monkeypatch.setattr(postgres_backend, "CHECK_EVERY", 0.05)
    monkeypatch.setattr(reconnecting, "MAX_DELAY", 0.05)
    monkeypatch.setattr(postgres_publisher, "PAUSE", 0)
