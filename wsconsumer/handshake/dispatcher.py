"""``WebsocketDispatcher``: from a websocket scope, through the handshake, to a running consumer."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from ..connection.connection import Connection
from ..groups.memory import serves_here
from ..protocol import ACCEPT_HEADERS
from ..servers import adapt
from ..threads import lane
from .handler import Answer, Handshake
from .request import WebsocketRequest

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import ModuleType

    from ..protocol import Receive, Scope, Send

logger = logging.getLogger("wsconsumer.handshake")


class WebsocketDispatcher:
    """
    An ASGI application for websockets: Host and Origin, ``MIDDLEWARE``, URL patterns, consumer.

    ``urlconf``: the dotted path of a URLconf or the module itself, a list of URL patterns, or
    ``None`` for ``request.urlconf``, ``WSCONSUMER["URLCONF"]``, ``ROOT_URLCONF``, in this order.
    Make it after ``django.setup()``; like Django's own handler it loads the middleware at once.
    """

    def __init__(self, urlconf: str | ModuleType | Sequence[Any] | None = None) -> None:
        self._handshake = Handshake(urlconf)
        serves_here()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "websocket":
            raise ValueError(
                f"WebsocketDispatcher serves websocket connections, got {scope['type']!r}. "
                "Route by scope['type'], as wsconsumer.asgi.get_asgi_application() does."
            )
        scope, receive, send = adapt(scope, receive, send)
        async with lane():
            answer = await self._answer(scope)
            if answer.application is not None:
                served = {**scope, ACCEPT_HEADERS: answer.headers}
                await answer.application(served, receive, send)
                return
        connection = Connection("WebsocketDispatcher", scope, receive, send)
        if await connection.receive_connect():
            await connection.deny(answer.status, answer.headers, answer.body)

    async def _answer(self, scope: Scope) -> Answer:
        try:
            request = WebsocketRequest(scope)
        except UnicodeDecodeError:
            logger.warning("Refused a websocket with 400: its query string is not UTF-8.")
            return Answer(None, 400, (), b"")
        return await self._handshake(request)
