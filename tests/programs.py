"""Programs that tests need: where one is missing a test is skipped, and in CI it fails."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest


def is_ci() -> bool:
    """Tell whether ``CI`` is set, to anything but a way to say no."""
    return os.environ.get("CI", "").strip().lower() not in {"", "0", "false", "no", "off"}


def require(program: str, package: str, *alternatives: str) -> str:
    """Return the path of a program, or of an alternative; without it skip, or fail in CI."""
    for name in (program, *alternatives):
        if found := shutil.which(name) or _in_debian_postgres(name):
            return found
    # `scripts/run_tests.py` reads this sentence.
    message = f"{program} is not installed. On Debian: apt install {package}"
    if is_ci():
        pytest.fail(message)
    pytest.skip(message)


def _in_debian_postgres(program: str) -> str | None:
    versions = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{program}"))
    return str(versions[-1]) if versions else None
