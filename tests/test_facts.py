"""Facts that several files state: the version, the Pythons that are tested, the oldest daphne."""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import version
from pathlib import Path

import wsconsumer
from wsconsumer.checks import DAPHNE

ROOT = Path(__file__).parent.parent
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_the_version() -> None:
    """What is installed has the version that the package names, and only the package names it."""
    assert version("wsconsumer") == wsconsumer.__version__
    assert "version" not in PYPROJECT["project"]


def test_the_pythons() -> None:
    """CI runs each Python that the metadata claims, and the tools know the oldest."""
    names = [text.rpartition(" :: ")[2] for text in PYPROJECT["project"]["classifiers"]]
    claimed = [name for name in names if re.fullmatch(r"3\.\d+", name)]
    assert re.findall(r"find_python (3\.\d+)", (ROOT / ".ci" / "run").read_text()) == claimed
    oldest = claimed[0]
    assert PYPROJECT["project"]["requires-python"] == f">={oldest}"
    assert PYPROJECT["tool"]["ruff"]["target-version"] == f"py{oldest.replace('.', '')}"
    assert f"sys.version_info < ({oldest.replace('.', ', ')})" in (ROOT / "Makefile").read_text()


def test_the_oldest_daphne() -> None:
    """The check W001 asks for the version that the extra installs."""
    extras = PYPROJECT["project"]["optional-dependencies"]
    assert extras["daphne"] == [f"daphne>={'.'.join(map(str, DAPHNE))}"]
