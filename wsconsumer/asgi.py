"""
``get_asgi_application()``: HTTP goes to Django, websockets to the dispatcher, lifespan is answered.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, Final

from django.core.asgi import get_asgi_application as get_http_application

from .groups.hub import close_hub
from .handshake.dispatcher import WebsocketDispatcher
from .servers import current_task

if TYPE_CHECKING:
    from .protocol import Application, Receive, Scope, Send

__all__ = ["WebsocketDispatcher", "get_asgi_application"]

logger = logging.getLogger("wsconsumer.server")

GRACE: Final = 0.5
"""Seconds that websockets have to end by themselves, once the server shuts down."""

SHUTDOWN_TIMEOUT: Final = 5.0
"""Seconds that they have to run ``disconnect()`` after that, once they are cancelled."""


def get_asgi_application() -> Application:
    """Return the ASGI application of the project; the twin of ``django.core.asgi``'s."""
    http: Any = get_http_application()
    websockets = RunningApplications(WebsocketDispatcher())

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        match scope["type"]:
            case "websocket":
                await websockets(scope, receive, send)
            case "http":
                await http(scope, receive, send)
            case "lifespan":
                await lifespan(receive, send, websockets)
            case other:
                raise ValueError(
                    f"Expected the scope type http, websocket or lifespan, got {other!r}."
                )

    return application


async def lifespan(receive: Receive, send: Send, websockets: RunningApplications) -> None:
    """Answer the server's startup and shutdown events, the latter when all websockets ended."""
    while (event := await receive())["type"] != "lifespan.shutdown":
        await send({"type": f"{event['type']}.complete"})
    await websockets.end()
    await close_hub()
    await send({"type": "lifespan.shutdown.complete"})


class RunningApplications:
    """
    An application, and the tasks that are running it.

    Most servers shut the lifespan down when these are gone. Granian does so in their midst, and
    stops the event loop at the answer, under whoever still has a ``disconnect()`` to run.
    """

    def __init__(self, application: Application) -> None:
        self._application = application
        self._running: set[asyncio.Task[Any]] = set()
        self._cancelled: set[asyncio.Task[Any]] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        task = current_task()
        if task is None:
            await self._application(scope, receive, send)
            return
        self._running.add(task)
        try:
            await self._application(scope, receive, send)
        except asyncio.CancelledError:
            # Granian would log it as an error of the application.
            if task not in self._cancelled or task.uncancel():
                raise
        finally:
            self._running.discard(task)
            self._cancelled.discard(task)

    async def end(self) -> None:
        """See to it that all that run in this event loop end, within bounds."""
        loop = asyncio.get_running_loop()
        left = {task for task in tuple(self._running) if task.get_loop() is loop}
        if left:
            left = await _wait(left, GRACE)
        for task in left:
            if not task.cancelling():
                self._cancelled.add(task)
                task.cancel()
        if left and (left := await _wait(left, SHUTDOWN_TIMEOUT)):
            logger.warning("%d websockets did not end before the server.", len(left))


async def _wait(tasks: set[asyncio.Task[Any]], seconds: float) -> set[asyncio.Task[Any]]:
    """Wait for tasks; return those that are still running."""
    return (await asyncio.wait(tasks, timeout=seconds))[1]
