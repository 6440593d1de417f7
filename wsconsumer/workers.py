"""
Evidence that this process is one of several workers of a server.

No server tells its workers how many they are, so this looks at what it was told itself, on the
command line and in the environment, and on Linux at the processes that its parent started with it.
"""

from __future__ import annotations

import multiprocessing
import os
import re
import shlex
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

VARIABLES: Final = {
    "daphne": "",
    "granian": "GRANIAN_WORKERS",
    "gunicorn": "WEB_CONCURRENCY",
    "hypercorn": "",
    "uvicorn": "WEB_CONCURRENCY",
}
"""The servers' programs, and the variable with the number of workers that each looks at."""

TOGETHER: Final = 10.0
"""
Seconds within which the workers of a server are started.

A worker that replaces another, as at gunicorn's HUP, is younger.
"""


def evidence_of_workers() -> str | None:
    """Return what says that there are several workers, or ``None``."""
    program = _program()
    if program in VARIABLES:
        return _declared(program) or _observed()
    # A program of the project's own may start a server's workers, and a pool of processes tests.
    is_child = multiprocessing.parent_process() is not None
    is_pooled = "PoolWorker" in multiprocessing.current_process().name
    return _observed() if is_child and not is_pooled else None


def _program() -> str:
    """Return the name of the program; that of the package after ``python -m``."""
    path = Path(sys.argv[0])
    return path.parent.name if path.stem == "__main__" else path.stem


def _declared(program: str) -> str | None:
    """Return what the server was told; what is nearest to it takes precedence."""
    arguments = sys.argv[1:]
    if program == "uvicorn" and "--reload" in arguments:
        return None  # which has one worker
    if (workers := _option(arguments)) is not None:
        return f"The command line asks for {workers} workers" if workers > 1 else None
    if program == "gunicorn":
        workers = _option(shlex.split(os.environ.get("GUNICORN_CMD_ARGS", "")))
        if workers is not None:
            return f"GUNICORN_CMD_ARGS asks for {workers} workers" if workers > 1 else None
    variable = VARIABLES[program]
    value = os.environ.get(variable, "")
    has_several = value.isdecimal() and int(value) > 1
    return f"The environment has {variable}={value}" if has_several else None


def _option(arguments: Sequence[str]) -> int | None:
    """Return the number of workers among arguments of a command line; the last one counts."""
    found = re.findall(r"(?:^|\0)(?:-w[=\0]?|--workers[=\0])(\d+)(?=\0|$)", "\0".join(arguments))
    return int(found[-1]) if found else None


def _observed() -> str | None:
    """Return how many processes the parent runs for the same work, if there are several."""
    count = 0
    with suppress(OSError):  # another system than Linux, or not ours to look at
        count = count_alike(Path("/proc"))
    return f"This process is one of {count + 1} of the same server" if count else None


def count_alike(proc: Path) -> int:
    """Count the processes that the parent started together with this one, for the same work."""
    own, parent = os.getpid(), os.getppid()
    work = _work(proc / str(own))
    siblings = {
        int(pid)
        for children in proc.glob(f"{parent}/task/*/children")
        for pid in children.read_text().split()
    }
    return sum(_is_alike(proc / str(pid), work) for pid in siblings - {own})


def _is_alike(process: Path, work: tuple[bytes, str, float]) -> bool:
    with suppress(OSError):  # it may have ended
        command, folder, start = _work(process)
        return (command, folder) == work[:2] and abs(start - work[2]) <= TOGETHER
    return False


def _work(process: Path) -> tuple[bytes, str, float]:
    """Return the command without its numbers (ports, descriptors), its folder, and its start."""
    command = re.sub(rb"\d+", b"", (process / "cmdline").read_bytes())
    # The second field, the name, may have spaces and parentheses; the 22nd is the start.
    ticks = (process / "stat").read_text().rpartition(")")[2].split()[19]
    return command, os.readlink(process / "cwd"), int(ticks) / os.sysconf("SC_CLK_TCK")
