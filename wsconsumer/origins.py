"""
Web origins (RFC 6454), and the entries of settings that stand for some of them.

``Pattern.parse`` says what an entry can be, and of any other what to write instead.
"""

from __future__ import annotations

import re
from functools import lru_cache
from ipaddress import IPv6Address
from typing import Final, NamedTuple

from django.utils.http import is_same_domain

_ORIGIN: Final = re.compile(
    r"(?P<scheme>[a-z][a-z0-9+.-]*)://(?P<host>[a-z0-9._-]+|\[[0-9a-f:.]+\])(?::(?P<port>[0-9]{1,5}))?"
)
_SCHEME_OF_APPS: Final = re.compile(r"(?!(https?|wss?|file)$)[a-z][a-z0-9+.-]*")
DEFAULT_PORTS: Final = {"http": "80", "https": "443"}

ANY: Final = "*"


class Origin(NamedTuple):
    """
    A web origin: scheme, host and port, with the default port written out.

    ``null`` and ``file://``, which name no host, are a scheme alone.
    """

    scheme: str
    host: str
    port: str

    @classmethod
    def parse(cls, text: str) -> Origin | None:
        """Parse an origin, in any case; return ``None`` for anything else."""
        text = text.lower()
        if text in ("null", "file://"):
            return cls(text.removesuffix("://"), "", "")
        match = _ORIGIN.fullmatch(text)
        if match is None:
            return None
        scheme, host, port = match["scheme"], match["host"], match["port"]
        return cls(scheme, host, port or DEFAULT_PORTS.get(scheme, ""))


class Pattern(NamedTuple):
    """An entry of a setting; each part may be ``"*"``, for any."""

    scheme: str
    host: str
    port: str
    with_subdomains: bool = False

    @classmethod
    @lru_cache
    def parse(cls, entry: str) -> Pattern:
        """
        Parse an entry; raise ``ValueError``, with what to write, for one that can match nothing.

        As in ``CSRF_TRUSTED_ORIGINS``, ``https://*.example.com`` is the domain and everything below
        it, and never ``evil-example.com``. ``"*"`` is any origin, ``chrome-extension://*`` any of a
        scheme that is not the web's, ``http://localhost:*`` any port.
        """
        if entry == ANY:
            return cls(ANY, ANY, ANY)
        scheme, separator, rest = entry.lower().partition("://")
        if rest == ANY and _SCHEME_OF_APPS.fullmatch(scheme):
            return cls(scheme, ANY, ANY)
        bare = rest.removeprefix("*.")
        any_port = bare.endswith(":*")
        origin = Origin.parse(f"{scheme}{separator}{bare.removesuffix(':*')}")
        if origin is None or not _is_written_so(origin):
            raise ValueError(_advice(entry))
        port = ANY if any_port else origin.port
        return cls(origin.scheme, origin.host, port, rest != bare)

    def matches(self, origin: Origin) -> bool:
        """Return whether an origin is one of those that the entry stands for."""
        if self.scheme not in (ANY, origin.scheme) or self.port not in (ANY, origin.port):
            return False
        if self.with_subdomains:
            return bool(is_same_domain(origin.host, f".{self.host}"))
        return self.host in (ANY, origin.host)

    @property
    def is_trusted_for_csrf(self) -> bool:
        """Whether it also counts in ``CSRF_TRUSTED_ORIGINS``: Django knows no other ``"*"``."""
        return self.scheme != "null" and ANY not in (self.scheme, self.host, self.port)


def _is_written_so(origin: Origin) -> bool:
    """Return whether browsers write an origin as the entry does."""
    if origin.scheme in ("ws", "wss") or (origin.scheme == "file" and origin.host):
        return False
    if origin.port and not (origin.port == str(int(origin.port)) and int(origin.port) <= 65535):
        return False
    return not origin.host.startswith("[") or origin.host == _compress(origin.host)


def _compress(host: str) -> str:
    try:
        return f"[{IPv6Address(host[1:-1]).compressed}]"
    except ValueError:
        return ""


def _advice(entry: str) -> str:
    """Return what to write instead of an entry that can match nothing."""
    scheme, separator, rest = entry.strip().lower().partition("://")
    if not separator:
        scheme, rest = "https", scheme
    scheme = {"ws": "http", "wss": "https"}.get(scheme, scheme)
    if scheme == "file":
        return 'Write "file://".'
    if rest == ANY:
        return 'Write "*" for any origin, or name the sites, such as "https://*.example.com".'
    host = re.split(r"[/?#]", rest, maxsplit=1)[0]
    if host.startswith("["):
        address, _, port = host.partition("]")
        host = f"{_compress(f'{address}]')}{port}"
    elif not host.isascii():
        try:
            host = host.encode("idna").decode("ascii")
        except UnicodeError:
            host = ""
    better = f"{scheme}://{host}"
    if better != entry.lower() and find_problem(better) is None:
        return f'Write "{better}".'
    return (
        'Write scheme, host and port as browsers do, such as "https://example.com", '
        '"https://*.example.com" or "http://localhost:8000".'
    )


def find_problem(entry: str) -> str | None:
    """Return what to write instead of an entry that can match nothing, else ``None``."""
    try:
        Pattern.parse(entry)
    except ValueError as error:
        return str(error)
    return None
