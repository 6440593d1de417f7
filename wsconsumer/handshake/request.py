"""
The opening handshake as a Django request: a GET for middleware, decorators, auth, sessions, and
whatever else reads an ``HttpRequest``.
"""

from __future__ import annotations

from io import BytesIO
from sys import intern
from typing import TYPE_CHECKING, Final

from django.conf import settings
from django.core.handlers.asgi import ASGIRequest

if TYPE_CHECKING:
    from ..protocol import Scope


class NoBody(BytesIO):
    """The body of every GET; it is shared, so closing it does nothing."""

    def close(self) -> None:
        """Do nothing."""


_NO_BODY: Final = NoBody()

_HTTP_SCHEMES: Final = {"ws": "http", "wss": "https"}


class WebsocketRequest(ASGIRequest):
    """
    The GET that asks for a websocket (RFC 6455 section 4.1), made from an ASGI ``websocket`` scope.

    ``scheme`` is ``http`` for ``ws`` and ``https`` for ``wss``, so that ``is_secure()`` and
    ``build_absolute_uri()`` work as on a page. ``user`` and ``session`` come from the scope if an
    outer application has put them there. Raises various exceptions for requests that Django can't
    parse, such as ``UnicodeDecodeError`` for a query string that is not UTF-8.
    """

    def __init__(self, scope: Scope) -> None:
        super().__init__({"path": "/", **scope, "method": "GET"}, _NO_BODY)
        # The names are the same for every client, and stay for as long as the websocket is open.
        self.META = {intern(name): value for name, value in self.META.items()}
        self.scope = scope
        for name in ("user", "session"):
            if name in scope:
                setattr(self, name, scope[name])

    @property
    def scheme(self) -> str:
        """``http`` or ``https``; ``wss`` from a proxy that says ``https`` for pages is the same."""
        scheme: str = super().scheme or "http"
        return "https" if self._came_by_wss() else scheme

    def _came_by_wss(self) -> bool:
        header, secure_value = settings.SECURE_PROXY_SSL_HEADER or ("", "")
        value: str = self.META.get(header, "")
        return secure_value == "https" and value.split(",", 1)[0].strip() == "wss"

    def _get_scheme(self) -> str:
        scheme: str = self.scope.get("scheme") or "ws"
        return _HTTP_SCHEMES.get(scheme, scheme)
