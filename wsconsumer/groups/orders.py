"""
What the processes of a project tell one another, over the engine that carries their groups.

An order is a small struct: "close the sockets of this user", "say who is connected". ``tell()``
publishes it to ``CHANNEL``, a name that no group can have. Every event loop that serves websockets
listens there, the one that told it included, and calls what ``heard_by()`` registered for the kind
of order. Delivery is that of the engine: at most once.
"""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

import msgspec
from asgiref.sync import sync_to_async
from django.core.exceptions import ImproperlyConfigured
from django.db import connections

from ..counters import counters
from ..escaping import escape, quote
from ..log_thread import log
from ..loops import PerLoop, in_thread
from ..throttle import MINUTE, Seldom
from .envelope import named, split_named
from .hub import hub, started_hub
from .keeping import KeepingBackend
from .loading import sync_backend
from .names import RESERVED

if TYPE_CHECKING:
    from collections.abc import Callable

logger = logging.getLogger("wsconsumer.groups")

PATIENCE: Final = 5.0
"""Seconds that a transaction waits while another thread tells."""

CHANNEL: Final = f"{RESERVED}orders"
"""Where orders travel."""


class Order(msgspec.Struct, frozen=True):
    """Subclass it for each kind of order; the name of the class is what travels."""


O = TypeVar("O", bound=Order)  # noqa: E741  # an order


class _Kind(NamedTuple):
    decode: Callable[[bytes], Any]
    obey: Callable[[Any], None]


# Whoever reaches the engine can cause these.

unknown: Final = Seldom(MINUTE)
refused: Final = Seldom(MINUTE)
failed: Final = Seldom(MINUTE)

_early: PerLoop[object] = PerLoop(object)

_kinds: dict[str, _Kind] = {}


def heard_by(kind: type[O], obey: Callable[[O], None]) -> None:
    """
    Have ``obey(order)`` called for orders of a kind, once in each event loop that serves.

    It is called on that loop, and must not block it; an exception is logged.
    """
    _kinds[kind.__name__] = _Kind(msgspec.json.Decoder(kind).decode, obey)


def listen() -> None:
    """
    Have the orders heard in the running event loop, from some time soon on.

    An engine that is away is waited for in the background; settings that can't work are logged.
    """
    try:
        hub().listen(CHANNEL, _hear)
    except ImproperlyConfigured as error:
        log(logger, logging.ERROR, "This process hears no orders of others: %s", escape(error))


def listen_early() -> None:
    """
    Begin to listen with the first scope that an event loop gets, of whatever type.

    Whoever has just logged out elsewhere may be the first to ask for a websocket here.
    """
    if _early.peek() is None:
        _early.get()
        listen()


def tell(order: Order) -> None:
    """
    Tell every process, from a thread without an event loop.

    Raises ``BackendError`` if the engine does not take it.
    """
    sync_backend().publish_sync(CHANNEL, body_of(order))


def tell_now(order: Order) -> None:
    """
    Tell every process, also where ``tell()`` would be a part of this thread's transaction.

    It would only be told with the commit then, and an error would break the transaction.
    """
    backend = sync_backend()
    if isinstance(backend, KeepingBackend) and _is_part_of_transaction(backend):
        in_thread(partial(_tell_alone, order)).result(PATIENCE)
    else:
        tell(order)


def _is_part_of_transaction(backend: KeepingBackend) -> bool:
    opened = connections.all(initialized_only=True)
    return any(backend.is_part_of_transaction(one.alias) for one in opened)


def _tell_alone(order: Order) -> None:
    """Tell from a thread that ends: with database connections of its own."""
    try:
        tell(order)
    finally:
        connections.close_all()


async def atell(order: Order) -> None:
    """Tell every process, from async code; raises ``BackendError`` likewise."""
    here = started_hub()
    if here is not None:
        await here.tell(CHANNEL, body_of(order))
    else:
        await sync_to_async(tell)(order)


def body_of(order: Order) -> bytes:
    """Return what travels for an order."""
    return named(type(order).__name__, msgspec.json.encode(order))


def _hear(body: bytes) -> None:
    """Obey what came from the engine, which is not to be trusted."""
    try:
        name, payload = split_named(body)
        kind = _kinds.get(name)
        if kind is None:
            # From a process of a later version: it knows that we may not understand.
            if times := unknown.count():
                text = "Passed over an order of a kind that is not known here: %s. Times: %d."
                log(logger, logging.INFO, text, quote(name), times)
            return
        order = kind.decode(payload)
    except ValueError as error:  # msgspec's errors are
        counters["body_refused"] += 1
        if times := refused.count():
            text = "Refused an order: %s. Times: %d."
            log(logger, logging.WARNING, text, escape(error), times)
        return
    try:
        kind.obey(order)
    except Exception as error:  # noqa: BLE001  # the next order is another matter
        if times := failed.count():
            text = "An order failed: %s. Times: %d."
            log(logger, logging.ERROR, text, name, times, error=error)
