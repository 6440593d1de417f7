"""Two processes that are replaced one after the other: a small run of `benchmarks/rolling.py`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from tests.processes.running import PATIENCE, ROOT
from tests.processes.test_processes import redis

if TYPE_CHECKING:
    from pathlib import Path

WINDOW = 2.0
CLIENTS = 50

LATER = 8.0
"""Seconds beyond the window that a client may need: its pauses, and a second attempt."""


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the clients saw."""
    found: Path = tmp_path_factory.mktemp("rolling") / "seen.json"
    with redis() as engine:
        options = [f"--clients={CLIENTS}", f"--drain={WINDOW}", f"--redis={engine.url}"]
        subprocess.run(
            [sys.executable, "benchmarks/rolling.py", *options, f"--json={found}"],
            check=True,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.DEVNULL,
            timeout=4 * PATIENCE,
        )
    (seen,) = json.loads(found.read_text())
    return dict(seen)


def test_everybody_comes_back_soon(seen: dict[str, Any]) -> None:
    """Nobody waits longer than the window and a pause."""
    assert len(seen["waited"]) >= CLIENTS
    assert max(seen["waited"]) < WINDOW + LATER


def test_nothing_that_is_kept_is_lost(seen: dict[str, Any]) -> None:
    """Every client gets every broadcast, once, and is never told to reload."""
    assert (seen["lost"], seen["doubled"], seen["reloads"]) == (0, 0, 0)


def test_they_do_not_all_come_at_once(seen: dict[str, Any]) -> None:
    """Each process takes most of the window to stop, and the clients come back one by one."""
    assert min(seen["stopped_in"]) > WINDOW / 2
    assert set(seen["codes"]) == {"1012"}
    assert max(seen["curve"]) < CLIENTS
