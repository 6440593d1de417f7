"""
Values made fit for logs and errors: one short line, and no code of anybody else.

Whoever writes a path, a header, a close reason, the name of a group, or an error text that quotes
one of these to a log, calls ``escape()``; otherwise a client could write log lines of its own. An
error that shows a value of the project's calls ``quote()``: a ``__repr__`` may raise or ask the
database, and then hides the error. ``message_of()`` does the same for exceptions.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import date, datetime
from decimal import Decimal
from itertools import islice
from types import FunctionType, MethodType, NoneType, WrapperDescriptorType
from typing import Any, Final
from uuid import UUID

MAX_LENGTH: Final = 200
"""Characters that one value may take up in a log line."""

MAX_ITEMS: Final = 20
"""Items of a list, tuple or dict that are quoted."""

_SCALARS: Final[tuple[Any, ...]] = (bool, int, float, str, bytes)
"""Types that show a subclass's value without its own ``__repr__``."""

_EXACT: Final = frozenset({NoneType, UUID, Decimal, date, datetime})
"""Other types whose ``__repr__`` is Python's."""

_TEXTS: Final = frozenset({NoneType, *_SCALARS})
"""What exceptions are made of whose ``str()`` runs no other code."""


def escape(value: object) -> str:
    """Return the value as text, escaped like a Python string literal and cut."""
    text = value.decode("latin-1") if isinstance(value, bytes) else str(value)
    start = text[:MAX_LENGTH]
    if not start.isprintable():
        start = "".join(map(_escape, start))[:MAX_LENGTH]
    return start if len(text) <= MAX_LENGTH else f"{start}... ({len(text)} characters)"


def _escape(character: str) -> str:
    if character.isprintable():
        return character
    return character.encode("unicode_escape").decode("ascii")


def quote(value: object) -> str:
    """
    Return a value as errors quote it: as ``repr()`` does, escaped and cut.

    No ``__repr__`` of the project's runs: an object of its own is shown by its type.
    """
    return escape(_quote(value, 2))


def _quote(value: Any, depth: int) -> str:
    kind = type(value)  # isinstance() would ask a lazy object what it is, and load it
    for scalar in _SCALARS:
        if issubclass(kind, scalar):
            with suppress(ValueError):  # an int of more digits than Python converts
                return str(scalar.__repr__(value))
    if kind in _EXACT:
        return repr(value)
    if kind in (list, tuple, dict) and depth:
        return _quote_items(value, depth - 1)
    if kind is FunctionType:
        return f"<function {value.__qualname__}>"
    if kind is MethodType and type(value.__func__) is FunctionType:
        return f"<bound method {value.__func__.__qualname__}>"
    if issubclass(kind, type):
        return f"<class {_name(value)}>"
    return f"<{_name(kind)} object>"


def _quote_items(value: Any, depth: int) -> str:
    if type(value) is dict:
        pairs = islice(value.items(), MAX_ITEMS)
        items = [f"{_quote(key, depth)}: {_quote(item, depth)}" for key, item in pairs]
    else:
        items = [_quote(item, depth) for item in value[:MAX_ITEMS]]
    if len(value) > MAX_ITEMS:
        items.append("...")
    text = ", ".join(items)
    if type(value) is tuple:
        return f"({text},)" if len(value) == 1 else f"({text})"
    return f"[{text}]" if type(value) is list else f"{{{text}}}"


def _name(kind: type) -> str:
    prefix = "" if kind.__module__ == "builtins" else f"{kind.__module__}."
    return prefix + kind.__qualname__


def message_of(error: BaseException) -> str:
    """
    Return the text of an exception, escaped and cut.

    Where code of the project's would write the text, it is the name of the type instead.
    """
    arguments = (error.message,) if isinstance(error, BaseExceptionGroup) else error.args
    is_custom = type(type(error).__str__) is not WrapperDescriptorType  # written in Python
    if is_custom or any(type(argument) not in _TEXTS for argument in arguments):
        return type(error).__name__
    return escape(error)
