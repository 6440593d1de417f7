"""``groups/postgres/link.py``: the way to PostgreSQL."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from tests.groups.postgres.harness import SHORT, Between, Log, listening, quick
from wsconsumer.groups.postgres.connecting import attempts, parameters
from wsconsumer.groups.postgres.link import Link

if TYPE_CHECKING:
    from pathlib import Path

    from tests.engines import Postgres

pytestmark = pytest.mark.usefixtures("database")


@quick
async def test_a_way_that_falls_silent(
    database: dict[str, Any], log: Log, postgres: Postgres
) -> None:
    """A connection that is half open is found out, and made anew."""
    async with Between(postgres.port) as between:
        database["PORT"] = str(between.port)
        async with listening("g", **SHORT) as one:
            await one.backend.publish("g", b"before")
            await one.until("g", b"before")
            between.silent = True
            await log.until("is away")
            between.silent = False
            await log.until("is back")
            await one.backend.publish("g", b"end")
            await one.until("g", b"end")


async def test_statements() -> None:
    """One goes out however large it is, returns its first row, or raises what the server says."""
    (told,) = attempts("pg")
    link = await Link.connect(told)
    try:
        large = "x" * (16 << 20)
        row = await link.execute("SELECT length($1), NULL FROM generate_series(1, 2)", large)
        assert row == [str(len(large)), ""]
        with pytest.raises(psycopg.OperationalError, match="division by zero"):
            await link.execute("SELECT 1 / 0")
    finally:
        link.close()


async def test_options_of_django(database: dict[str, Any]) -> None:
    """What OPTIONS say to Django or psycopg is not for libpq, and all else is."""
    database["OPTIONS"] = {
        "pool": {"min_size": 1},
        "server_side_binding": True,
        "isolation_level": 4,
        "assume_role": "somebody",
        "cursor_factory": object,
        "prepare_threshold": 5,
        "sslmode": "disable",
        "connect_timeout": 3,
        "keepalives_idle": 60,
        "passfile": None,
    }
    assert parameters("pg") == {
        "dbname": "postgres",
        "user": "tester",
        "host": "127.0.0.1",
        "port": database["PORT"],
        "client_encoding": "UTF8",
        "sslmode": "disable",
        "connect_timeout": "3",
        "fallback_application_name": "wsconsumer",
        "keepalives_idle": "60",
        "keepalives_interval": "10",
        "keepalives_count": "3",
    }
    async with listening("g") as one:
        await one.backend.publish("g", b"body")
        await one.until("g", b"body")


async def test_a_service_file(
    database: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, postgres: Postgres
) -> None:
    """Where PostgreSQL is can be in a service file."""
    file = tmp_path / "services"
    file.write_text(f"[ours]\nhost=127.0.0.1\nport={postgres.port}\nuser=tester\ndbname=postgres\n")
    monkeypatch.setenv("PGSERVICEFILE", str(file))
    database |= dict.fromkeys(("NAME", "USER", "HOST", "PORT"), "")
    database["OPTIONS"] = {"service": "ours"}
    async with listening("g") as one:
        await one.backend.publish("g", b"body")
        await one.until("g", b"body")
