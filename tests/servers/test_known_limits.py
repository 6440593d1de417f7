"""The table of known limits names only what there is."""

import subprocess
import sys

import pytest

from tests.servers.harness import HERE
from tests.servers.known_limits import KNOWN_LIMITS, scenario_of


@pytest.fixture(scope="module")
def scenarios() -> set[tuple[str, str]]:
    """All scenarios of this folder with their servers, whatever was selected for this run."""
    options = ["--collect-only", "--quiet", "-p", "no:randomly", "-p", "no:cacheprovider"]
    listing = subprocess.run(
        [sys.executable, "-m", "pytest", *options, str(HERE)],
        cwd=HERE.parent.parent,
        capture_output=True,
        text=True,
        check=True,
    )
    tests = [line.rpartition("::")[2] for line in listing.stdout.splitlines() if "::" in line]
    return {scenario_of(test) for test in tests}


def test_every_row_names_a_scenario_of_a_server(scenarios: set[tuple[str, str]]) -> None:
    """A row for an unknown server or scenario would never be put to the test."""
    assert set(KNOWN_LIMITS) - scenarios == set()


def test_every_row_gives_a_reason() -> None:
    """A reader learns from the row alone what the server does instead."""
    assert [row for row, limit in KNOWN_LIMITS.items() if not limit.reason] == []
