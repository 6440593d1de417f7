"""``scripts/run_tests.py``: what the closing block says, and what makes a run red."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from scripts import run_tests

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parent.parent.parent

PASSES = """
import pytest
from code_of_it import half

def test_half():
    assert half(4) == 2

@pytest.mark.xfail
def test_a_known_limit():
    assert half(4) == 3
"""

WANTS_A_PROGRAM = """
from tests.programs import require

def test_a_program():
    require("no-such-program", "no-such-package")
"""

CODE = "def half(n):\n    return n // 2\n"
UNCOVERED = f"{CODE}\ndef twice(n):\n    return 2 * n\n"

COVERAGE = "[run]\nsource = .\nomit = test_*\n[report]\nfail_under = 100\n"


@pytest.fixture
def main(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str]]:
    """Run the script on a suite of these files; return its exit status and its closing block."""
    monkeypatch.setitem(run_tests.SUITES, "package", tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")  # starts faster
    monkeypatch.setenv("TEST_SUMMARY", str(tmp_path / "summary"))
    for name in ("CI", "PYTEST_ADDOPTS", "DJANGO_SETTINGS_MODULE", "COVERAGE_PROCESS_START"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "pytest.ini").write_text("[pytest]\npythonpath = .\nmarkers = servers\n")
    (tmp_path / ".coveragerc").write_text(COVERAGE)

    def run(*arguments: str, code: str = CODE, **files: str) -> tuple[int, str]:
        (tmp_path / "code_of_it.py").write_text(code)
        for name, text in files.items():
            (tmp_path / f"{name}.py").write_text(text)
        monkeypatch.setattr(sys, "argv", ["run_tests.py", "--suite", "package", *arguments])
        with pytest.raises(SystemExit) as exit_info:
            run_tests.main()
        block = (tmp_path / "summary").read_text()
        assert block.splitlines()[-1] in capfd.readouterr().out
        assert isinstance(exit_info.value.code, int)
        return exit_info.value.code, block

    return run


def test_all_is_well(main: Callable[..., tuple[int, str]]) -> None:
    """The block counts what passed and what failed as expected, and has the coverage."""
    status, block = main(test_it=PASSES)
    assert status == 0
    assert "package: 1 passed, 1 failed as expected in" in block
    assert block.endswith("coverage 100 %\n")


def test_a_missing_program(main: Callable[..., tuple[int, str]]) -> None:
    """What a missing program leaves untested is listed, and lifts the bar of coverage."""
    status, block = main(code=UNCOVERED, test_it=PASSES, test_other=WANTS_A_PROGRAM)
    assert status == 0
    assert "1 skipped" in block
    assert "  1 tests: no-such-program is not installed." in block
    assert "To test everything: apt install no-such-package" in block
    assert "Coverage has no bar" in block


def test_too_little_coverage(main: Callable[..., tuple[int, str]]) -> None:
    """Where no program is missing, too little coverage is a failure."""
    status, block = main(code=UNCOVERED, test_it=PASSES)
    assert status == 1
    assert "package: FAILED: 1 passed" in block
    assert "coverage 75 %" in block


def test_a_skip_for_another_reason(main: Callable[..., tuple[int, str]]) -> None:
    """A skip that no program explains is listed, and the bar of coverage stays."""
    skip = "import pytest\n\ndef test_it():\n    pytest.skip('not today')\n"
    status, block = main(code=UNCOVERED, test_it=PASSES, test_other=skip)
    assert status == 1
    assert "  1 tests: not today" in block
    assert "To test everything" not in block


def test_a_failure(main: Callable[..., tuple[int, str]]) -> None:
    """A test that fails makes the run fail."""
    status, block = main(test_it="def test_it():\n    raise ValueError\n")
    assert status == 1
    assert "package: FAILED: 1 failed in" in block


ANSWERS_LATE = """
import pytest
from pathlib import Path

SEEN = Path(__file__).with_name("seen")

@pytest.mark.{marker}
@pytest.mark.parametrize("number", range({tests}))
def test_a_server(number):
    seen = SEEN.with_suffix(f".{{number}}")
    is_late = not seen.exists()
    seen.touch()
    assert not is_late, "no answer"
"""


def test_a_server_that_answers_late(main: Callable[..., tuple[int, str]]) -> None:
    """A test of another program that passes when it is run once more is named in the block."""
    late = ANSWERS_LATE.format(marker="servers", tests=2)
    status, block = main(test_it=PASSES, test_server=late)
    assert status == 0
    assert "Failed, and passed when run once more:\n  test_server.test_a_server[0]: " in block
    assert "AssertionError: no answer" in block
    assert "coverage 100 %" in block


def test_a_server_that_never_answers(main: Callable[..., tuple[int, str]]) -> None:
    """What fails again is a failure."""
    never = "import pytest\n\n@pytest.mark.servers\ndef test_it():\n    raise ValueError\n"
    status, block = main(test_it=PASSES, test_server=never)
    assert status == 1
    assert "package: FAILED: 1 passed, 1 failed as expected, 1 failed in" in block
    assert "once more" not in block


@pytest.mark.parametrize(
    ("marker", "tests"),
    [("skipif(False, reason='')", 1), ("servers", 4)],
    ids=["of-our-own-code", "too-many"],
)
def test_what_is_not_run_again(
    main: Callable[..., tuple[int, str]], marker: str, tests: int
) -> None:
    """Neither a test of our own code nor many failures at once get a second run."""
    late = ANSWERS_LATE.format(marker=marker, tests=tests)
    status, block = main(test_it=PASSES, test_server=late)
    assert status == 1
    assert f"{tests} failed in" in block
    assert "once more" not in block


def test_arguments(main: Callable[..., tuple[int, str]]) -> None:
    """With arguments for pytest there is no coverage, and a suite may have nothing to run."""
    status, block = main("--", "-k", "half", test_it=PASSES)
    assert status == 0
    assert "package: 1 passed in" in block
    assert "coverage" not in block
    assert main("--", "-k", "nothing")[0] == 0


def test_nothing_to_run(main: Callable[..., tuple[int, str]]) -> None:
    """A suite without a test is a failure if nobody asked for a part."""
    status, block = main(test_it="")
    assert status == 1
    assert "package: FAILED: no tests" in block
