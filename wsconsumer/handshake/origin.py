"""
The Origin check: may the page that asks for a websocket have one?

Browsers let any page open a websocket to any site, and send that site's cookies along (RFC 6455
section 10.2). So a page of another site is refused unless the settings trust it. Read
``find_problem`` first.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

from django.conf import settings
from django.utils.http import is_same_domain

from .. import conf
from ..escaping import escape

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .request import WebsocketRequest

_ORIGIN: Final = re.compile(
    r"(?P<scheme>[a-z][a-z0-9+.-]*)://(?P<host>[a-z0-9._-]+|\[[0-9a-f:.]+\])(?::(?P<port>[0-9]{1,5}))?"
)
_DEFAULT_PORTS: Final = {"http": "80", "https": "443"}


class Origin(NamedTuple):
    """A web origin (RFC 6454): scheme, host and port, with the default port written out."""

    scheme: str
    host: str
    port: str

    @classmethod
    def parse(cls, text: str) -> Origin | None:
        """Parse an origin, in any case; return ``None`` for anything else."""
        match = _ORIGIN.fullmatch(text.lower())
        if match is None:
            return None
        scheme, host, port = match["scheme"], match["host"], match["port"]
        return cls(scheme, host, port or _DEFAULT_PORTS.get(scheme, ""))

    def matches(self, pattern: str) -> bool:
        """
        Return whether an entry of a setting covers this origin.

        As in ``CSRF_TRUSTED_ORIGINS``, ``https://*.example.com`` covers the domain and everything
        below it, and never ``evil-example.com``.
        """
        scheme, _, rest = pattern.lower().partition("://")
        wanted = Origin.parse(f"{scheme}://{rest.removeprefix('*.')}")
        if wanted is None or (wanted.scheme, wanted.port) != (self.scheme, self.port):
            return False
        pattern = f".{wanted.host}" if rest.startswith("*.") else wanted.host
        return bool(is_same_domain(self.host, pattern))


def find_problem(request: WebsocketRequest) -> str | None:
    """
    Return why the page behind a request may not open a websocket, or ``None`` if it may.

    Allowed: no ``Origin`` at all (not a browser), the request's own host and port, and the entries
    of ``CSRF_TRUSTED_ORIGINS`` and ``WSCONSUMER["ALLOWED_ORIGINS"]``.
    """
    values = [value for name, value in request.scope.get("headers", ()) if name == b"origin"]
    if not values:
        return None
    if len(values) > 1:
        return f"expected one Origin, got {len(values)}: {escape(b', '.join(values))}"
    origin = Origin.parse(values[0].decode("latin-1"))
    if origin is None:
        return f"the Origin '{escape(values[0])}' is not scheme://host:port"
    if _is_own(request, origin) or _is_trusted(origin):
        return None
    return (
        f"the Origin '{escape(values[0])}' is neither this host, '{escape(request.get_host())}', "
        'nor in CSRF_TRUSTED_ORIGINS or WSCONSUMER["ALLOWED_ORIGINS"]'
    )


def _is_own(request: WebsocketRequest, origin: Origin) -> bool:
    """
    Compare an origin with the host that the client asked for.

    A secure request needs a secure page. A request that looks insecure may have come through a
    proxy that terminates TLS, so there the scheme of the page decides what the default port is.
    """
    if origin.scheme not in _DEFAULT_PORTS or (request.is_secure() and origin.scheme != "https"):
        return False
    return Origin.parse(f"{origin.scheme}://{request.get_host()}") == origin


def _is_trusted(origin: Origin) -> bool:
    patterns: Iterable[str] = (*settings.CSRF_TRUSTED_ORIGINS, *conf.get("ALLOWED_ORIGINS"))
    return any(pattern == "*" or origin.matches(pattern) for pattern in patterns)
