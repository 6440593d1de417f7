"""Packages whose tokens are in the database, in a process that has them among its apps."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent / "installed"
ROOT = FOLDER.parent.parent.parent


@pytest.mark.timeout(300)
def test_with_the_packages_installed() -> None:
    """The tests of the folder pass."""
    settings = "--ds=tests.authentication.installed.settings"
    options = (settings, "--no-migrations", "--timeout=100", "-p", "no:cacheprovider")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, *map(str, sorted(FOLDER.glob("with_*.py")))],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
