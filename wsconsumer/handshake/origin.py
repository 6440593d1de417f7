"""
The Origin check: may the page that asks for a websocket have one?

Browsers let any page open a websocket to any site, and send that site's cookies along (RFC 6455
section 10.2). So a page of another site is refused unless the settings trust it. Read
``find_problem`` first.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from django.conf import settings

from .. import conf
from ..escaping import escape
from ..origins import DEFAULT_PORTS, Origin, Pattern
from .advice import explain_origin

if TYPE_CHECKING:
    from .request import WebsocketRequest


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
    if _is_own(request, origin):
        return None
    trusted = _trusted()
    if any(pattern.matches(origin) for pattern in trusted):
        return None
    return explain_origin(request, origin, trusted)


def _is_own(request: WebsocketRequest, origin: Origin) -> bool:
    """
    Compare an origin with the host that the client asked for.

    A secure request needs a secure page. A request that looks insecure may have come through a
    proxy that terminates TLS, so there the scheme of the page decides what the default port is.
    """
    if origin.scheme not in DEFAULT_PORTS or (request.is_secure() and origin.scheme != "https"):
        return False
    return Origin.parse(f"{origin.scheme}://{request.get_host()}") == origin


def _trusted() -> list[Pattern]:
    """Return whom the settings trust besides the own host."""
    patterns = [Pattern.parse(entry) for entry in conf.get("ALLOWED_ORIGINS")]
    for entry in settings.CSRF_TRUSTED_ORIGINS:
        # What is of no use here may be of use to Django; a check warns of it.
        with suppress(ValueError):
            pattern = Pattern.parse(entry)
            if pattern.is_trusted_for_csrf:
                patterns.append(pattern)
    return patterns
