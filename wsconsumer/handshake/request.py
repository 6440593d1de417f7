"""
The opening handshake as a Django request: a GET for middleware, decorators, auth, sessions, and
whatever else reads an ``HttpRequest``.
"""

from __future__ import annotations

from io import BytesIO
from sys import intern
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from django.conf import settings
from django.core.handlers.asgi import ASGIRequest
from django.http import QueryDict

from ..exceptions import InvalidState
from ..loops import in_event_loop

if TYPE_CHECKING:
    from ..protocol import Scope


class NoBody(BytesIO):
    """The body of every GET; it is shared, so closing it does nothing."""

    def close(self) -> None:
        """Do nothing."""


_NO_BODY: Final = NoBody()

_HTTP_SCHEMES: Final = {"ws": "http", "wss": "https"}


class NoPost(QueryDict):
    """
    The ``request.POST`` of a GET: empty, and an error for a hook that looks for something in it.

    Middleware may do so, in its thread, since it also sees pages; error mails copy it.
    """

    def __getitem__(self, key: str) -> Any:
        _refuse_in_a_hook()
        return super().__getitem__(key)

    def __contains__(self, key: object) -> bool:
        _refuse_in_a_hook()
        return super().__contains__(key)

    def getlist(self, key: str, default: Any = None) -> Any:
        """Find nothing."""
        _refuse_in_a_hook()
        return super().getlist(key, default)


def _refuse_in_a_hook() -> None:
    if in_event_loop():
        raise InvalidState(
            "request.POST of a websocket is always empty: it begins as a GET. What the page knows "
            "comes in the query string (request.GET), what the user does in messages."
        )


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
        self.wsconsumer_began = monotonic()
        for name in ("user", "session"):
            if name in scope:
                setattr(self, name, scope[name])

    def __repr__(self) -> str:
        # Django's has the query string, and log records of ours carry the request.
        return f"<{type(self).__name__}: {self.method} {self.path!r}>"

    def _load_post_and_files(self) -> None:
        super()._load_post_and_files()
        self._post = NoPost(encoding=self.encoding)

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
