"""
Whose log record is it? The fields that each record of a connection has, besides its text.

A connection says who it is when it begins, in a context variable, which its hooks, its tasks and
its sync code have as well. So a record gets its fields wherever it is made, and ``FIELDS`` lists
them all.
"""

from __future__ import annotations

import logging
from contextvars import ContextVar
from itertools import count
from typing import TYPE_CHECKING, Any, Final
from weakref import ref

from django.utils.functional import LazyObject

from .escaping import escape

if TYPE_CHECKING:
    from django.http import HttpRequest

IDENTITY: Final = {
    "connection_id": "a number that the connection has in its process",
    "consumer": "the dotted path of the consumer class",
    "path": "the path of the request, escaped, without the query string",
    "user_id": "the primary key of the user; None for an anonymous one",
}
"""The fields of every record that a connection causes."""

FIELDS: Final = {
    **IDENTITY,
    "status_code": "the status of the handshake, on records of a refusal",
    "code": "the close code, on records of a close and of the end",
    "duration": "seconds from accept to the end, on the record of the end",
    "messages_received": "messages that hooks got, on the record of the end, with METRICS",
    "messages_sent": "messages that the consumer sent, on the record of the end, with METRICS",
    "deliveries": "broadcasts that the connection got, on the record of the end, with METRICS",
}
"""Each field, and what it says. None has anything of a message, a header or a query string."""

_ids = count(1)


class Identity:
    """Who a record is about: one connection, without holding anything of it."""

    __slots__ = ("_path", "_request", "connection_id", "consumer")

    def __init__(self, consumer: type, request: HttpRequest) -> None:
        self.connection_id = next(_ids)
        self.consumer = consumer
        self._path = request.path
        self._request = ref(request)

    def fields(self) -> dict[str, Any]:
        """Return the fields of a record that is made now."""
        request = self._request()
        return {
            "connection_id": self.connection_id,
            "consumer": label_of(self.consumer),
            "path": escape(self._path),
            "user_id": None if request is None else user_id(request),
        }


_identity: ContextVar[Identity | None] = ContextVar("wsconsumer_log_identity", default=None)


def begin(identity: Identity) -> None:
    """Let all records that are made from now on in this context be about a connection."""
    _identity.set(identity)


def end() -> None:
    """Let them be about nobody: the connection has ended."""
    _identity.set(None)


def current_fields() -> dict[str, Any]:
    """Return the fields of the connection whose code runs; nothing in other code."""
    identity = _identity.get()
    return {} if identity is None else identity.fields()


def current_id() -> int | None:
    """Return the ``connection_id`` of the connection whose code runs."""
    identity = _identity.get()
    return None if identity is None else identity.connection_id


class ConnectionFilter(logging.Filter):
    """
    Gives records the fields of the connection whose code runs.

    Our own loggers have it. On a handler it does the same for what a project's own loggers are told
    in hooks. A record that belongs to no connection has ``None`` for each.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Add what the record has not got, and let it through."""
        if not hasattr(record, "connection_id"):
            for name, value in {**dict.fromkeys(IDENTITY), **current_fields()}.items():
                if not hasattr(record, name):
                    setattr(record, name, value)
        return True


def label_of(consumer: type) -> str:
    """Return the name of a consumer class in records, metrics and spans."""
    return f"{consumer.__module__}.{consumer.__qualname__}"


def loaded_user(request: HttpRequest) -> object:
    """Return the user of a request; ``None``, or Django's ``empty`` where it was not loaded."""
    return loaded(getattr(request, "user", None))


def loaded(value: object) -> object:
    """Return what a lazy object has loaded, Django's ``empty`` if nothing, or else the value."""
    return vars(value).get("_wrapped") if isinstance(value, LazyObject) else value


def user_id(request: HttpRequest) -> Any:
    """Return the primary key of a request's user, without running any of the project's code."""
    return pk_of(loaded_user(request))


def pk_of(user: object) -> Any:
    """Return the primary key of a loaded user, likewise; ``None`` for one that is no model's."""
    meta = getattr(type(user), "_meta", None)
    return None if meta is None else vars(user).get(meta.pk.attname)
