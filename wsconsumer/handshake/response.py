"""The two responses of a consumer's view: 101 with the consumer inside, and 426 for plain HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from django.core.handlers.asgi import ASGIRequest
from django.http import HttpResponse

from . import lost_upgrade

if TYPE_CHECKING:
    from collections.abc import Awaitable, Sequence

    from django.http import HttpRequest

    from ..protocol import Header, Receive, Scope, Send


class UpgradedApplication(Protocol):
    """
    An ASGI application that adds the handshake's headers to its own ``accept``.

    It is called in the coroutine of the dispatcher, behind a server that is already adapted.
    """

    def __call__(
        self, scope: Scope, receive: Receive, send: Send, accept_headers: Sequence[Header] = ()
    ) -> Awaitable[None]: ...


class UpgradeResponse(HttpResponse):
    """101 Switching Protocols, with the application that serves the websocket."""

    status_code = 101

    def __init__(self, application: UpgradedApplication) -> None:
        super().__init__()
        self.application = application


class UpgradeRequired(HttpResponse):
    """
    426 Upgrade Required (RFC 9110 section 15.5.22): there is only a websocket here.

    To a websocket handshake that arrives as a page it says so, and the log too.
    """

    status_code = 426

    def __init__(self, request: HttpRequest) -> None:
        text = "This address speaks only websocket.\n"
        problem = lost_upgrade.explain(request.META)
        if problem is not None:
            lost_upgrade.warn(request.path, problem)
            text += f"This request was a websocket handshake: {problem}.\n"
        super().__init__(text, content_type="text/plain; charset=utf-8")
        if _may_have_hop_by_hop_headers(request):
            self.headers["Upgrade"] = "websocket"


def _may_have_hop_by_hop_headers(request: HttpRequest) -> bool:
    """
    Return whether a header for this connection may be sent, and gets no further.

    WSGI forbids such headers (PEP 3333), and so does HTTP/2 (RFC 9113 section 8.2.2), into which
    some proxies pass them on.
    """
    if not isinstance(request, ASGIRequest) or request.scope.get("http_version", "1.1") >= "2":
        return False
    return not any(
        name in ("HTTP_VIA", "HTTP_FORWARDED") or name.startswith("HTTP_X_FORWARDED_")
        for name in request.META
    )
