"""
``get_asgi_application()``: HTTP goes to Django, websockets to the dispatcher, lifespan is answered.
"""

from __future__ import annotations

import logging
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.core.asgi import get_asgi_application as get_http_application

from .escaping import quote
from .groups.hub import close_hub
from .handshake.dispatcher import WebsocketDispatcher
from .handshake.draining import end_watching, watch_for_stop
from .handshake.running import running_websockets
from .log_thread import aflush, log

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine

    from .protocol import Application, Receive, Scope, Send

__all__ = ["WebsocketDispatcher", "get_asgi_application", "lifespan"]

logger = logging.getLogger("wsconsumer.server")


def get_asgi_application() -> Application:
    """Return the ASGI application of the project; the twin of ``django.core.asgi``'s."""
    http = get_http_application()  # sets Django up
    if apps.is_installed("django.contrib.auth") and not apps.is_installed("wsconsumer"):
        log(
            logger,
            logging.WARNING,
            'INSTALLED_APPS has no "wsconsumer", so a logout or a new password closes websockets '
            "only when revalidate_every finds it, and there are no checks and commands of ours. "
            "Add it.",
        )
    return ProjectApplication(http)


class ProjectApplication(WebsocketDispatcher):
    """HTTP, websockets and lifespan; a dispatcher itself, since each level costs every message."""

    def __init__(self, http: Any) -> None:
        super().__init__()
        self._http = http

    def serve_other(self, scope: Scope, receive: Receive, send: Send) -> Coroutine[Any, Any, None]:
        """Serve HTTP with Django, and answer the lifespan."""
        match scope["type"]:
            case "http":
                self.notice_lost_upgrade(scope)
                coroutine: Coroutine[Any, Any, None] = self._http(scope, receive, send)
                return coroutine
            case "lifespan":
                return _answer_lifespan(receive, send)
            case other:
                raise ValueError(
                    f"Expected the scope type http, websocket or lifespan, got {quote(other)}."
                )


async def _answer_lifespan(receive: Receive, send: Send) -> None:
    """Answer the server's startup and shutdown events, the latter when all websockets ended."""
    while (event := await receive())["type"] != "lifespan.shutdown":
        await send({"type": f"{event['type']}.complete"})
    await end_websockets()
    await send({"type": "lifespan.shutdown.complete"})


@asynccontextmanager
async def lifespan(application: object) -> AsyncIterator[None]:
    """
    End all websockets of the event loop when the block ends; watch for SIGTERM until then.

    For an application of another framework that mounts ours: mounted applications get no lifespan
    events of their own. ``Starlette(lifespan=lifespan)``, and the same in FastAPI. The argument is
    what these pass, and is ignored.
    """
    watch_for_stop()
    try:
        yield
    finally:
        await end_websockets()


async def end_websockets() -> None:
    """
    End the websockets of the running event loop, with their ``disconnect()``, and its groups.

    What they have to say is logged before the server goes on to stop.
    """
    await end_watching()
    await running_websockets().end()
    await close_hub()
    await aflush()
