"""
What a rendered page knows of its groups, signed, until its socket opens.

The token says where each group stood, and for whom the page was rendered. It is no secret, since it
stands in the page: signed, so that nobody can write a group into it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from django.core import signing
from django.utils.crypto import salted_hmac

if TYPE_CHECKING:
    from collections.abc import Mapping

SALT: Final = "wsconsumer.live"

MAX_AGE: Final = 24 * 60 * 60
"""Seconds for which a page may open its socket; the positions in it are not kept for longer."""

MAX_TOKEN: Final = 3_000
"""Characters: the token travels in a URL, beside where the client is by then."""


class LiveToken(NamedTuple):
    """The positions of a page's groups, and a hash of whom it was rendered for."""

    at: Mapping[str, tuple[str, int]]
    owner: str


def owner_of(user: Any) -> str:
    """
    Return a keyed hash of a user and of the login: another user has another, and so has the same
    one after the password was changed.
    """
    if not getattr(user, "is_authenticated", False):
        return ""
    login = user.get_session_auth_hash() if hasattr(user, "get_session_auth_hash") else ""
    return salted_hmac(SALT, f"{user.pk}:{login}", algorithm="sha256").hexdigest()[:24]


def write_token(token: LiveToken) -> str:
    """Return the token as text; raise ``ValueError`` for one that fits in no URL."""
    text = signing.dumps([token.at, token.owner], salt=SALT, compress=True)
    if len(text) > MAX_TOKEN:
        raise ValueError(
            f"position() makes a token of {len(text)} characters for {len(token.at)} groups, and "
            f"a URL has room for {MAX_TOKEN}. Join fewer groups, or in the consumer."
        )
    return text


def read_token(text: str, max_age: int | None = MAX_AGE) -> LiveToken:
    """Return what a token says; raise ``BadSignature``, or ``SignatureExpired`` after a day."""
    at, owner = signing.loads(text, salt=SALT, max_age=max_age)
    return LiveToken({group: (epoch, offset) for group, (epoch, offset) in at.items()}, owner)
