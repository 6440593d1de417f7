"""The two responses of a consumer's view: 101 with the consumer inside, and 426 for plain HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from django.http import HttpResponse

if TYPE_CHECKING:
    from collections.abc import Awaitable, Sequence

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
    """426 Upgrade Required (RFC 9110 section 15.5.22): there is only a websocket here."""

    status_code = 426

    def __init__(self, *, upgrade_header: bool) -> None:
        super().__init__(
            "This address speaks only websocket.\n", content_type="text/plain; charset=utf-8"
        )
        # WSGI forbids hop-by-hop headers (PEP 3333); there the status alone has to do.
        if upgrade_header:
            self.headers["Upgrade"] = "websocket"
