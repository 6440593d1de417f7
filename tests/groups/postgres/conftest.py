"""A database of our own, and its log, for this folder."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest
from django.db import connections

from tests.groups.postgres.harness import Log
from wsconsumer.groups import reconnecting
from wsconsumer.groups.postgres import backend as postgres_backend
from wsconsumer.groups.postgres import publisher as postgres_publisher

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.engines import Postgres


@pytest.fixture
def database(postgres: Postgres, django_db_blocker: Any) -> Iterator[dict[str, Any]]:
    """Let the alias "pg" be our PostgreSQL; return its settings."""
    configured = connections.configure_settings({"default": {}, "pg": postgres.settings})
    connections.settings["pg"] = configured["pg"]
    with django_db_blocker.unblock():
        yield connections.settings["pg"]
    del connections.settings["pg"]


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
