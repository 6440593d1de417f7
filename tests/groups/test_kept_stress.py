"""The cursor under stress, and what the stress catches: mutants of the cursor."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.groups import kept_stress
from tests.groups.kept_stress import run
from tests.groups.lossy import LossyBackend
from tests.groups.mutants import MUTANTS
from wsconsumer import Group
from wsconsumer.groups import declared, holes, kept, readings, reconnecting
from wsconsumer.groups.hub import close_hub
from wsconsumer.groups.kept import KeptGroup
from wsconsumer.test import real_engine

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from pytest_django import Settings

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(autouse=True)
async def _engine(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[None]:
    monkeypatch.setattr(reconnecting, "FIRST_DELAY", 0)
    monkeypatch.setattr(readings, "LOOK_EVERY", 3600)
    monkeypatch.setattr(holes, "DELAY", (0, 0.002))
    monkeypatch.setattr(kept, "SURE_AFTER", 0.01)
    settings.WSCONSUMER = {"GROUPS": {"BACKEND": "tests.groups.lossy.LossyBackend"}}
    with real_engine(), declared.only():
        Group("room.{slug}", keep=5)
        yield
        await close_hub()


@pytest.mark.parametrize("seed", range(6))
async def test_nothing_is_missed_in_silence(seed: int) -> None:
    """Whatever the engine does, no page has a hole or a double that it was not told of."""
    LossyBackend.begin()
    assert await run(seed) == []


@pytest.mark.parametrize("name", MUTANTS)
async def test_the_stress_catches(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cursor with a mistake in it is found out within a few seeds."""
    monkeypatch.setattr(kept_stress, "PATIENCE", 0.2)
    for method, mutant in MUTANTS[name].items():
        monkeypatch.setattr(KeptGroup, method, mutant)
    for seed in range(60):
        LossyBackend.begin()
        if await run(seed):
            return
        await close_hub()
    pytest.fail("60 seeds saw nothing wrong")
