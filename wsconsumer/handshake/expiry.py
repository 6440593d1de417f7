"""When what a request was authenticated with ends: the ``exp`` of a token, wherever it has it."""

from __future__ import annotations

from datetime import datetime
from math import isfinite
from typing import Any, Final

from django.utils.timezone import is_naive, make_aware

FAR: Final = 253_402_300_799
"""The end of the year 9999: what ends later than that, in whatever number, doesn't end for us."""

DATES: Final = ("expires", "expires_at", "expiry")
"""Attributes of tokens in a database: django-oauth-toolkit's, allauth's and Knox's."""


def expiry_of(auth: object) -> float | None:
    """
    Return when ``request.auth`` ends, in seconds since 1970; ``None`` if it never does.

    It is the claim ``exp`` (RFC 7519 section 4.1.4) of a mapping, or of what has a ``get()`` like
    one; or an attribute of that name; or a datetime in one of ``DATES``. Raises ``TypeError`` for
    an ``exp`` that is no time.
    """
    get = getattr(auth, "get", None)
    exp = get("exp") if callable(get) else getattr(auth, "exp", None)
    if exp is not None:
        return _timestamp(exp)
    dates = (getattr(auth, name, None) for name in DATES)
    return next((_timestamp(date) for date in dates if isinstance(date, datetime)), None)


def _timestamp(exp: Any) -> float:
    if isinstance(exp, datetime):
        return (make_aware(exp) if is_naive(exp) else exp).timestamp()
    is_number = isinstance(exp, int) or (isinstance(exp, float) and isfinite(exp))
    if is_number and not isinstance(exp, bool):
        return float(max(-FAR, min(exp, FAR)))  # an int may be too big for a float
    raise TypeError(
        "request.auth has an exp that is no time: expected seconds since 1970 as a number, as in "
        f"JSON web tokens, or a datetime, got {type(exp).__name__}. A connection could not be "
        "closed then, so correct it in what returns request.auth."
    )
