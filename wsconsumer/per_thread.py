"""
A cache backend for each thread, not for each websocket.

Django's handlers of connections (``caches``, ``task_backends``) keep what they make in an asgiref
``Local``, which in async code belongs to the context. So each websocket would hold a backend of its
own for as long as it is open, with a socket to the cache server, and take it from thread to thread.
In the code of a websocket a handler therefore keeps them by thread, and hands out a ``StandIn``.
That may go anywhere: whatever is done to it, the backend of the thread that does it is used.

Other code of the process gets what it always got, and so do all from the handler of databases,
which keeps them by thread itself.
"""

from __future__ import annotations

import threading
from contextlib import suppress
from contextvars import ContextVar
from functools import cache
from inspect import isasyncgenfunction, isroutine
from types import MethodType
from typing import TYPE_CHECKING, Any

from asgiref.sync import iscoroutinefunction
from django.utils.connection import BaseConnectionHandler

from .threads import is_decided

if TYPE_CHECKING:
    from contextvars import Token

_is_marked: ContextVar[bool] = ContextVar("wsconsumer_is_websocket", default=False)
"""Whether the code that runs belongs to a websocket."""


def enter_websocket() -> Token[bool] | None:
    """
    Say that the current task, and whatever it calls or starts, belongs to a websocket.

    Where a caller has decided in which thread sync code runs, it keeps the caller's connections.
    """
    return None if is_decided() else _is_marked.set(True)


def leave_websocket(token: Token[bool] | None) -> None:
    """Take it back."""
    if token is not None:
        # A coroutine that is thrown away ends in another context, which has nothing to restore.
        with suppress(ValueError):
            _is_marked.reset(token)


class StandIn:
    """
    Stands for one connection of a handler: for that of the thread which uses it.

    The ``self`` of an async method is the stand-in. So ``aget()``, which calls ``self.get()`` in a
    thread, calls that of the thread's own connection.
    """

    __slots__ = ("_wsconsumer_alias", "_wsconsumer_handler")

    def __init__(self, handler: BaseConnectionHandler[Any], alias: str) -> None:
        object.__setattr__(self, "_wsconsumer_handler", handler)
        object.__setattr__(self, "_wsconsumer_alias", alias)

    @property  # type: ignore[misc]  # for isinstance()
    def __class__(self) -> Any:
        return type(_connection_of(self))

    def __getattr__(self, name: str) -> Any:
        connection = _connection_of(self)
        value = getattr(connection, name)
        if not isroutine(value):
            return value
        is_method = getattr(value, "__self__", None) is connection
        if is_method and (iscoroutinefunction(value) or isasyncgenfunction(value)):
            return MethodType(getattr(type(connection), name), self)
        return LateMethod(self, name, value)

    def __setattr__(self, name: str, value: object) -> None:
        setattr(_connection_of(self), name, value)

    def __delattr__(self, name: str) -> None:
        delattr(_connection_of(self), name)

    def __contains__(self, key: object) -> bool:
        return key in _connection_of(self)


class LateMethod:
    """A function of a stand-in's connection: of that of the thread which calls it."""

    __slots__ = ("_found", "_name", "_stand_in")

    def __init__(self, stand_in: StandIn, name: str, found: Any) -> None:
        self._stand_in = stand_in
        self._name = name
        self._found = found

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return getattr(_connection_of(self._stand_in), self._name)(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        # Django looks whether a backend has overridden a method: ``self.get_many.__func__``.
        return getattr(self._found, name)


def _connection_of(stand_in: StandIn) -> Any:
    """Return the connection of this thread, which is made if there is none."""
    handler, alias = stand_in._wsconsumer_handler, stand_in._wsconsumer_alias  # noqa: SLF001  # a stand-in is ours
    own = _by_thread(handler)
    try:
        return getattr(own, alias)
    except AttributeError:
        connection = handler.create_connection(alias)
        setattr(own, alias, connection)
        return connection


@cache
def _stand_in(handler: BaseConnectionHandler[Any], alias: str) -> StandIn:
    return StandIn(handler, alias)


def _by_thread(handler: BaseConnectionHandler[Any]) -> threading.local:
    """Return the place in which a handler keeps its connections by thread."""
    place: threading.local = vars(handler).setdefault("_wsconsumer_by_thread", threading.local())
    return place


class _Connections:
    """``BaseConnectionHandler._connections``, in which a handler keeps its connections."""

    def __get__(self, handler: BaseConnectionHandler[Any] | None, owner: type) -> Any:
        if handler is None:
            return self
        return _by_thread(handler) if _is_ours(handler) else vars(handler)["_connections"]

    def __set__(self, handler: BaseConnectionHandler[Any], value: Any) -> None:
        # As in __init__(), and where a test's settings replace all connections.
        vars(handler)["_connections"] = value
        vars(handler).pop("_wsconsumer_by_thread", None)


def _is_ours(handler: BaseConnectionHandler[Any]) -> bool:
    return _is_marked.get() and not handler.thread_critical


_get = BaseConnectionHandler.__getitem__


def _get_stand_in(handler: BaseConnectionHandler[Any], alias: str) -> Any:
    if _is_ours(handler) and alias in handler.settings:
        return _stand_in(handler, alias)
    return _get(handler, alias)


@cache
def adapt_handlers() -> None:
    """Let all of Django's handlers of connections know the code of websockets."""
    BaseConnectionHandler.__getitem__ = _get_stand_in  # type: ignore[method-assign]  # as said above
    BaseConnectionHandler._connections = _Connections()  # type: ignore[attr-defined]  # noqa: SLF001  # Django's own place for them
