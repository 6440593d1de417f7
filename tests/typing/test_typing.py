"""
What pyright sees of typed messages: ``handlers.py`` in this folder, where every mistake is marked.

mypy reads the same file in ``make lint``.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent


def pyright(folder: Path) -> subprocess.CompletedProcess[str]:
    """Run pyright, with the configuration of a folder."""
    command = [sys.executable, "-m", "pyright", "-p", str(folder), "--pythonpath", sys.executable]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.timeout(120)
def test_pyright_sees_what_handlers_take_and_answer(tmp_path: Path) -> None:
    """It finds every mistake that is marked, and no other; without the marks it finds them all."""
    done = pyright(HERE)
    assert done.returncode == 0, done.stdout + done.stderr
    source = (HERE / "handlers.py").read_text()
    (tmp_path / "handlers.py").write_text(source.replace("# pyright: ignore", "# mistake:"))
    (tmp_path / "pyrightconfig.json").write_text((HERE / "pyrightconfig.json").read_text())
    found = pyright(tmp_path).stdout
    marked = [n for n, line in enumerate(source.splitlines(), 1) if "pyright: ignore" in line]
    assert len(marked) == 7
    for number in marked:
        assert f"handlers.py:{number}:" in found
