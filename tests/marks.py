"""Markers by folder and fixture, so that `make test-fast` can leave out what takes long."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterable

ROOT: Final = Path(__file__).resolve().parent.parent

FOLDERS: Final = {
    "tests/attacks": "servers",
    "tests/authentication/test_installed": "processes",
    "tests/authentication/test_sentry": "processes",
    "tests/browsers": "servers",
    "tests/client": "processes",
    "tests/cookbook": "docs",
    "tests/kit/test_other_runners": "processes",
    "tests/kit/test_runners": "processes",
    "tests/processes": "processes",
    "tests/proxies": "servers",
    "tests/scripts": "processes",
    "tests/servers": "servers",
    "tests/test_docs.py": "docs",
    "tests/test_links.py": "docs",
    "tests/typing": "processes",
}
"""The marker of all tests whose path starts like this."""

FIXTURES: Final = {
    "directory": "engines",  # where a Redis server has its socket
    "postgres": "engines",
    "browser": "browsers",
    "other_browser": "browsers",
    "tab": "browsers",
    "own_site": "servers",
    "project": "processes",
    "redis": "engines",
    "site": "servers",
}
"""The marker of all tests that use a fixture."""

PARAMETERS: Final = {"postgresql": "engines"}
"""The marker of all tests that have a parameter of this name."""

PATIENCE: Final = 120
"""Seconds for a marked test; `timeout` in the settings of pytest is for the others."""


def add_markers(items: Iterable[pytest.Item]) -> None:
    """Mark tests, and give the marked ones more time."""
    for item in items:
        names = _markers(item)
        for name in names:
            item.add_marker(name)
        if names and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(PATIENCE))


def _markers(item: pytest.Item) -> set[str]:
    path = item.path.relative_to(ROOT).as_posix()
    fixtures = getattr(item, "fixturenames", ())
    parameters = item.name.partition("[")[2].rstrip("]").split("-")
    return {
        *(name for start, name in FOLDERS.items() if path.startswith(start)),
        *(FIXTURES[fixture] for fixture in fixtures if fixture in FIXTURES),
        *(PARAMETERS[parameter] for parameter in parameters if parameter in PARAMETERS),
    }
