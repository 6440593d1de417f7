"""Imports of what settings name: why one failed, in a line that says where to look."""

from __future__ import annotations

from traceback import walk_tb
from typing import Final

from .masking import mask_text

_NOT_THE_PROJECT: Final = {"django", "importlib", __name__.partition(".")[0]}


def explain_import(error: BaseException) -> str:
    """Return what an import raised, and the line of the project's code that did."""
    text = mask_text(str(error)).rstrip(".")
    if not isinstance(error, ImportError):
        text = f"{type(error).__name__}: {text}"
    places = [
        f"{frame.f_code.co_filename}, line {line}"
        for frame, line in walk_tb(error.__traceback__)
        if frame.f_globals.get("__name__", "").partition(".")[0] not in _NOT_THE_PROJECT
    ]
    # A syntax error is not where the import is, and says itself where.
    return f"{text} ({places[-1]})" if places and not isinstance(error, SyntaxError) else text
