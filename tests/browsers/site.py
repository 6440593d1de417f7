"""A small site for the browser's client: a page that has it, and sockets of each kind."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator
from typing import Any

from django.conf import settings
from django.contrib.staticfiles.views import serve
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.urls import path

from tests.servers.project.journal import note
from wsconsumer import Group, WebsocketConsumer, broadcast
from wsconsumer.asgi import get_asgi_application
from wsconsumer.connection import heartbeats
from wsconsumer.framing import control_event
from wsconsumer.messages import Message, MessageConsumer, on

settings.configure(
    ALLOWED_HOSTS=["127.0.0.1"],
    DATABASES=json.loads(os.environ.get("DATABASES", "{}")),
    INSTALLED_APPS=["django.contrib.staticfiles", "wsconsumer"],
    ROOT_URLCONF=__name__,
    SECRET_KEY="not a secret: this site only ever runs inside the test suite",
    STATIC_URL="/static/",
    USE_TZ=True,
    WSCONSUMER={
        "AUTHORIZATION_SUBPROTOCOL": "Bearer",
        "GROUPS": json.loads(os.environ.get("GROUPS", "{}")),
    },
)


# A test can't wait for 25 seconds.
heartbeats.PERIOD = int(os.environ.get("HEARTBEAT", "25"))  # type: ignore[misc]
heartbeats._PING = control_event({"ping": heartbeats.PERIOD})  # type: ignore[misc]  # noqa: SLF001  # so that no test waits for it

Group("room.{slug}", keep=100)


class Noted(WebsocketConsumer):
    """Tells the test who came, and when they have gone."""

    async def connect(self) -> None:
        query = self.scope["query_string"].decode()
        token = self.request.headers.get("Authorization", "")
        note(self.kwargs["key"], "connect", query=query, token=token)

    async def disconnect(self, code: int, reason: str) -> None:
        note(self.kwargs["key"], "disconnect", code=code)


class Room(Noted):
    """Is in a group that keeps, and says there what it is told."""

    async def connect(self) -> None:
        await super().connect()
        await self.join(f"room.{self.kwargs['key']}")

    async def receive(self, data: str | bytes) -> None:
        await self.broadcast(f"room.{self.kwargs['key']}", data)


class Members(Noted):
    """Lets in who has a fresh token."""

    async def connect(self) -> None:
        await super().connect()
        if self.request.headers.get("Authorization") != "Bearer fresh":
            await self.reject(401)


class Refuses(Noted):
    """Lets nobody in."""

    async def connect(self) -> None:
        await super().connect()
        raise PermissionDenied


class Add(Message):
    a: int
    b: int


class Sum(Message):
    value: int


class Count(Message):
    pass


class Number(Message):
    value: int


class Typed(Noted, MessageConsumer):
    """Answers."""

    @on
    async def add(self, message: Add) -> Sum:
        return Sum(message.a + message.b)

    @on
    async def count(self, message: Count) -> AsyncIterator[Number]:
        value = 0
        try:
            while True:
                value += 1
                yield Number(value)
        finally:
            note(self.kwargs["key"], "cancelled")


PAGE = """<!doctype html><title>page</title>
<script type=module>
  import * as client from "/static/wsconsumer/socket.js";
  const log = [], delays = [], waiting = new Set();
  const channel = new BroadcastChannel("log");
  const add = (text) => {
    log.push(text);
    for (const look of [...waiting]) look();
  };
  const note = (text) => {
    add(text);
    channel.postMessage(`other ${text}`);
  };
  const tell = () => channel.postMessage(`other ${document.visibilityState}`);
  channel.onmessage = ({ data }) => (data === "who is there?" ? tell() : add(data));
  document.onvisibilitychange = tell;
  channel.postMessage("who is there?");
  const until = (text, times = 1) => new Promise((resolve) => {
    const look = () => {
      if (log.filter((each) => each === text).length < times) return;
      waiting.delete(look);
      resolve(true);
    };
    waiting.add(look);
    look();
  });
  const { send } = WebSocket.prototype;
  WebSocket.prototype.send = function (data) {
    note(`sent ${data}`);
    send.call(this, data);
  };
  const open = (url, options) => {
    const socket = new client.Socket(url, options);
    socket.addEventListener("message", ({ detail }) => note(`message ${detail.text}`));
    socket.addEventListener("reload", ({ detail }) => note(`reload ${detail.group}`));
    socket.addEventListener("state", ({ detail }) => {
      if (detail.delay) delays.push(detail.delay);
      note([detail.state, detail.code].filter(Boolean).join(" "));
    });
    return (window.socket = socket);
  };
  Object.assign(window, client, { log, delays, open, until });
</script>"""


def say(request: HttpRequest, key: str, text: str) -> HttpResponse:
    """Say something in a room."""
    broadcast(f"room.{key}", text)
    return HttpResponse()


def static(request: HttpRequest, file: str) -> Any:
    return serve(request, file, insecure=True)


urlpatterns = [
    path("", lambda request: HttpResponse(PAGE)),
    path("away/", lambda request: HttpResponse("away")),
    path("static/<path:file>", static),
    path("say/<key>/<text>/", say),
    path("ws/room/<key>/", Room.as_view()),
    path("ws/members/<key>/", Members.as_view()),
    path("ws/refuses/<key>/", Refuses.as_view()),
    path("ws/typed/<key>/", Typed.as_view()),
]
application = get_asgi_application()
