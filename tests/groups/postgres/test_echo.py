"""``manage.py websockets`` with PostgreSQL, in one of several databases."""

from __future__ import annotations

import io
import json
import socket
from typing import TYPE_CHECKING, Any

import pytest
from django.core.management import CommandError, call_command
from django.test import override_settings

from tests.groups.postgres.harness import alias_of, make_backend
from wsconsumer import BackendError
from wsconsumer.groups import echo

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.engines import Postgres
    from tests.groups.postgres.pgbouncer import PgBouncer

BACKEND = "wsconsumer.groups.postgres.PostgresBackend"


def engine(**options: Any) -> dict[str, Any]:
    """Return what the command finds out about the alias "pg"; it exits with 1 on an error."""
    out = io.StringIO()
    groups = {"BACKEND": BACKEND, "LOCATION": "pg", "OPTIONS": options}
    is_well = True
    with override_settings(WSCONSUMER={"GROUPS": groups}):
        try:
            call_command("websockets", "--json", stdout=out, stderr=out)
        except CommandError:
            is_well = False
    assert "hunter2" not in out.getvalue()
    found: dict[str, Any] = json.loads(out.getvalue())["wiring"]["engine"]
    assert is_well == (found["error"] is None)
    return found


def test_postgresql(database: dict[str, Any]) -> None:
    """A broadcast comes back; host, database and user are told, and no password."""
    database["PASSWORD"] = "hunter2"
    found = engine()
    assert found["error"] is None
    assert 0 < found["seconds"] < echo.PATIENCE
    assert found["location"] == "pg"
    assert found["description"] == (
        f"PostgreSQL (DATABASES['pg']) host={database['HOST']} name={database['NAME']} "
        f"user={database['USER']}"
    )


def test_broadcasts_that_go_to_another_database(
    database: dict[str, Any], postgres: Postgres
) -> None:
    """Views that publish where nobody listens are found out."""
    with (
        alias_of("other", postgres.settings | {"NAME": "template1"}),
        pytest.raises(BackendError, match="while a broadcast from a thread went out and came back"),
    ):
        echo.hear_echo(make_backend(PUBLISH_USING="other"), 2)


def test_away(database: dict[str, Any]) -> None:
    """A port where nothing listens is told."""
    database["PORT"] = "1"
    database["PASSWORD"] = "hunter2"
    found = engine()
    assert found["error"].startswith("OperationalError: ")
    assert "refused" in found["error"]


@pytest.mark.timeout(60)
def test_silence(database: dict[str, Any]) -> None:
    """One that accepts a connection and says nothing is not waited for without end."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        database |= {"PORT": str(silent.getsockname()[1]), "PASSWORD": "hunter2"}
        found = engine(TIMEOUT=0.2)
    assert "Timeout" in found["error"]


@pytest.mark.timeout(60)
def test_a_pooler_of_transactions(
    database: dict[str, Any], pgbouncer: Callable[[str], PgBouncer]
) -> None:
    """Through PgBouncer in transaction mode nothing comes in, which is told."""
    database["PORT"] = str(pgbouncer("transaction").port)
    assert "transaction" in engine()["error"]
