"""
A websocket handshake that arrives as a page, since something on the way lost its upgrade.

Only a websocket client sends ``Sec-WebSocket-Key``, so a GET with one asked for a websocket. Which
of its other headers are there tells who lost it: a proxy, or a server that speaks no websocket.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

from ..escaping import escape
from ..log_thread import log
from ..throttle import MINUTE, Throttle

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..protocol import Scope

logger = logging.getLogger("wsconsumer.handshake")

throttle: Final = Throttle(MINUTE)


def headers_of(scope: Scope) -> dict[str, str] | None:
    """Return the headers of an HTTP request that was a websocket handshake, else ``None``."""
    headers = scope.get("headers", ())
    if scope["method"] != "GET" or all(name != b"sec-websocket-key" for name, _ in headers):
        return None
    return {
        f"HTTP_{name.decode('latin-1').upper().replace('-', '_')}": value.decode("latin-1")
        for name, value in headers
    }


def explain(meta: Mapping[str, Any]) -> str | None:
    """
    Return what became of a handshake that is a page by now, or ``None`` for any other request.

    ``meta`` has the headers under the names that they have in ``request.META``.
    """
    if "HTTP_SEC_WEBSOCKET_KEY" not in meta:
        return None
    if "wsgi.version" in meta:
        return (
            "this server speaks WSGI, which has no websockets. Serve the application of asgi.py "
            'with daphne or uvicorn; for manage.py runserver, put "daphne" first in INSTALLED_APPS '
            "and set ASGI_APPLICATION"
        )
    upgrade = meta.get("HTTP_UPGRADE", "").lower()
    connection = meta.get("HTTP_CONNECTION", "").lower()
    lost = [
        line
        for line, is_there in (
            ("'Upgrade: websocket'", "websocket" in upgrade),
            ("'Connection: upgrade'", "upgrade" in connection),
        )
        if not is_there
    ]
    if not lost:
        return (
            "all of it has arrived, so this server lacks a library for websockets (for uvicorn: "
            "pip install websockets)"
        )
    return (
        f"it lost {' and '.join(lost)} on the way, which the proxy before this server must pass on "
        "(nginx with proxy_http_version 1.1, proxy_set_header Upgrade $http_upgrade and "
        'proxy_set_header Connection "upgrade")'
    )


def warn(path: str, problem: str) -> None:
    """Log what became of a handshake, if it was not said within the last minute."""
    if throttle.take():
        log(
            logger,
            logging.WARNING,
            "A websocket handshake for %s came as a page: %s.",
            escape(path),
            problem,
            from_stranger=True,
        )
