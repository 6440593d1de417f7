"""What ``WSCONSUMER["GROUPS"]["OPTIONS"]`` may be, checked in the same words for every backend."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from django.core.exceptions import ImproperlyConfigured

from ..escaping import quote

if TYPE_CHECKING:
    from collections.abc import Mapping

SECONDS: Final = "a number of seconds above 0"
"""Stands for a type in what ``check_options()`` takes."""

TIMEOUT: Final = 5.0
"""Seconds that an engine may take to connect or to answer, unless ``OPTIONS`` say otherwise."""


def check_options(
    backend: str, options: Mapping[str, Any], known: Mapping[str, type | str]
) -> None:
    """
    Raise ``ImproperlyConfigured`` for an option that a backend does not know, or a wrong value.

    ``known`` has the type of each option, or ``SECONDS``.
    """
    for name, value in options.items():
        if name not in known:
            raise ImproperlyConfigured(
                f"WSCONSUMER['GROUPS']['OPTIONS'] has {quote(name)}, which the {backend} backend "
                f"does not know. There are {', '.join(known)}."
            )
        expected = known[name]
        if not (_is_seconds(value) if expected is SECONDS else _is_a(value, expected)):
            words = expected if isinstance(expected, str) else expected.__name__
            # Where a type is expected the value may be a password.
            shown = quote(value) if expected is SECONDS else type(value).__name__
            raise ImproperlyConfigured(
                f"WSCONSUMER['GROUPS']['OPTIONS'][{quote(name)}] expects {words}, got {shown}."
            )


def _is_seconds(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value > 0


def _is_a(value: object, kind: Any) -> bool:
    return isinstance(value, kind)
