"""Sentry: what is reported, with the real library and a transport that keeps what it is given."""

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
import asyncio, json
import sentry_sdk
from sentry_sdk.transport import Transport

found, init = [], sentry_sdk.init

class Keeping(Transport):
    def capture_envelope(self, envelope):
        found.extend((item.type, item.payload.json) for item in envelope.items)

def init_for_the_test(traces_sampler, **options):
    # What the page traces sometimes is always traced.
    init(transport=Keeping, traces_sampler=lambda c: traces_sampler(c) and 1, **options)

sentry_sdk.init = init_for_the_test
from mysite.asgi import application

from django.contrib.auth.models import User
from django.core.management import call_command
from django.test import Client

call_command("migrate", verbosity=0)
client = Client()
client.force_login(User.objects.create(username="ada"))
cookie = client.cookies["sessionid"].value.encode()

async def run(*messages):
    events, sent = asyncio.Queue(), asyncio.Queue()
    headers = [(b"host", b"localhost"), (b"cookie", b"sessionid=" + cookie)]
    scope = {
        "type": "websocket", "asgi": {"version": "3.0"}, "path": "/ws/orders/7/",
        "query_string": b"", "headers": headers, "client": ("127.0.0.1", 1234),
        "scheme": "ws", "server": ("localhost", 80), "subprotocols": [],
    }
    await events.put({"type": "websocket.connect"})
    for message in messages:
        await events.put({"type": "websocket.receive", "text": json.dumps(message)})
    await events.put({"type": "websocket.disconnect", "code": 1000})
    await application(scope, events.get, sent.put)

async def main():
    await run({"action": "first", "pieces": 1})
    await run({"action": "second", "pieces": 0})

asyncio.run(main())
from wsconsumer.log_thread import log_thread
log_thread().flush(30)
print(json.dumps([item for item in found if item[0] in ("event", "transaction")], default=str))
"""


def test_what_is_reported(project: Project) -> None:
    """An error is reported once, with all that belongs to its connection; a message is a trace."""
    output = project.python("-W", "default", "-c", PROGRAM)
    found: list[tuple[str, dict[str, Any]]] = json.loads(output.splitlines()[-1])
    (error,) = [item for kind, item in found if kind == "event"]
    assert error["transaction"] == "/ws/orders/{pk}/"
    assert error["level"] == "error"
    assert error["user"] == {"id": "1", "email": "", "username": "ada"}
    assert error["request"]["url"] == "ws://localhost/ws/orders/7/"
    assert error["request"]["env"] == {"REMOTE_ADDR": "127.0.0.1"}
    assert error["tags"]["action"] == "second"
    (raised,) = error["exception"]["values"]
    assert (raised["type"], raised["mechanism"]["handled"]) == ("ZeroDivisionError", False)
    assert raised["stacktrace"]["frames"][-1]["function"] == "receive_json"
    assert "CREATE TABLE" not in json.dumps(error["breadcrumbs"])  # of before the connection
    traces = [item for kind, item in found if kind == "transaction"]
    assert [trace["transaction"] for trace in traces] == ["OrderConsumer.receive"] * 2
    assert [span["description"] for span in traces[0]["spans"]] == ["price"]


def test_on_daphne(project: Project) -> None:
    """Close codes and reasons that daphne can't send alone come through behind the middleware."""
    # The page names a Sentry that is not there: it need not be looked for.
    with (
        project.serve(HTTPS_PROXY="http://127.0.0.1:9") as address,
        connect(f"ws://{address}/ws/ending/", proxy=None, open_timeout=60) as client,
    ):
        client.send("too slow")
        with pytest.raises(ConnectionClosed) as closed:
            client.recv(60)
    assert closed.value.rcvd == Close(1013, "too slow")
