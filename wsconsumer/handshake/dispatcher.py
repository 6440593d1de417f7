"""``WebsocketDispatcher``: from a websocket scope, through the handshake, to a running consumer."""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import TYPE_CHECKING, Any

from ..connection.connection import Connection
from ..connection.own_client import close_for_denial
from ..escaping import escape, quote
from ..groups.orders import listen_early
from ..log_thread import enable_loggers, log, log_thread
from ..metrics import count_handshake
from ..observing import on_denied
from ..per_thread import adapt_handlers, enter_websocket, leave_websocket
from ..servers import adapt, current_task
from ..serving import note_serving
from ..threads import pin, unpin
from . import lost_upgrade
from .authorization import authorize
from .draining import watch_for_stop
from .handler import Denial, Handshake
from .request import WebsocketRequest
from .running import running_websockets

if TYPE_CHECKING:
    from collections.abc import Coroutine, Sequence
    from types import ModuleType

    from ..protocol import Receive, Scope, Send
    from .handler import Upgrade

logger = logging.getLogger("wsconsumer.handshake")


class WebsocketDispatcher:
    """
    An ASGI application for websockets: Host and Origin, ``MIDDLEWARE``, URL patterns, consumer.

    ``urlconf``: the dotted path of a URLconf or the module itself, a list of URL patterns, or
    ``None`` for ``request.urlconf``, ``WSCONSUMER["URLCONF"]``, ``ROOT_URLCONF``, in this order.
    Create it after ``django.setup()``; like Django's own handler it loads the middleware at once.
    """

    def __init__(self, urlconf: str | ModuleType | Sequence[Any] | None = None) -> None:
        enable_loggers()
        adapt_handlers()
        self._handshake = Handshake(urlconf)
        lost_upgrade.throttle.reset()

    # The only coroutine of the handshake that goes on while a websocket is open: each level costs
    # every message something.
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        note_serving()
        watch_for_stop()
        listen_early()
        if scope["type"] != "websocket":
            await self.serve_other(scope, receive, send)
            return
        scope, receive, send = adapt(scope, receive, send)
        scope, problem = authorize(scope)
        running, task, pinned = running_websockets(), current_task(), None
        if task is not None:
            running.add(task)
        entered = enter_websocket()
        try:
            outcome = await self._answer(scope) if problem is None else _refuse(scope, problem)
            if isinstance(outcome, Denial):
                await _deny(outcome, scope, receive, send)
            else:
                pinned = pin(outcome.request)
                serving = outcome.application(scope, receive, send, outcome.accept_headers)
                del outcome  # nothing is kept for hours that nobody needs
                await serving
        except asyncio.CancelledError:
            if task is None or not running.take_back(task):
                raise
        finally:
            unpin(pinned)
            leave_websocket(entered)
            if task is not None:
                running.discard(task)

    def serve_other(self, scope: Scope, receive: Receive, send: Send) -> Coroutine[Any, Any, None]:
        """Override to serve what is no websocket."""
        raise ValueError(
            f"{type(self).__name__} serves websocket connections, got {quote(scope['type'])}. "
            "Route by scope['type'], as wsconsumer.asgi.get_asgi_application() does."
        )

    def notice_lost_upgrade(self, scope: Scope) -> None:
        """Warn when an HTTP request for a consumer's path is a websocket handshake, or was one."""
        if lost_upgrade.throttle.is_open and (meta := lost_upgrade.headers_of(scope)) is not None:
            # In a thread, since to find the path is the project's code, and whoever answers it.
            warn = partial(self._warn_of_lost_upgrade, scope, meta)
            log_thread().submit(warn, from_stranger=True)

    def _warn_of_lost_upgrade(self, scope: Scope, meta: dict[str, str]) -> None:
        problem = lost_upgrade.explain(meta)
        if problem is not None and self._handshake.serves(scope):
            lost_upgrade.warn(scope["path"], problem)

    async def _answer(self, scope: Scope) -> Upgrade | Denial:
        try:
            request = WebsocketRequest(scope)
        except Exception as error:  # noqa: BLE001  # whatever it is, the client has caused it
            return _refuse(scope, f"{type(error).__name__}: {escape(error)}")
        outcome = await self._handshake(request)
        if isinstance(outcome, Denial):
            on_denied(WebsocketDispatcher, request, outcome.status, outcome.outcome)
        return outcome


def _refuse(scope: Scope, problem: str) -> Denial:
    """Log and deny a handshake of which no request can be made."""
    log(
        logger,
        logging.WARNING,
        "Refused a websocket on %s with 400: %s",
        escape(scope.get("path", "")),
        problem,
        extra={"status_code": 400, "path": escape(scope.get("path", ""))},
        from_stranger=True,
    )
    count_handshake("malformed", 400)
    return Denial(400)


async def _deny(denial: Denial, scope: Scope, receive: Receive, send: Send) -> None:
    connection = Connection("WebsocketDispatcher", scope, receive, send)
    if await connection.receive_connect():
        closed = None if denial.code is None else (denial.code, f"{denial.status}")
        if denial.is_answer:
            closed = close_for_denial(denial.status, denial.headers)
        await connection.deny(denial.status, denial.headers, denial.body, closed)
