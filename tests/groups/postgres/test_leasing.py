"""The postgres backend: leases and counts, on a PostgreSQL of our own."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from tests.groups.counting_stress import Stress, quick
from tests.groups.postgres.harness import TidyBackend
from wsconsumer import group_checks
from wsconsumer.exceptions import BackendError
from wsconsumer.groups.leasing import TOLD_FOR
from wsconsumer.groups.postgres.backend import PostgresBackend
from wsconsumer.test import LeasingContract
from wsconsumer.test.leasing import LONG

if TYPE_CHECKING:
    from pytest_django import Settings

    from tests.engines import Postgres
    from wsconsumer.groups.base import Backend

pytestmark = pytest.mark.usefixtures("tables")


class TestPostgresLeases(LeasingContract):
    """The contract."""

    many_groups = 1

    @pytest.fixture(autouse=True)
    def _postgres(self, postgres: Postgres) -> None:
        self.postgres = postgres

    def make_backend(self, prefix: str = "contract") -> Backend:
        return TidyBackend("pg", prefix, {})

    async def forget(self, prefix: str) -> None:
        await asyncio.to_thread(
            self.postgres.query,
            "DELETE FROM wsconsumer_process WHERE channel = %s",
            prefix,
        )


@pytest.mark.parametrize("loses", [False, True])
async def test_counts(loses: bool, postgres: Postgres, monkeypatch: pytest.MonkeyPatch) -> None:
    """No limit is passed, and in the end the count is the truth."""
    quick(monkeypatch)

    async def lose() -> None:
        await asyncio.to_thread(postgres.query, "TRUNCATE wsconsumer_process CASCADE")

    stress = Stress(lambda: PostgresBackend("pg", "stress", {}), 5)
    await stress.run(150, lose if loses else None)


async def test_a_process_that_lapsed_long_ago(postgres: Postgres) -> None:
    """The next beat removes it, and what it had."""
    backend = PostgresBackend("pg", "long", {})
    await backend.start(_nothing)
    await backend.begin("a", LONG)
    await backend.begin("b", LONG)
    await backend.admit("b", {"k": 2}, [])
    postgres.query(
        "UPDATE wsconsumer_process SET held_until = now() - %s * interval '1 second'"
        " WHERE name = 'b'",
        TOLD_FOR - 5,
    )
    assert await backend.beat("a", LONG) == (True, ["b"])
    assert postgres.query("SELECT count FROM wsconsumer_count") == [(2,)]
    postgres.query(
        "UPDATE wsconsumer_process SET held_until = now() - %s * interval '1 second'"
        " WHERE name = 'b'",
        TOLD_FOR + 1,
    )
    assert await backend.beat("a", LONG) == (True, [])
    assert postgres.query("SELECT count FROM wsconsumer_count") == []
    await backend.aclose()


async def test_tables_that_are_missing(postgres: Postgres) -> None:
    """The error says how to make them."""
    postgres.query("ALTER TABLE wsconsumer_process RENAME TO away")
    backend = PostgresBackend("pg", "missing", {})
    await backend.start(_nothing)
    try:
        with pytest.raises(BackendError, match=r"manage\.py migrate wsconsumer_postgres"):
            await backend.begin("a", LONG)
    finally:
        postgres.query("ALTER TABLE away RENAME TO wsconsumer_process")
        await backend.aclose()


async def test_an_engine_that_is_away() -> None:
    """The error says so at once, and is not that of a broadcast."""
    backend = PostgresBackend("pg", "away", {})
    await backend.start(_nothing)
    backend._outage.failed(ConnectionError("gone"))  # noqa: SLF001  # as its supervisor finds out
    with pytest.raises(BackendError, match="does not count the connections of all processes"):
        await backend.beat("a", LONG)
    await backend.aclose()


def test_an_app_that_is_not_installed(settings: Settings) -> None:
    """E011: the check names the app, and the command that makes the tables."""
    settings.WSCONSUMER = {
        "GROUPS": {
            "BACKEND": "wsconsumer.groups.postgres.PostgresBackend",
            "LOCATION": "pg",
        },
        "MAX_CONNECTIONS_PER_USER": 5,
    }
    assert group_checks.check_counting() == []
    settings.INSTALLED_APPS = ["wsconsumer"]
    (problem,) = group_checks.check_counting()
    assert problem.id == "wsconsumer.E011"
    assert "Put 'wsconsumer.groups.postgres' in INSTALLED_APPS, and run" in problem.msg


async def _nothing(*_: object) -> None:
    """Deliver nothing."""
