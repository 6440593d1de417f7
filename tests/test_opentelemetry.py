"""Spans: which there are, how they hang together, and that there are none where it is off."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import pytest
from django.test import override_settings
from django.urls import path
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from tests.fakes import CONNECT, Wire, disconnect, run, scope, text
from wsconsumer import WebsocketConsumer, abroadcast
from wsconsumer.handshake.dispatcher import WebsocketDispatcher
from wsconsumer.messages import Event, Message, MessageConsumer, MessageError, on
from wsconsumer.observing import observers
from wsconsumer.opentelemetry import instrument, uninstrument

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from django.http import HttpRequest, HttpResponseBase


class Traces:
    """What was exported, and a provider for more."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        self.provider = TracerProvider()
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))

    def __getitem__(self, name: str) -> ReadableSpan:
        """Return the only span of a name."""
        (found,) = (span for span in self.exporter.get_finished_spans() if span.name == name)
        return found

    @property
    def names(self) -> list[str]:
        return [span.name for span in self.exporter.get_finished_spans()]


@pytest.fixture
def traces() -> Iterator[Traces]:
    """Traces of all connections of the test."""
    traces = Traces()
    instrument(traces.provider)
    yield traces
    uninstrument()


class Echo(WebsocketConsumer):
    """Sends everything back, but for some."""

    async def connect(self) -> None:
        await self.join("room")

    async def receive(self, data: str | bytes) -> None:
        match data:
            case "raise":
                raise ValueError("no")
            case "reset":
                await self._wsconsumer.account.hooks.group_reset("room")
            case _:
                await self.send(data)

    async def group_message(self, group: str, data: Any) -> None:
        await self.send(data)


class Ask(Message):
    what: str


class Answer(Message):
    what: str


class Refreshed(Event):
    why: str


class Typed(MessageConsumer):
    """Answers, in each way."""

    async def connect(self) -> None:
        await self.join("room")

    @on
    async def ask(self, message: Ask) -> Answer:
        if message.what == "refused":
            raise MessageError("full")
        if message.what == "raise":
            raise ValueError("no")
        return Answer(what=message.what)

    @on
    async def refreshed(self, event: Refreshed) -> None:
        await self.send(Answer(what=event.why))


class Follow(Message):
    pass


class Streaming(MessageConsumer):
    """Answers with a stream, each part in the handler's span."""

    seen: Any = None

    @on
    async def follow(self, message: Follow) -> AsyncIterator[Answer]:
        self.seen.append(trace.get_current_span().get_span_context().span_id)
        yield Answer(what="a")
        yield Answer(what="b")


def id_of(span: ReadableSpan) -> int:
    context = span.get_span_context()
    assert context is not None
    return int(context.span_id)


def links_of(span: ReadableSpan) -> list[int]:
    return [link.context.span_id for link in span.links]


async def test_each_message_has_a_trace(traces: Traces) -> None:
    """It is a root, and links to the span of connect(), which stands for the connection."""
    await run(Echo.as_asgi(), text("hello"), disconnect(4001))
    assert traces.names == ["Echo.connect", "Echo.receive", "Echo.disconnect"]
    connect, receive, end = (traces[name] for name in traces.names)
    assert receive.parent is end.parent is None
    assert links_of(receive) == links_of(end) == [id_of(connect)]
    assert receive.attributes is not None
    assert end.attributes is not None
    assert receive.attributes["wsconsumer.consumer"] == f"{__name__}.Echo"
    assert receive.attributes["wsconsumer.message.size"] == 5
    assert (
        receive.attributes["wsconsumer.connection_id"] == end.attributes["wsconsumer.connection_id"]
    )
    assert end.attributes["wsconsumer.code"] == 4001


async def test_nothing_of_the_message(traces: Traces) -> None:
    """No attribute has what was said, nor the path and query string."""
    await run(Echo.as_asgi(), text("s3cr3t"), disconnect(4000, "s3cr3t"), query_string=b"s3cr3t")
    assert "s3cr3t" not in "".join(span.to_json() for span in traces.exporter.get_finished_spans())


async def test_an_exception(traces: Traces, caplog: pytest.LogCaptureFixture) -> None:
    """It is recorded, and goes its way."""
    sent = await run(Echo.as_asgi(), text("raise"), disconnect())
    span = traces["Echo.receive"]
    assert span.status.status_code is StatusCode.ERROR
    (event,) = span.events
    assert event.attributes is not None
    assert event.attributes["exception.type"] == "ValueError"
    assert sent[-1]["code"] == 1011


async def test_a_span_inside_another(traces: Traces) -> None:
    """Each hook has its own, also one that another has caused."""
    await run(Echo.as_asgi(), text("reset"), disconnect())
    assert traces["Echo.group_reset"].parent is None
    assert links_of(traces["Echo.group_reset"]) == [id_of(traces["Echo.connect"])]


async def test_a_closed_connection_is_no_error(traces: Traces) -> None:
    """What only says that the client has gone is none."""

    class Late(WebsocketConsumer):
        async def receive(self, data: str | bytes) -> None:
            await self.close()
            await self.send("too late")

    await run(Late.as_asgi(), text("go"), disconnect())
    assert traces["Late.receive"].status.status_code is StatusCode.UNSET


@override_settings(MIDDLEWARE=[])
async def test_the_handshake(traces: Traces) -> None:
    """A span that is current while the view is called is the parent of connect()."""
    tracer = traces.provider.get_tracer("a middleware of the project")

    def traced(view: Callable[..., HttpResponseBase]) -> Callable[..., HttpResponseBase]:
        def answer(request: HttpRequest) -> HttpResponseBase:
            with tracer.start_as_current_span("handshake"):
                return view(request)

        answer.__dict__.update(vars(view))
        return answer

    application = WebsocketDispatcher([path("ws/", traced(Echo.as_view()))])
    await run(application, text("hello"), disconnect(), path="/ws/")
    connect = traces["Echo.connect"]
    assert connect.parent is not None
    assert connect.parent.span_id == id_of(traces["handshake"])
    assert links_of(traces["Echo.receive"]) == [id_of(connect)]


async def test_what_a_group_brings(traces: Traces) -> None:
    """group_message() has a span as well."""
    wire = Wire(CONNECT)
    task = asyncio.ensure_future(Echo.as_asgi()(scope(), wire.receive, wire.send))
    await wire.until_sent(1)
    await abroadcast("room", "hello")
    await wire.until_sent(2)
    wire.put(disconnect())
    await task
    assert links_of(traces["Echo.group_message"]) == [id_of(traces["Echo.connect"])]


@pytest.mark.parametrize(
    ("what", "status"), [("time", "UNSET"), ("refused", "UNSET"), ("raise", "ERROR")]
)
async def test_a_typed_message(what: str, status: str, traces: Traces) -> None:
    """A handler has its own span, by its name; an error that is an answer is none of the span."""
    await run(Typed.as_asgi(), disconnect())
    traces.exporter.clear()
    await run(Typed.as_asgi(), text(f'{{"type": "ask", "what": "{what}"}}'), disconnect())
    assert traces.names == ["Typed.connect", "Typed.ask", "Typed.disconnect"]
    span = traces["Typed.ask"]
    assert links_of(span) == [id_of(traces["Typed.connect"])]
    assert span.status.status_code.name == status


async def test_an_event(traces: Traces) -> None:
    """So has the handler of an event."""
    wire = Wire(CONNECT)
    task = asyncio.ensure_future(Typed.as_asgi()(scope(), wire.receive, wire.send))
    await wire.until_sent(1)
    await abroadcast("room", Refreshed(why="because"))
    await wire.until_sent(2)
    wire.put(disconnect())
    await task
    assert traces["Typed.refreshed"].parent is None


async def test_a_stream(traces: Traces) -> None:
    """A stream is one span, from its first reply to the end."""
    seen: list[int] = []
    wire = Wire(CONNECT, text('{"type": "follow", "ref": 1}'))
    task = asyncio.ensure_future(Streaming.as_asgi(seen=seen)(scope(), wire.receive, wire.send))
    await wire.until_sent(4)
    wire.put(disconnect())
    await task
    assert seen == [id_of(traces["Streaming.follow"])]


async def test_a_stream_that_the_client_cancels(traces: Traces) -> None:
    """One that nobody wants any more ends its span, and the handler."""
    ended = asyncio.Event()

    class Endless(MessageConsumer):
        @on
        async def follow(self, message: Follow) -> AsyncIterator[Answer]:
            try:
                while True:
                    yield Answer(what="more")
                    await asyncio.sleep(0)
            finally:
                ended.set()

    wire = Wire(CONNECT, text('{"type": "follow", "ref": 1}'))
    task = asyncio.ensure_future(Endless.as_asgi()(scope(), wire.receive, wire.send))
    await wire.until_sent(3)
    wire.put(text('{"type": "cancel", "ref": 1}'))
    async with asyncio.timeout(5):
        await ended.wait()
    wire.put(disconnect())
    await task
    assert "Endless.follow" in traces.names


async def test_off(traces: Traces) -> None:
    """Connections that begin after uninstrument() have no spans, and nothing around their hooks."""
    uninstrument()
    seen = []

    class Seen(WebsocketConsumer):
        async def connect(self) -> None:
            seen.append(type(self._wsconsumer.account.hooks))

    await run(Seen.as_asgi(), text("hello"), disconnect())
    assert (seen, traces.names, observers) == ([Seen], [], [])


async def test_twice(traces: Traces) -> None:
    """Whoever instruments twice has one span of each, from the later one."""
    instrument(traces.provider)
    await run(Echo.as_asgi(), disconnect())
    assert traces.names == ["Echo.connect", "Echo.disconnect"]


@pytest.mark.usefixtures("traces")
async def test_nothing_holds_a_connection() -> None:
    """A connection that has ended is gone, traced or not."""
    seen: list[weakref.ref[Any]] = []

    class Seen(Echo):
        async def connect(self) -> None:
            seen.extend(map(weakref.ref, (self, self._wsconsumer)))

    gc.collect()
    gc.disable()
    try:
        await run(Seen.as_asgi(), text("hello"), disconnect())
        await asyncio.sleep(0)
        assert [ref() for ref in seen if ref() is not None] == []
    finally:
        gc.enable()
