"""``handshake/expiry.py``: when what a request was authenticated with ends."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta, timezone
from types import SimpleNamespace
from typing import Any

import pytest
from django.test import override_settings
from rest_framework_simplejwt.tokens import AccessToken

from wsconsumer.handshake.expiry import expiry_of

AT = 1_800_000_000
MOMENT = datetime.fromtimestamp(AT, UTC)


def token_of_simplejwt() -> AccessToken:
    """Return a token that ends then."""
    token = AccessToken()
    token["exp"] = AT
    return token


@pytest.mark.parametrize(
    ("auth", "expected"),
    [
        ({"exp": AT}, AT),
        ({"exp": AT + 0.5}, AT + 0.5),
        ({"exp": MOMENT}, AT),
        ({"exp": MOMENT.astimezone(timezone(timedelta(hours=5)))}, AT),
        ({"exp": 0}, 0),
        ({"exp": -1}, -1),
        ({"exp": 253402300799}, 253402300799),
        ({"exp": 10**400}, 253402300799),
        ({"exp": -(10**400)}, -253402300799),
        ({"exp": 1e300}, 253402300799),
        (token_of_simplejwt(), AT),
        (SimpleNamespace(exp=AT), AT),
        (SimpleNamespace(expires=MOMENT), AT),
        (SimpleNamespace(expires_at=MOMENT), AT),
        (SimpleNamespace(expiry=MOMENT), AT),
        (SimpleNamespace(exp=AT, expires=MOMENT + timedelta(days=1)), AT),
    ],
    ids=[
        "int",
        "float",
        "datetime",
        "another-zone",
        "1970",
        "before-1970",
        "9999",
        "more-than-a-float",
        "less-than-a-float",
        "a-large-float",
        "simplejwt",
        "attribute",
        "django-oauth-toolkit",
        "allauth",
        "knox",
        "exp-comes-first",
    ],
)
def test_what_ends(auth: object, expected: float) -> None:
    """A claim, an attribute, or the datetime of a token in the database."""
    assert expiry_of(auth) == expected


@pytest.mark.parametrize(
    "auth",
    [
        None,
        {},
        {"exp": None},
        "token.exp",
        ["exp"],
        object(),
        SimpleNamespace(expires=None),
        SimpleNamespace(expires=3600),
        SimpleNamespace(expires_at=date(2027, 1, 15)),
        SimpleNamespace(expiry=lambda: MOMENT),
        SimpleNamespace(get=AT),
    ],
    ids=lambda value: re.sub(r" at 0x\w+", "", repr(value)),
)
def test_what_does_not_end(auth: object) -> None:
    """Whatever has no exp, and what only looks like one."""
    assert expiry_of(auth) is None


@pytest.mark.parametrize(
    ("zone", "hours"), [("UTC", 0), ("Asia/Tokyo", -9)], ids=["utc", "nine-hours-ahead"]
)
def test_a_naive_datetime(zone: str, hours: int) -> None:
    """It is in the project's time zone, as Django's own are."""
    with override_settings(TIME_ZONE=zone):
        naive = MOMENT.replace(tzinfo=None)
        assert expiry_of({"exp": naive}) == AT + hours * 3600


@pytest.mark.parametrize(
    ("exp", "kind"),
    [
        ("1800000000", "str"),
        (True, "bool"),
        (float("nan"), "float"),
        (float("inf"), "float"),
        (date(2027, 1, 15), "date"),
        ([AT], "list"),
    ],
    ids=["text", "bool", "nan", "infinite", "date", "list"],
)
def test_an_exp_that_is_no_time(exp: Any, kind: str) -> None:
    """It is an error, since a connection that never ends would be one that nobody notices."""
    with pytest.raises(TypeError, match=f"seconds since 1970 as a number.*got {kind}"):
        expiry_of({"exp": exp})
