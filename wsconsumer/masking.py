"""
Passwords: a ``LOCATION`` made fit to be shown.

What can't be told apart from a password is left out, so that no spelling of a URL, however wrong it
is, shows a part of one. Errors and log lines go through ``mask()``, what ``manage.py websockets``
prints through ``mask_all()`` as well.
"""

from __future__ import annotations

import re
from typing import Any, Final
from urllib.parse import unquote

MASK: Final = "***"

_SECRET: Final = re.compile("pass|pwd|secret|token|auth|credential", re.IGNORECASE)
"""Names of parameters whose values are not shown."""

_HOSTS: Final = re.compile(r"(\[[\da-fA-F:.]*\]|[^:@\[\]=\s]*)(:\d+)?([,;]\s*|$)")
"""One of several hosts with their ports."""

_URL: Final = re.compile(r"[\w+.-]+://[^\s'\"]+")

_PASSWORD: Final = re.compile(
    r"""\b(\w*(?:password|passwd|pwd)=)(?:'[^']*'|"[^"]*"|[^\s'"),;]+)""", re.IGNORECASE
)
"""As in a connection string of libpq's."""


def mask(location: object) -> str | list[str]:
    """
    Return a ``LOCATION`` without the passwords in it: a text, or a list if it is one.

    It may be a URL, several, or anything that somebody wrote there by mistake.
    """
    if isinstance(location, list | tuple):
        return list(map(_mask, location))
    return _mask(location)


def mask_text(text: str) -> str:
    """Return the text of an error that is not ours, without the passwords that look like some."""
    return _PASSWORD.sub(rf"\1{MASK}", _URL.sub(lambda found: _mask_url(found[0]), text))


def mask_all(value: Any) -> Any:
    """
    Return texts, however nested, without the passwords of URLs: they can be in any setting.

    A URL without a user stays as it is, since it may be a pattern, as of origins.
    """
    if isinstance(value, str):
        return _URL.sub(lambda found: _mask_user_of(found[0]), value)
    if isinstance(value, dict):
        return {key: mask_all(item) for key, item in value.items()}
    return list(map(mask_all, value)) if isinstance(value, list | tuple) else value


def _mask_user_of(url: str) -> str:
    return _mask_url(url) if "@" in url and MASK not in url else url


def _mask(location: object) -> str:
    if not isinstance(location, str):
        return f"<{type(location).__name__}>"
    # A comma may belong to a password, unless a URL follows.
    return ", ".join(map(_mask_url, re.split(r"[;,]\s*(?=[\w+.-]+://)", location)))


def _mask_url(text: str) -> str:
    url, fragment, behind = text.partition("#")
    scheme, separator, rest = url.partition("://") if "://" in url else ("", "", url)
    authority = re.split("[/?]", rest, maxsplit=1)[0]
    path, mark, query = rest[len(authority) :].partition("?")
    user, at, hosts = authority.rpartition("@")
    # A password may have any of "/?#" unquoted; its rest, up to the "@", is then behind it.
    if "@" in path + query + behind or not _are_hosts(hosts):
        return f"{scheme}{separator}{MASK}"
    parts = (
        scheme + separator,
        _mask_user(user) + at if at else "",
        hosts + path + mark,
        "&".join(map(_mask_parameter, query.split("&"))) if mark else "",
        fragment + MASK if fragment else "",
    )
    return "".join(parts)


def _are_hosts(text: str) -> bool:
    at = 0
    while at < len(text):
        found = _HOSTS.match(text, at)
        if found is None or found.end() == at:
            return False
        at = found.end()
    return True


def _mask_user(user: str) -> str:
    """Without a colon it is a user or, as often, a password."""
    name, colon, _ = user.partition(":")
    return f"{name}:{MASK}" if colon else MASK


def _mask_parameter(parameter: str) -> str:
    name, sign, _ = parameter.partition("=")
    if not sign:
        return MASK
    return f"{name}={MASK}" if _SECRET.search(unquote(name)) else parameter
