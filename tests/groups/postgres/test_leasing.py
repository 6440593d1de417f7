"""The postgres backend: leases and counts, on a PostgreSQL of our own."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from tests.groups.postgres.harness import TidyBackend
from wsconsumer.test import LeasingContract

if TYPE_CHECKING:
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
