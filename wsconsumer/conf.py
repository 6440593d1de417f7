"""
The ``WSCONSUMER`` settings dict: every key, its default and its allowed values, read at use.

A mistake is reported in the same words by a system check and by ``ImproperlyConfigured`` where the
setting is first used.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from difflib import get_close_matches
from typing import Any, Final, NamedTuple

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from . import origins
from .escaping import quote


class Setting(NamedTuple):
    """One key of ``WSCONSUMER``: its default, a test for values, and that test in words."""

    default: Any
    is_valid: Callable[[Any], bool]
    expected: str


class Problem(NamedTuple):
    """A mistake in the settings; ``id`` is that of the system check."""

    id: str
    message: str
    hint: str


def _is_origins(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(origin, str) for origin in value)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _is_size(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_seconds(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value > 0


def _is_path(value: Any) -> bool:
    return value is None or (isinstance(value, str) and value != "")


_GROUPS_TYPES: Final[Mapping[object, type | tuple[type, ...]]] = {
    "BACKEND": str,
    "LOCATION": (str, list, tuple),
    "PREFIX": str,
    "OPTIONS": Mapping,
}


def _is_groups(value: Any) -> bool:
    return isinstance(value, Mapping) and all(
        key in _GROUPS_TYPES and isinstance(what, _GROUPS_TYPES[key]) for key, what in value.items()
    )


SETTINGS: Final[Mapping[str, Setting]] = {
    "ALLOWED_ORIGINS": Setting(
        (), _is_origins, 'a list of origins with their scheme, such as "https://example.com"'
    ),
    "CLIENT_ADDRESS": Setting(
        None, _is_path, "None or the dotted path of a function that returns an address"
    ),
    "GROUPS": Setting(
        {},
        _is_groups,
        "a dict with BACKEND (a dotted path), LOCATION, PREFIX (str) and OPTIONS (dict), or some "
        "of these",
    ),
    "HANDSHAKE_THREADS": Setting(4, _is_count, "an int of at least 1"),
    "MAX_GROUPS": Setting(100, _is_count, "an int of at least 1"),
    "OUTBOX_LIMIT": Setting(1024 * 1024, _is_size, "an int of bytes, 0 or more"),
    "OUTBOX_POLICY": Setting(
        "close",
        lambda value: value in ("close", "drop_oldest", "drop_newest"),
        '"close", "drop_oldest" or "drop_newest"',
    ),
    "SEND_TIMEOUT": Setting(30.0, _is_seconds, "a number of seconds above 0"),
    "THREAD_CONTEXT": Setting(
        None, _is_path, "None or the dotted path of a function that returns a context manager"
    ),
    "THREADS": Setting(8, _is_count, "an int of at least 1"),
    "URLCONF": Setting(None, _is_path, "None or the dotted path of a URLconf module"),
}


_NOTHING: Final[Mapping[str, Any]] = {}

# The dict that was found to be right: it is validated once, however often it is read.
_validated: Mapping[str, Any] = _NOTHING


def get(name: str) -> Any:
    """Return a setting or its default; raise ``ImproperlyConfigured`` if the dict is wrong."""
    configured: Mapping[str, Any] = getattr(settings, "WSCONSUMER", _NOTHING)
    if configured is not _validated:
        _validate(configured)
    return configured.get(name, SETTINGS[name].default)


def _validate(configured: Mapping[str, Any]) -> None:
    global _validated  # a cache of one
    for problem in problems():
        raise ImproperlyConfigured(f"{problem.message} {problem.hint}")
    _validated = configured


def problems() -> Iterator[Problem]:
    """Yield the mistakes in ``WSCONSUMER``."""
    configured = getattr(settings, "WSCONSUMER", _NOTHING)
    if not isinstance(configured, Mapping):
        yield Problem(
            "wsconsumer.E001",
            f"WSCONSUMER must be a dict, got {quote(configured)}.",
            'Write WSCONSUMER = {"THREADS": 8}, or leave it out.',
        )
        return
    for name, value in configured.items():
        if name not in SETTINGS:
            yield _unknown(name)
        elif not SETTINGS[name].is_valid(value):
            yield Problem(
                "wsconsumer.E003",
                f"WSCONSUMER[{name!r}] must be {SETTINGS[name].expected}, got {quote(value)}.",
                f"The default is {SETTINGS[name].default!r}.",
            )
        elif name == "ALLOWED_ORIGINS":
            yield from _wrong_origins(value)


def _wrong_origins(entries: Iterable[str]) -> Iterator[Problem]:
    for entry in entries:
        advice = origins.find_problem(entry)
        if advice is not None:
            yield Problem(
                "wsconsumer.E003",
                f"WSCONSUMER['ALLOWED_ORIGINS'] has {quote(entry)}, which matches no Origin.",
                advice,
            )


def _unknown(name: object) -> Problem:
    near = get_close_matches(quote(name).strip("'").upper(), SETTINGS, n=1)
    hint = f"Did you mean {near[0]!r}?" if near else f"There are {', '.join(SETTINGS)}."
    return Problem("wsconsumer.E002", f"WSCONSUMER has no setting {quote(name)}.", hint)
