"""
Run the suites, and close with one block: counts, coverage, and what could not be tested here.

    python scripts/run_tests.py                        both suites, with coverage
    python scripts/run_tests.py --fast                 without engines, servers, browsers, docs
    python scripts/run_tests.py --suite example -- -x  one suite, with arguments for pytest

A missing program (no Redis, no Chromium) leaves the run green and lifts the bar of coverage. With
``CI`` set the tests themselves fail on it. The block is also appended to the file that
``TEST_SUMMARY`` names.

A browser or a server on a busy machine sometimes answers too late for reasons that are not ours. If
no more than a few tests that talk to such programs fail, they are run once more, without the
others; those that pass then are named in the block.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import subprocess
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final
from xml.etree import ElementTree as ET

import django

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT: Final = Path(__file__).resolve().parent.parent

SUITES: Final = {"package": ROOT, "example": ROOT / "example_project"}
"""Where each suite is run: one run of pytest has one settings module."""

OUTSIDE: Final = "browsers or docs or engines or processes or servers"
"""The markers of tests that talk to other programs."""

FAST: Final = f"not ({OUTSIDE})"

FEW: Final = 3
"""How many tests at most are run once more; if more fail, it is the code."""

TESTS_FAILED: Final = 1
"""The exit status of pytest where tests failed, and nothing else went wrong."""

NO_TESTS: Final = 5
"""The exit status of pytest where the arguments select nothing."""

MISSING: Final = re.compile(r"(\S+) is not installed\. On Debian: apt install (.+)")
"""The sentence of ``tests/programs.py``."""


@dataclass
class Result:
    """What one suite came to."""

    name: str
    is_good: bool
    status: int
    """The exit status of pytest."""
    counts: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    skips: Counter[str] = field(default_factory=Counter)
    failures: dict[str, str] = field(default_factory=dict)
    """The error of each test that failed."""
    passed_later: dict[str, str] = field(default_factory=dict)
    """The error of each that failed, and passed when it was run once more."""
    coverage: str = ""

    @property
    def missing(self) -> dict[str, tuple[str, int]]:
        """The programs that were missing: the package of each, and how many tests want it."""
        found = ((MISSING.fullmatch(reason), count) for reason, count in self.skips.items())
        return {match[1]: (match[2], count) for match, count in found if match}

    def __str__(self) -> str:
        verdict = "" if self.is_good else "FAILED: "
        counts = ", ".join(f"{self.counts[kind]} {kind}" for kind in KINDS if self.counts[kind])
        coverage = f", coverage {self.coverage}" if self.coverage else ""
        return f"{self.name}: {verdict}{counts or 'no tests'} in {self.seconds:.0f} s{coverage}"


def read(report: Path, name: str, *, is_good: bool, status: int) -> Result:
    """Read the JUnit report of a suite; there is none if pytest could not start."""
    result = Result(name, is_good, status)
    if not report.exists():
        return result
    for suite in ET.parse(report).iter("testsuite"):  # noqa: S314  # pytest wrote it
        result.seconds += float(suite.get("time", 0))
        for case in suite.iter("testcase"):
            outcome = next((each for each in case if each.tag in OUTCOMES), None)
            kind = "passed" if outcome is None else OUTCOMES[outcome.tag]
            if outcome is not None and outcome.get("type") == "pytest.xfail":
                kind = "failed as expected"
            elif outcome is not None and outcome.tag == "skipped":
                result.skips[outcome.get("message", "")] += 1
            elif outcome is not None:
                name_of_it = f"{case.get('classname')}.{case.get('name')}"
                result.failures[name_of_it] = first_line(outcome.get("message", ""))
            result.counts[kind] += 1
    return result


def first_line(text: str) -> str:
    """Return the first line, or the part of it that fits in a line of the block."""
    return text.partition("\n")[0][:120]


KINDS: Final = ("passed", "failed as expected", "skipped", "failed", "errors")

OUTCOMES: Final = {"failure": "failed", "error": "errors", "skipped": "skipped"}


def run(name: str, arguments: Sequence[str], *, is_fast: bool) -> Result:
    """Run a suite; measure its coverage if it is run as a whole."""
    is_whole = not arguments and not is_fast
    chosen = [*(["-m", FAST] if is_fast else []), *arguments]
    result = run_pytest(name, chosen, ["run"] if is_whole else None)
    if 0 < len(result.failures) <= FEW and result.status == TESTS_FAILED:
        run_again(result, ["run", "--append"] if is_whole else None)
    if is_whole and result.is_good:
        cover(result)
    return result


def run_pytest(name: str, arguments: Sequence[str], coverage: Sequence[str] | None) -> Result:
    """Run pytest on a suite; with ``coverage``, the arguments of that program, beneath it."""
    python = [sys.executable, *(["-m", "coverage", *coverage] if coverage else []), "-m", "pytest"]
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [*python, f"--junit-xml={report}", *arguments]
        status = subprocess.run(command, cwd=SUITES[name], check=False).returncode
        is_good = status == 0 or (status == NO_TESTS and bool(arguments))
        return read(report, name, is_good=is_good, status=status)


def run_again(result: Result, coverage: Sequence[str] | None) -> None:
    """Run the tests of other programs that failed once more; if all pass, the suite is good."""
    again = ["--last-failed", "--last-failed-no-failures=none", "-m", OUTSIDE]
    second = run_pytest(result.name, again, coverage)
    if second.counts["passed"] == len(result.failures) and second.status == 0:
        result.is_good = True
        result.passed_later = result.failures


def cover(result: Result) -> None:
    """Report the coverage; too little is a failure, unless programs were missing."""
    command = [sys.executable, "-m", "coverage", "report"]
    where = SUITES[result.name]
    bar = ["--fail-under=0"] if result.missing else []
    result.is_good = subprocess.run([*command, *bar], cwd=where, check=False).returncode == 0
    total = [*command, "--format=total", "--fail-under=0"]
    result.coverage = subprocess.check_output(total, cwd=where, text=True).strip() + " %"


def closing(results: Sequence[Result]) -> str:
    """Return the closing block."""
    lines = [f"=== Python {platform.python_version()}, Django {django.get_version()} ==="]
    lines += map(str, results)
    later = {test: error for result in results for test, error in result.passed_later.items()}
    if later:
        lines.append("Failed, and passed when run once more:")
        lines += [f"  {test}: {error}" for test, error in later.items()]
    skips = sum((result.skips for result in results), Counter[str]())
    if skips:
        lines.append("Not tested:")
        lines += [f"  {count} tests: {reason}" for reason, count in skips.most_common()]
    packages = {package for result in results for package, _ in result.missing.values()}
    if packages:
        lines.append(f"To test everything: apt install {' '.join(sorted(packages))}")
    if packages and any(result.coverage for result in results):
        lines.append("Coverage has no bar where tests were skipped for a missing program.")
    return "\n".join(lines)


def main() -> None:
    """Run, and exit with 1 if anything failed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").strip().partition("\n")[0])
    parser.add_argument("--suite", choices=SUITES, action="append", help="one alone; else all")
    parser.add_argument("--fast", action="store_true", help="leave out what takes long")
    parser.add_argument("arguments", nargs="*", help="for pytest, behind --")
    asked = parser.parse_args()
    names = asked.suite or list(SUITES)
    results = [run(name, asked.arguments, is_fast=asked.fast) for name in names]
    block = closing(results)
    print(f"\n{block}")
    if summary := os.environ.get("TEST_SUMMARY"):
        with Path(summary).open("a") as file:
            file.write(f"{block}\n")
    sys.exit(not all(result.is_good for result in results))


if __name__ == "__main__":
    main()
