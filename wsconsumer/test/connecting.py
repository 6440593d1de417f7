"""
``connect()``: run one consumer, or any ASGI application, behind a strict server in a test.

``Websocket`` is the client's end of it. ``WebsocketClient`` runs the whole project the same way.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..log_thread import log_thread
from .database import shared_database
from .dialects import DIALECTS
from .dispatching import ConsumerDispatcher
from .engine import own_hub
from .messages import reader_for
from .misuse import check_application, check_kwargs, check_path, opens
from .scopes import make_scope
from .websocket import Websocket

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Mapping

    from ..consumer import WebsocketConsumer
    from ..protocol import Application
    from .page import Page


@opens
async def connect(
    application: type[WebsocketConsumer] | Application,
    path: str = "/",
    *,
    kwargs: Mapping[str, Any] | None = None,
    user: Any = None,
    session: Any = None,
    headers: Iterable[tuple[str, str]] | Mapping[str, str] = (),
    subprotocols: Iterable[str] = (),
    secure: bool = False,
    server: str = "asgi",
    allow_unread: bool = False,
    raise_exceptions: bool = True,
    codec: str | None = None,
    page: Page | None = None,
) -> AsyncIterator[Websocket]:
    """
    Open a websocket to a consumer, or to any ASGI application, and close it when the block ends.

    A consumer's ``dispatch()`` runs, with its mixins and decorators, but no middleware. ``path``
    may have a query string. ``kwargs`` are what a URL pattern would have found, ``user`` is
    ``consumer.user`` (anonymous by default), ``session`` is ``consumer.request.session``,
    ``secure`` is wss. ``server`` is the dialect: asgi, daphne, uvicorn, hypercorn or granian. With
    ``raise_exceptions=False`` exceptions in hooks are left to the consumer, as in production.
    ``codec`` is how messages are encoded: by default as the consumer does it. ``page`` is one with
    our browser client on it: it speaks ``wsconsumer.v1``, and goes on where it was.

    What is broadcast stays in this process, whatever ``WSCONSUMER["GROUPS"]`` says, unless
    ``real_engine`` is around the block.
    """
    check_application(application)
    check_path("connect()", path)
    check_kwargs(kwargs)
    if server not in DIALECTS:
        raise ValueError(f"server must be one of {', '.join(DIALECTS)}, got {server!r}.")
    scope = make_scope(path, headers, subprotocols, server, secure=secure, page=page)
    served: Any = application
    if isinstance(application, type):
        served = ConsumerDispatcher(application, kwargs or {}, user, session)
    else:
        if kwargs is not None:
            scope["url_route"] = {"args": (), "kwargs": dict(kwargs)}
        for name, value in (("user", user), ("session", session)):
            if value is not None:
                scope[name] = value
    # What a hook logs or raises is there when the test looks for it.
    async with shared_database() as databases, own_hub():
        with log_thread().in_place():
            websocket = Websocket(
                served,
                scope,
                server=server,
                allow_unread=allow_unread,
                raise_exceptions=raise_exceptions,
                reader=reader_for(application, codec),
                databases=databases.values(),
                page=page,
            )
            scope["wsconsumer.test"] = websocket
            try:
                await websocket.start()
                yield websocket
            except BaseException as error:
                await websocket.stop(error)
                raise
            else:
                await websocket.stop()
            finally:
                websocket.end()
