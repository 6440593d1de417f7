"""
``get_asgi_application()``: HTTP goes to Django, websockets to the dispatcher, lifespan is answered.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.core.asgi import get_asgi_application as get_http_application

from .dispatcher import WebsocketDispatcher

if TYPE_CHECKING:
    from .protocol import Application, Receive, Scope, Send


def get_asgi_application() -> Application:
    """Return the ASGI application of the project; the twin of ``django.core.asgi``'s."""
    http: Any = get_http_application()
    websocket = WebsocketDispatcher()

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        match scope["type"]:
            case "websocket":
                await websocket(scope, receive, send)
            case "http":
                await http(scope, receive, send)
            case "lifespan":
                await lifespan(receive, send)
            case other:
                raise ValueError(
                    f"Expected the scope type http, websocket or lifespan, got {other!r}."
                )

    return application


async def lifespan(receive: Receive, send: Send) -> None:
    """Answer the server's startup and shutdown events; there is nothing to do at either yet."""
    while (event := await receive())["type"] != "lifespan.shutdown":
        await send({"type": f"{event['type']}.complete"})
    await send({"type": "lifespan.shutdown.complete"})
