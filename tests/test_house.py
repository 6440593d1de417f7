"""The house as it is drawn: what may import what, and what importing costs."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import wsconsumer

PACKAGE = Path(wsconsumer.__file__).parent

HOUSE = [
    "exceptions",
    "protocol",
    "conf",
    "counters",
    "limits",
    "loops",
    "outbox",
    "servers",
    "connection",
    "member",
    "groups",
    "watchman",
    "request",
    "response",
    "hooks",
    "view",
    "failures",
    "consumer",
    "threads",
    "handshake",
    "dispatcher",
    "asgi",
    "routes",
    "checks",
    "apps",
    "management",
    "test",
]
"""Top down: a module imports only what stands above it."""

MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


def room(path: Path) -> str:
    """Return the entry of the house that a file belongs to."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: Path) -> set[str]:
    """Return the rooms that a file imports from, for type checkers or not."""
    tree = ast.parse(path.read_text())
    depth = len(path.relative_to(PACKAGE).parts)
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level == depth:
            names = [node.module] if node.module else [alias.name for alias in node.names]
            found.update(name.partition(".")[0] for name in names)
    return found


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_imports_only_what_stands_above_it(path: Path) -> None:
    """The order of the house is kept."""
    above = HOUSE[: HOUSE.index(room(path))]
    assert imports(path) - {room(path)} <= set(above)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_module_is_long(path: Path) -> None:
    """A module that needs more than 400 lines has more than one idea."""
    assert len(path.read_text().splitlines()) <= 400


def test_the_house_is_complete() -> None:
    """Each name in the order is a module that exists."""
    assert {room(path) for path in MODULES} == set(HOUSE)


def test_importing_costs_nothing() -> None:
    """``import wsconsumer`` touches no settings and imports no server, no redis and no psycopg."""
    program = (
        "import sys, wsconsumer; from django.conf import settings; "
        "assert not settings.configured; "
        "found = {'daphne', 'twisted', 'uvicorn', 'redis', 'psycopg'} & set(sys.modules); "
        "sys.exit(f'imported {found}' if found else 0)"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", program], check=True, timeout=60)


def test_public_names() -> None:
    """What the package promises is there."""
    for name in wsconsumer.__all__:
        assert getattr(wsconsumer, name) is not None
