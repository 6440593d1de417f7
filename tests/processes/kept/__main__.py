"""
Groups that keep under stress, in several processes: servers that are killed, pages that come back
to another one, speakers in sync and async code, and an engine in trouble.

    python -m tests.processes.kept --engine redis --seed 1 --seconds 30

Servers lose some of what the engine sends. One violation, and it exits with 1. With ``--mutant`` a
mistake is made on purpose. The seed makes the same things happen; how they meet is up to the
machine.
"""

from __future__ import annotations

import argparse
import sys
import time

import pytest

from tests.groups.mutants import MUTANTS, OTHERS
from tests.processes.kept.stress import stress
from tests.processes.kept.trouble import ENGINES

SHOWN = 20
"""Violations that are printed."""


def main() -> None:
    """Run, print the counts, and exit with 1 if there is one violation."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("--engine", action="append", help=f"one of {', '.join(ENGINES)}; else all")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="the time of day")
    parser.add_argument("--seconds", type=float, default=30.0, help="per engine (%(default)s)")
    parser.add_argument("--processes", type=int, default=3, help="servers (%(default)s)")
    parser.add_argument("--mutant", choices=[*MUTANTS, *OTHERS], help="a mistake to make")
    asked = parser.parse_args()
    is_bad = False
    for name in ENGINES:
        if name not in (asked.engine or ENGINES):
            continue
        try:
            verdict = stress(name, asked.seed, asked.seconds, asked.processes, asked.mutant)
        except pytest.skip.Exception as missing:
            sys.exit(str(missing))
        sys.stdout.write(f"kept, {name}, processes, seed {asked.seed}: {verdict}\n")
        for wrong in verdict.wrong[:SHOWN]:
            sys.stdout.write(f"  {wrong}\n")
        is_bad = is_bad or bool(verdict.wrong)
    sys.exit(is_bad)


if __name__ == "__main__":
    main()
