"""The cursor under stress, and what the stress catches: mutants of the cursor."""

# ruff: noqa: SLF001  # mutants are made of the inside

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.groups import kept_stress
from tests.groups.kept_stress import run
from tests.groups.lossy import LossyBackend
from wsconsumer import Group
from wsconsumer.groups import declared, holes, kept, readings, reconnecting
from wsconsumer.groups.hub import close_hub
from wsconsumer.groups.kept import KeptGroup
from wsconsumer.test import real_engine

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

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


def _without_gap_check(group: Any, broadcast: Any, **_: Any) -> Any:
    if broadcast.position.offset > group._top:
        group._top = broadcast.position.offset - 1
        return group._advance(broadcast)
    return None


def _without_epoch_check(group: Any, broadcast: Any, **_: Any) -> Any:
    if broadcast.position.offset == group._top + 1:
        return group._advance(broadcast)
    return None


def _without_dedupe(group: Any, broadcast: Any, **_: Any) -> Any:
    if group._during is None and broadcast.position.offset <= group._top:
        return group.deliver(broadcast)
    return TAKE(group, broadcast)


def _in_part(group: Any, at: Any) -> Any:
    return list(group._recent)[max(0, at.offset + 1 - group._first) :]


TAKE: Callable[..., Any] = KeptGroup.take


def _forgetting(group: Any, kept: Any) -> bool:
    group._top = kept.top
    return True


def _keeping_what_is_before(group: Any, hole: Any, *, is_live: bool) -> Any:
    recent, is_deep = group._recent.copy(), group._is_deep
    delivered = STEP_OVER(group, hole, is_live=is_live)
    group._recent.extend([*recent, hole])
    group._is_deep = is_deep
    return delivered


STEP_OVER: Callable[..., Any] = KeptGroup._step_over


def _whole_while_owed(group: Any, at: Any) -> bool:
    return bool(at.epoch == group._epoch and group._first - 1 <= at.offset <= group._top)


MUTANTS: dict[str, dict[str, Any]] = {
    "no gap check": {"take": _without_gap_check},
    "no epoch check": {"take": _without_epoch_check},
    "doubles": {"take": _without_dedupe},
    "resumes in part": {
        "_is_whole": lambda group, at: at.epoch == group._epoch,
        "_missed": _in_part,
    },
    "resumes any history": {
        "_is_whole": lambda group, at: group._first - 1 <= at.offset <= group._top
    },
    "never looks": {"look_for_more": lambda group: None},
    "adopts in silence": {"_reset": lambda group: None},
    "forgets what it reads": {"_follow": _forgetting},
    "leaves no holes": {"take_unnumbered": lambda group, broadcast: group.deliver(broadcast)},
    "resumes across holes": {"_step_over": _keeping_what_is_before},
    "whole while a hole is owed": {"_is_whole": _whole_while_owed},
}


@pytest.mark.parametrize("name", MUTANTS)
async def test_the_stress_catches(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cursor with a mistake in it is found out within a few seeds."""
    monkeypatch.setattr(kept_stress, "PATIENCE", 0.2)
    for method, mutant in MUTANTS[name].items():
        monkeypatch.setattr(KeptGroup, method, mutant)
    for seed in range(12):
        LossyBackend.begin()
        if await run(seed):
            return
        await close_hub()
    pytest.fail("12 seeds saw nothing wrong")
