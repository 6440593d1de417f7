"""The stress of groups that keep, in several processes: a short run on each engine, and mutants."""

from __future__ import annotations

import pytest

from tests.processes.kept.stress import stress
from tests.processes.kept.trouble import ENGINES


@pytest.mark.parametrize("engine", ENGINES)
def test_nothing_is_missed_in_silence(engine: str) -> None:
    """Whatever happens to the engine and the processes, no page has a hole, or something twice."""
    verdict = stress(engine, seed=1, seconds=2, processes=2)
    assert verdict.wrong == [], str(verdict)


@pytest.mark.parametrize(
    ("engine", "mutant"), [("redis", "ignores keys"), ("postgres", "no gap check")]
)
def test_the_stress_catches(engine: str, mutant: str) -> None:
    """Processes that have a mistake in them are found out."""
    assert stress(engine, seed=1, seconds=30, processes=2, mutant=mutant).wrong
