"""The two answers of a consumer's view: 101 with the consumer inside, and 426 for plain HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.http import HttpResponse

if TYPE_CHECKING:
    from ..protocol import Application


class UpgradeResponse(HttpResponse):
    """101 Switching Protocols: carries the ASGI application that serves the websocket."""

    status_code = 101

    def __init__(self, application: Application) -> None:
        super().__init__()
        self.application = application


class UpgradeRequired(HttpResponse):
    """426 Upgrade Required (RFC 9110 section 15.5.22): this path speaks only websocket."""

    status_code = 426

    def __init__(self, *, upgrade_header: bool) -> None:
        super().__init__(
            "This address speaks only websocket.\n", content_type="text/plain; charset=utf-8"
        )
        # WSGI forbids hop-by-hop headers (PEP 3333), so there the status alone has to say it.
        if upgrade_header:
            self.headers["Upgrade"] = "websocket"
