"""
Python's warnings, which daphne loses: Twisted takes them into its log, which daphne sends nowhere.

So a forgotten ``await`` (RuntimeWarning: coroutine ... was never awaited) would say nothing under
daphne and ``manage.py runserver``, as it does under other servers.
"""

from __future__ import annotations

import sys
import warnings
from typing import IO

from twisted.logger import globalLogBeginner


def show_warnings() -> None:
    """Let warnings go to stderr again, if Twisted takes them; what else takes them is left."""
    if warnings.showwarning == globalLogBeginner.showwarning:
        warnings.showwarning = _show


def _show(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: IO[str] | None = None,
    line: str | None = None,
) -> None:
    # With a file Twisted leaves it to the function that it replaced.
    globalLogBeginner.showwarning(
        message,  # type: ignore[arg-type]  # the stub knows no Warning
        category,
        filename,
        lineno,
        sys.stderr if file is None else file,
        line,
    )
