"""
Who looks at a connection: signals, the log of its end, metrics, and whatever else is registered.

What is off costs a connection one look at a list or a setting, and its messages nothing: what the
session calls are the consumer's own hooks, unless somebody stands around them.
"""

from __future__ import annotations

import logging
from contextvars import copy_context
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final, Protocol

from . import log_fields, metrics, sharing, signals
from .escaping import escape
from .log_fields import Identity, label_of
from .log_thread import log
from .metrics import size_of

if TYPE_CHECKING:
    from collections.abc import Awaitable
    from contextvars import Context

    from django.dispatch import Signal
    from django.http import HttpRequest

    from .connection.connection import Connection
    from .metrics import Histogram, Measure


access: Final = logging.getLogger("wsconsumer.access")


class Hooks(Protocol):
    """The hooks of a consumer, or what stands around them."""

    async def connect(self) -> object: ...
    async def receive(self, data: str | bytes) -> None: ...
    async def disconnect(self, code: int, reason: str) -> None: ...
    async def group_message(self, group: str, data: Any) -> None: ...
    async def group_reset(self, group: str) -> None: ...


class Consumer(Hooks, Protocol):
    """What a connection needs of a consumer: its request, and its hooks to call."""

    request: HttpRequest


class Observer(Protocol):
    """Stands around the hooks of each connection, once it is in ``observers``."""

    def on_handshake(self, session: Any) -> None:
        """A session is made: with a view in the handshake's thread, else in the connection's."""

    def around(self, session: Any, consumer: Any, hooks: Hooks) -> Hooks:
        """Return what is called instead of hooks."""

    def around_handlers(self, owner: type, handlers: Any) -> Any:
        """Return what is called instead of a class's handlers of typed messages, by type."""


observers: Final[list[Observer]] = []
"""Who looks at the connections that begin from now on."""


def identify(consumer: Consumer) -> Context:
    """Say whose log records are made from now on; return the context in which that is known."""
    log_fields.begin(Identity(type(consumer), consumer.request))
    return copy_context()


class Account:
    """
    What is told of one connection, and to whom.

    ``hooks`` are what the session calls. ``measure`` has its numbers, if they are counted.
    """

    __slots__ = ("_accepted_at", "_connection", "_consumer", "hooks", "measure")

    def __init__(self, session: Any, consumer: Consumer, connection: Connection) -> None:
        self._consumer = consumer
        self._connection = connection
        self._accepted_at: float | None = None
        self.measure: Measure | None = None
        self.hooks: Hooks = consumer
        if metrics.is_on():
            sharing.start()
            self.measure = metrics.Measure(metrics.tally_of(label_of(type(consumer))))
            self.hooks = MeasuredHooks(consumer, self.measure)
            connection.send_through(self.measure.counting_send)
        for observer in observers:
            self.hooks = observer.around(session, consumer, self.hooks)

    def on_accepted(self) -> bool:
        """Tell, once, that the connection is accepted, if it is; return whether this was it."""
        if self._accepted_at is not None or not self._connection.accepted:
            return False
        self._accepted_at = self._connection.loop.time()
        if self.measure is not None:
            self.measure.tally.accepted += 1
            metrics.count_handshake("accepted", 101)
        self._send(signals.websocket_accepted)
        return True

    def on_ended(self, code: int, reason: str) -> None:
        """Tell of the end, whatever it is the end of."""
        status = self._connection.rejected_with
        if self._accepted_at is not None:
            self._on_closed(code, reason, self._connection.loop.time() - self._accepted_at)
        elif status is not None:
            on_denied(type(self._consumer), self._consumer.request, status, "denied")
        else:
            metrics.count_handshake("gone", 0)

    def _on_closed(self, code: int, reason: str, duration: float) -> None:
        counts = {}
        if self.measure is not None:
            self.measure.tally.end(code)
            counts = self.measure.counts()
        path = self._consumer.request.path
        extra = {"code": int(code), "duration": duration, **counts}
        text = "%s on %s ended with %d after %.1f seconds."
        _log(text, self._connection.owner, path, int(code), duration, extra=extra)
        self._send(signals.websocket_disconnected, code=code, reason=reason, duration=duration)

    def _send(self, signal: Signal, **named: Any) -> None:
        named["connection_id"] = log_fields.current_id()
        signals.send_soon(signal, type(self._consumer), self._consumer.request, **named)


def on_denied(sender: type, request: HttpRequest, status: int, outcome: str) -> None:
    """Tell of a handshake that was denied, by the consumer or before there was one."""
    metrics.count_handshake(outcome, status)
    extra = {"status_code": status, "path": escape(request.path)}
    _log("%s denied %s with %d.", sender.__name__, request.path, status, extra=extra)
    named = {"status": status, "outcome": outcome}
    signals.send_soon(signals.websocket_denied, sender, request, **named)


def _log(text: str, owner: str, path: str, *arguments: object, extra: dict[str, Any]) -> None:
    # The handlers are the project's, so even a line at INFO is not theirs on the event loop.
    if access.isEnabledFor(logging.INFO):
        about = (owner, escape(path), *arguments)
        log(access, logging.INFO, text, *about, extra=extra, from_stranger=True)


class MeasuredHooks:
    """The hooks of a connection, counted and timed."""

    __slots__ = ("_hooks", "_measure", "_receive", "_received", "_tally")

    def __init__(self, hooks: Hooks, measure: Measure) -> None:
        self._hooks = hooks
        self._measure = measure
        self._tally = measure.tally
        self._receive = hooks.receive
        self._received = self._tally.hooks["receive"]

    async def connect(self) -> object:
        """Call ``connect()``."""
        return await _timed(self._histogram("connect"), self._hooks.connect())

    async def receive(self, data: str | bytes) -> None:
        """Call ``receive()``."""
        # As in _timed() and size_of(): each call would cost every message.
        measure, tally = self._measure, self._tally
        measure.messages_received += 1
        tally.messages_received += 1
        is_short = isinstance(data, bytes) or data.isascii()
        tally.received_bytes += len(data) if is_short else size_of(data)
        begin = perf_counter()
        try:
            await self._receive(data)
        finally:
            self._received.observe(perf_counter() - begin)

    async def disconnect(self, code: int, reason: str) -> None:
        """Call ``disconnect()``."""
        await _timed(self._histogram("disconnect"), self._hooks.disconnect(code, reason))

    async def group_message(self, group: str, data: Any) -> None:
        """Call ``group_message()``."""
        await _timed(self._histogram("group_message"), self._hooks.group_message(group, data))

    async def group_reset(self, group: str) -> None:
        """Call ``group_reset()``."""
        await _timed(self._histogram("group_reset"), self._hooks.group_reset(group))

    def _histogram(self, hook: str) -> Histogram:
        return self._tally.hooks[hook]


async def _timed(histogram: Histogram, hook: Awaitable[Any]) -> Any:
    begin = perf_counter()
    try:
        return await hook
    finally:
        histogram.observe(perf_counter() - begin)
