"""Typed messages and events through PostgreSQL."""

from __future__ import annotations

import pytest

from tests.messages.through_engine import arrives


@pytest.mark.usefixtures("database")
async def test_messages_and_events() -> None:
    """Events reach handlers, and messages clients, each in the codec of its class."""
    await arrives("tests.groups.postgres.harness.TidyBackend", "pg")
