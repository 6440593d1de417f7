"""
Traces of OpenTelemetry: a span for each message that is handled, linked to its connection.

Needs ``opentelemetry-api`` (``pip install "wsconsumer[opentelemetry]"``). ``instrument()`` begins.
The span of ``connect()`` is a child of the handshake's, or of what else is current; each message is
a trace of its own, with a link to that span, since a connection may be open for hours.
"""

from __future__ import annotations

from contextlib import aclosing, contextmanager
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from django.core.exceptions import PermissionDenied, ValidationError
from django.http import Http404
from opentelemetry.context import Context
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    Tracer,
    get_current_span,
    get_tracer,
    set_span_in_context,
)

from . import log_fields
from .cancellation import consists_of
from .exceptions import ConnectionClosed
from .log_fields import label_of
from .messages.consumer import MessageConsumer
from .messages.errors import MessageError
from .metrics import size_of
from .observing import observers

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Mapping

    from opentelemetry.trace import TracerProvider

    from .messages.handlers import Handler
    from .observing import Hooks

__all__ = ["instrument", "uninstrument"]

ANSWERS = (ConnectionClosed, Http404, MessageError, PermissionDenied, ValidationError)
"""What a hook may raise without a fault."""


def instrument(tracer_provider: TracerProvider | None = None) -> None:
    """Make spans for the connections that begin from now on, with the global provider if none."""
    uninstrument()
    observers.append(Tracing(get_tracer("wsconsumer", tracer_provider=tracer_provider)))


def uninstrument() -> None:
    """Make none for those that begin from now on."""
    observers[:] = [each for each in observers if not isinstance(each, Tracing)]


class Tracing:
    """Makes the spans; it knows each connection's by the session, and holds none."""

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer
        self._handshakes: WeakKeyDictionary[Any, SpanContext] = WeakKeyDictionary()
        self._connections: WeakKeyDictionary[Any, SpanContext] = WeakKeyDictionary()
        self._handlers: WeakKeyDictionary[type, Mapping[type, Handler]] = WeakKeyDictionary()

    def on_handshake(self, session: Any) -> None:
        """Keep the span of the request, which is current while the view is called."""
        context = get_current_span().get_span_context()
        if context.is_valid:
            self._handshakes[session] = context

    def around(self, session: Any, consumer: Any, hooks: Hooks) -> Hooks:
        """Return the hooks with a span around each."""
        return TracedHooks(self, consumer, hooks)

    def around_handlers(
        self, owner: type, handlers: Mapping[type, Handler]
    ) -> Mapping[type, Handler]:
        """Return handlers with a span around each; a class has its own for as long as we trace."""
        if owner not in self._handlers:
            self._handlers[owner] = {
                kind: handler._replace(function=self._traced(handler))
                for kind, handler in handlers.items()
            }
        return self._handlers[owner]

    def _traced(self, handler: Handler) -> Callable[..., Any]:
        function, name = handler.function, handler.name

        async def reply(consumer: Any, message: Any) -> Any:
            with self.message_span(consumer, name):
                return await function(consumer, message)

        async def stream(consumer: Any, message: Any) -> AsyncIterator[Any]:
            with self.message_span(consumer, name):
                async with aclosing(function(consumer, message)) as replies:
                    async for each in replies:
                        yield each

        return stream if handler.is_stream else reply

    @contextmanager
    def connect_span(self, consumer: Any) -> Iterator[Span]:
        """Make the span of ``connect()``, which stands for the connection."""
        session = consumer._wsconsumer  # noqa: SLF001  # as the consumer itself does
        handshake = self._handshakes.pop(session, None)
        context = handshake and set_span_in_context(NonRecordingSpan(handshake))
        with self._span(consumer, "connect", context, ()) as span:
            self._connections[session] = span.get_span_context()
            yield span

    @contextmanager
    def message_span(self, consumer: Any, name: str) -> Iterator[Span]:
        """Make the span of a message: a trace of its own, which links to its connection."""
        connection = self._connections.get(consumer._wsconsumer)  # noqa: SLF001  # as above
        links = () if connection is None else (Link(connection),)
        with self._span(consumer, name, Context(), links) as span:
            yield span

    @contextmanager
    def _span(
        self, consumer: Any, name: str, context: Context | None, links: tuple[Link, ...]
    ) -> Iterator[Span]:
        owner = type(consumer)
        attributes: dict[str, Any] = {
            "wsconsumer.consumer": label_of(owner),
            "wsconsumer.connection_id": log_fields.current_id(),
        }
        with self._tracer.start_as_current_span(
            f"{owner.__name__}.{name}",
            context=context,
            kind=SpanKind.SERVER,
            attributes=attributes,
            links=links,
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            try:
                yield span
            except Exception as error:
                if not any(consists_of(error, kind) for kind in ANSWERS):
                    span.record_exception(error)
                    span.set_status(Status(StatusCode.ERROR, type(error).__name__))
                raise


class TracedHooks:
    """The hooks of a connection, each with its span; typed messages have that of their handler."""

    __slots__ = ("_consumer", "_has_handlers", "_hooks", "_tracing")

    def __init__(self, tracing: Tracing, consumer: Any, hooks: Hooks) -> None:
        self._tracing = tracing
        self._consumer = consumer
        self._has_handlers = isinstance(consumer, MessageConsumer)
        self._hooks = hooks

    async def connect(self) -> object:
        """Call ``connect()``."""
        with self._tracing.connect_span(self._consumer):
            return await self._hooks.connect()

    async def receive(self, data: str | bytes) -> None:
        """Call ``receive()``."""
        if self._has_handlers:
            await self._hooks.receive(data)
            return
        with self._tracing.message_span(self._consumer, "receive") as span:
            span.set_attribute("wsconsumer.message.size", size_of(data))
            await self._hooks.receive(data)

    async def disconnect(self, code: int, reason: str) -> None:
        """Call ``disconnect()``."""
        with self._tracing.message_span(self._consumer, "disconnect") as span:
            span.set_attribute("wsconsumer.code", int(code))
            await self._hooks.disconnect(code, reason)

    async def group_message(self, group: str, data: Any) -> None:
        """Call ``group_message()``."""
        with self._tracing.message_span(self._consumer, "group_message"):
            await self._hooks.group_message(group, data)

    async def group_reset(self, group: str) -> None:
        """Call ``group_reset()``."""
        with self._tracing.message_span(self._consumer, "group_reset"):
            await self._hooks.group_reset(group)
