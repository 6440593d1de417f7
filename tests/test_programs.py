"""``tests/programs.py``: a missing program skips a test, but never in CI."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.programs import is_ci, require


@pytest.mark.parametrize("value", ["1", "true", "True", "yes", "on", "github"])
def test_ci_forbids_skips(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever says yes makes a missing program a failure."""
    monkeypatch.setenv("CI", value)
    assert is_ci()
    with pytest.raises(pytest.fail.Exception, match="no-such-program is not installed"):
        require("no-such-program", "no-such-package")


@pytest.mark.parametrize("value", ["", " ", "0", "false", "False", "no", "off"])
def test_elsewhere_a_test_is_skipped(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever says no leaves it a skip, which names the package to install."""
    monkeypatch.setenv("CI", value)
    assert not is_ci()
    with pytest.raises(pytest.skip.Exception, match="apt install no-such-package"):
        require("no-such-program", "no-such-package")


def test_an_alternative(monkeypatch: pytest.MonkeyPatch) -> None:
    """A program may have another name."""
    python = Path(sys.executable)
    monkeypatch.setenv("PATH", str(python.parent))
    assert require("no-such-program", "no-such-package", python.name) == str(python)
