"""
The ``WSCONSUMER`` settings dict: every key, its default and its allowed values, read at use.

A mistake is reported in the same words by a system check and by ``ImproperlyConfigured`` where the
setting is first used.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from difflib import get_close_matches
from math import isfinite
from typing import Any, Final, NamedTuple

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from . import origins
from .escaping import quote
from .protocol import OWN_SUBPROTOCOL, is_token
from .rates import EXPECTED as EXPECTED_RATE
from .rates import is_rate


class Setting(NamedTuple):
    """One key of ``WSCONSUMER``: its default, a test for values, that in words, and an example."""

    default: Any
    is_valid: Callable[[Any], bool]
    expected: str
    example: Any


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


def _is_count_or_none(value: Any) -> bool:
    return value is None or _is_count(value)


def _is_seconds_or_none(value: Any) -> bool:
    return value is None or (_is_seconds(value) and isfinite(value))


def _is_window(value: Any) -> bool:
    return _is_seconds_or_none(value) or (value == 0 and not isinstance(value, bool))


def _is_rate_or_none(value: Any) -> bool:
    return value is None or is_rate(value)


def _is_path(value: Any) -> bool:
    return value is None or (isinstance(value, str) and value != "")


def _is_location(value: Any) -> bool:
    # What OPTIONS say CLUSTER or SENTINEL of has several.
    several = isinstance(value, list | tuple) and all(isinstance(url, str) for url in value)
    return isinstance(value, str) or several


def _is_bool(value: Any) -> bool:
    return isinstance(value, bool)


def _is_mapping(value: Any) -> bool:
    return isinstance(value, Mapping)


def _is_str(value: Any) -> bool:
    return isinstance(value, str)


def _is_scheme(value: Any) -> bool:
    if value is None:
        return True
    return isinstance(value, str) and is_token(value) and value.lower() != OWN_SUBPROTOCOL


_GROUPS: Final[Mapping[str, Setting]] = {
    "BACKEND": Setting(
        "wsconsumer.groups.memory.MemoryBackend",
        _is_str,
        "the dotted path of a backend",
        "wsconsumer.groups.redis.RedisBackend",
    ),
    "LOCATION": Setting(
        "", _is_location, "a str, or a list of str for a cluster", "redis://localhost:6379"
    ),
    "PREFIX": Setting("wsconsumer", _is_str, "a str", "mysite"),
    "OPTIONS": Setting({}, _is_mapping, "a dict", {"TIMEOUT": 2.0}),
}


SETTINGS: Final[Mapping[str, Setting]] = {
    "ALLOWED_ORIGINS": Setting(
        (),
        _is_origins,
        'a list of origins with their scheme, such as "https://example.com"',
        ["https://example.com"],
    ),
    "AUTHORIZATION_SUBPROTOCOL": Setting(
        None,
        _is_scheme,
        "None or the scheme of an Authorization header, one word",
        "Bearer",
    ),
    "CLIENT_ADDRESS": Setting(
        None,
        _is_path,
        "None or the dotted path of a function that returns an address",
        "mysite.addresses.of_client",
    ),
    "CONNECT_TIMEOUT": Setting(
        10.0, _is_seconds_or_none, "None or a number of seconds above 0", 10
    ),
    "DRAIN_SECONDS": Setting(None, _is_window, "None or a number of seconds, 0 or more", 20),
    "GROUPS": Setting(
        {},
        _is_mapping,
        "a dict with BACKEND, LOCATION, PREFIX and OPTIONS, or some of these",
        {"BACKEND": "wsconsumer.groups.redis.RedisBackend", "LOCATION": "redis://localhost:6379"},
    ),
    "HANDSHAKE_THREADS": Setting(4, _is_count, "an int of at least 1", 4),
    "IDLE_TIMEOUT": Setting(None, _is_seconds_or_none, "None or a number of seconds above 0", 600),
    "MAX_CONNECTIONS_PER_ADDRESS": Setting(
        None, _is_count_or_none, "None or an int of at least 1", 100
    ),
    "MAX_CONNECTIONS_PER_USER": Setting(
        None, _is_count_or_none, "None or an int of at least 1", 20
    ),
    "MAX_GROUPS": Setting(100, _is_count, "an int of at least 1", 100),
    "MAX_LIFETIME": Setting(
        None, _is_seconds_or_none, "None or a number of seconds above 0", 12 * 3600
    ),
    "MAX_MESSAGE_SIZE": Setting(
        1024 * 1024, _is_count_or_none, "None or an int of bytes, at least 1", 65536
    ),
    "MAX_TASKS": Setting(1000, _is_count, "an int of at least 1", 100),
    "METRICS": Setting(False, _is_bool, "True or False", True),
    "OUTBOX_LIMIT": Setting(1024 * 1024, _is_size, "an int of bytes, 0 or more", 65536),
    "OUTBOX_POLICY": Setting(
        "close",
        lambda value: value in ("close", "drop_oldest", "drop_newest"),
        '"close", "drop_oldest" or "drop_newest"',
        "close",
    ),
    "RATE_LIMIT": Setting(None, _is_rate_or_none, EXPECTED_RATE, "20/s"),
    "RATE_LIMIT_PER_USER": Setting(None, _is_rate_or_none, EXPECTED_RATE, "100/s"),
    "REVALIDATE_EVERY": Setting(
        60.0, _is_seconds_or_none, "None or a number of seconds above 0", 60
    ),
    "SEND_TIMEOUT": Setting(30.0, _is_seconds, "a number of seconds above 0", 30),
    "SLOW_HOOK_SECONDS": Setting(
        30.0, _is_seconds_or_none, "None or a number of seconds above 0", 30
    ),
    "THREAD_CONTEXT": Setting(
        None,
        _is_path,
        "None or the dotted path of a function that returns a context manager",
        "mysite.context.for_request",
    ),
    "THREADS": Setting(8, _is_count, "an int of at least 1", 8),
    "URLCONF": Setting(
        None, _is_path, "None or the dotted path of a URLconf module", "mysite.websocket_urls"
    ),
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


def peek(name: str) -> Any:
    """Return what the settings have, right or wrong, or the default: for those who only show it."""
    configured = getattr(settings, "WSCONSUMER", _NOTHING)
    found = configured if isinstance(configured, Mapping) else _NOTHING
    return found.get(name, SETTINGS[name].default)


def _validate(configured: Mapping[str, Any]) -> None:
    global _validated  # a cache of one
    for problem in problems():
        raise ImproperlyConfigured(f"{problem.message} {problem.hint}")
    _validated = configured


def is_good() -> bool:
    """Whether there are no mistakes in ``WSCONSUMER``."""
    return not any(problems())


def problems() -> Iterator[Problem]:
    """Yield the mistakes in ``WSCONSUMER``."""
    configured = getattr(settings, "WSCONSUMER", _NOTHING)
    if not isinstance(configured, Mapping):
        yield Problem(
            "wsconsumer.E001",
            f"WSCONSUMER must be a dict, got {type(configured).__name__}.",
            'Write WSCONSUMER = {"THREADS": 8}, or leave it out.',
        )
        return
    for name, value in configured.items():
        if name not in SETTINGS:
            yield _unknown("WSCONSUMER", name, SETTINGS)
        elif not SETTINGS[name].is_valid(value):
            yield _wrong("WSCONSUMER", name, value, SETTINGS)
        elif name == "ALLOWED_ORIGINS":
            yield from _wrong_origins(value)
        elif name == "GROUPS":
            yield from _wrong_groups(value)


def _wrong_origins(entries: Iterable[str]) -> Iterator[Problem]:
    for entry in entries:
        advice = origins.find_problem(entry)
        if advice is not None:
            yield Problem(
                "wsconsumer.E003",
                f"WSCONSUMER['ALLOWED_ORIGINS'] has {quote(entry)}, which matches no Origin.",
                advice,
            )


def _wrong_groups(groups: Mapping[Any, Any]) -> Iterator[Problem]:
    for name, value in groups.items():
        if name not in _GROUPS:
            yield _unknown("WSCONSUMER['GROUPS']", name, _GROUPS)
        elif not _GROUPS[name].is_valid(value):
            yield _wrong("WSCONSUMER['GROUPS']", name, value, _GROUPS)


def _wrong(owner: str, name: str, value: object, settings: Mapping[str, Setting]) -> Problem:
    setting = settings[name]
    default = "" if setting.default is None else f": it is {setting.default!r} then"
    # There may be a password in what is about an engine.
    is_secret = name in ("GROUPS", "BACKEND", "LOCATION", "OPTIONS")
    got = type(value).__name__ if is_secret else quote(value)
    return Problem(
        "wsconsumer.E003",
        f"{owner}[{name!r}] must be {setting.expected}, got {got}.",
        f"Write {name!r}: {setting.example!r}, for instance, or leave it out{default}.",
    )


def _unknown(owner: str, name: object, settings: Mapping[str, Setting]) -> Problem:
    near = get_close_matches(quote(name).strip("'").upper(), settings, n=1)
    hint = f"Did you mean {near[0]!r}?" if near else f"There are {', '.join(settings)}."
    return Problem("wsconsumer.E002", f"{owner} has no setting {quote(name)}.", hint)
