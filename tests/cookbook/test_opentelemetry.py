"""OpenTelemetry: which spans there are, with the real libraries and an exporter in memory."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.frames import Close
from websockets.sync.client import connect

if TYPE_CHECKING:
    from tests.cookbook.project import Project

MORE = {
    "endings/urls.py": """
from django.urls import path
from wsconsumer import WebsocketConsumer

class EndingConsumer(WebsocketConsumer):
    async def receive(self, data):
        await self.close(1013, data)

urlpatterns = [path("ws/ending/", EndingConsumer.as_view())]
"""
}

PROGRAM = """
import asyncio, json, sys
from importlib import import_module
from opentelemetry import trace
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

application = import_module(sys.argv[1]).application
exporter = InMemorySpanExporter()
trace.get_tracer_provider().add_span_processor(SimpleSpanProcessor(exporter))

async def main():
    events, sent = asyncio.Queue(), asyncio.Queue()
    scope = {
        "type": "websocket", "asgi": {"version": "3.0"}, "path": "/ws/orders/7/",
        "query_string": b"", "headers": [(b"host", b"localhost")], "subprotocols": [],
        "client": ("127.0.0.1", 1234), "scheme": "ws", "server": ("localhost", 80),
    }
    await events.put({"type": "websocket.connect"})
    for pieces in (1, 0):
        await events.put({"type": "websocket.receive", "text": json.dumps({"pieces": pieces})})
    await events.put({"type": "websocket.disconnect", "code": 1000})
    await application(scope, events.get, sent.put)

asyncio.run(main())
print(json.dumps([
    {
        "name": span.name,
        "id": span.context.span_id,
        "parent": span.parent and span.parent.span_id,
        "links": [link.context.span_id for link in span.links],
        "status": span.status.status_code.name,
        "code": span.attributes.get("http.status_code"),
        "events": [event.attributes.get("exception.type") for event in span.events],
    }
    for span in exporter.get_finished_spans()
]))
"""


def spans(project: Project, module: str) -> list[dict[str, Any]]:
    """Return the spans of a connection with two messages, the second of which fails."""
    output = project.python("-W", "default", "-c", PROGRAM, module)
    found: list[dict[str, Any]] = json.loads(output.splitlines()[-1])
    return found


def test_a_span_for_each_message(project: Project) -> None:
    """The handshake is a request, with connect() below it; each message links to that."""
    handshake, connected, first, second, end = spans(project, "mysite.asgi")
    assert handshake["name"] == "GET ws/orders/<int:pk>/"
    assert (handshake["code"], handshake["parent"]) == (101, None)
    assert (connected["name"], connected["parent"]) == ("OrderConsumer.connect", handshake["id"])
    for span, status, events in ((first, "UNSET", []), (second, "ERROR", ["ZeroDivisionError"])):
        assert span["name"] == "OrderConsumer.receive"
        assert (span["parent"], span["links"]) == (None, [connected["id"]])
        assert (span["status"], span["events"]) == (status, events)
    assert (end["name"], end["links"]) == ("OrderConsumer.disconnect", [connected["id"]])


def test_a_span_for_the_connection(project: Project) -> None:
    """The ASGI middleware makes one, which ends last, and is around the handshake."""
    handshake, connected, first, second, _, connection = spans(
        project, "mysite.asgi_with_connections"
    )
    assert connection["name"] == "HTTP /ws/orders/7/"
    assert (handshake["parent"], connection["parent"]) == (connection["id"], None)
    assert connected["parent"] == handshake["id"]
    assert first["parent"] is second["parent"] is None


@pytest.mark.parametrize("module", ["asgi", "asgi_with_connections"])
def test_on_daphne(project: Project, module: str) -> None:
    """Close codes and reasons that daphne can't send alone come through."""
    arguments = ("-b", "127.0.0.1", "-p", "0", f"mysite.{module}:application")
    with project.running("daphne", *arguments) as daphne:
        address = daphne.wait_for(r"Listening on TCP address (\S+:\d+)")[1]
        with connect(f"ws://{address}/ws/ending/", proxy=None, open_timeout=60) as client:
            client.send("too slow")
            with pytest.raises(ConnectionClosed) as closed:
                client.recv(60)
    assert closed.value.rcvd == Close(1013, "too slow")
