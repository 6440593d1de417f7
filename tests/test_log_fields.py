"""The fields of log records: which a connection's records have, and what none of them has."""

from __future__ import annotations

import asyncio
import logging
from time import monotonic
from typing import TYPE_CHECKING, Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import AnonymousUser, User
from django.test import override_settings
from django.urls import path

from tests.fakes import CONNECT, KnownServer, Wire, disconnect, run, scope, text, until
from wsconsumer import JsonWebsocketConsumer, WebsocketConsumer, abroadcast
from wsconsumer.connection.monitor import monitor
from wsconsumer.handshake.dispatcher import WebsocketDispatcher
from wsconsumer.log_fields import FIELDS, IDENTITY, ConnectionFilter, current_id
from wsconsumer.log_thread import LOGGERS

if TYPE_CHECKING:
    from collections.abc import Iterator

SECRET = "s3cr3t"

mine = logging.getLogger("mysite.chat")


@pytest.fixture(autouse=True)
def _everything(caplog: pytest.LogCaptureFixture) -> None:
    for name in LOGGERS:
        caplog.set_level(logging.DEBUG, name)


@pytest.fixture
def _filtered(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """A handler with the filter, as a project's LOGGING makes it."""
    added = ConnectionFilter()
    caplog.handler.addFilter(added)
    yield
    caplog.handler.removeFilter(added)


def fields_of(record: logging.LogRecord) -> dict[str, Any]:
    """Return the fields of a record that it has."""
    return {name: vars(record)[name] for name in FIELDS if name in vars(record)}


class Talkative(JsonWebsocketConsumer):
    """Causes a record of each kind, and ends."""

    outbox_policy = "drop_newest"
    outbox_limit = 0
    slow_hook_seconds = 0.0001

    async def connect(self) -> None:
        await self.join("room")
        await self.accept()

    async def fail(self) -> None:
        raise ValueError("no")

    async def receive_json(self, content: Any) -> None:
        match content:
            case "raise":
                raise ValueError("no")
            case "task":
                await asyncio.wait([self.spawn(self.fail())])
            case "thread":
                await sync_to_async(mine.info)("in a thread")
                self.request.session["changed"] = True
            case "hang":
                await asyncio.get_running_loop().create_future()
            case "late":
                await self.close(4000)
                await self.send("too late")


def run_of(*events: dict[str, Any]) -> tuple[Wire, asyncio.Task[None]]:
    """Begin a connection that logs."""
    wire = Wire(CONNECT, *events)
    user = User(pk=7)
    asked = scope(
        path="/ws/room/",
        query_string=f"token={SECRET}".encode(),
        headers=[(b"host", b"testserver"), (b"authorization", SECRET.encode())],
        user=user,
    )
    running = Talkative.as_asgi()(asked, wire.receive, wire.send)
    return wire, asyncio.ensure_future(running)


@pytest.mark.parametrize("last", ["raise", "task", "late", "malformed"])
@pytest.mark.usefixtures("_filtered")
async def test_each_record_of_a_connection(last: str, caplog: pytest.LogCaptureFixture) -> None:
    """Whatever it is about and wherever it is made, a record says whose it is."""
    mine.setLevel(logging.INFO)
    sent = "{" if last == "malformed" else f'"{last}"'
    wire, task = run_of(text('"thread"'), text(sent))
    await wire.until_sent(2)
    wire.put(text("dropped"), disconnect())
    await task
    records = [r for r in caplog.records if r.name.startswith(("wsconsumer", "mysite", "django"))]
    names = {record.name for record in records}
    assert {"mysite.chat", "wsconsumer.consumer", "wsconsumer.access"} <= names
    (number,) = {record.connection_id for record in records}  # type: ignore[attr-defined]
    assert isinstance(number, int)
    expected = {
        "connection_id": number,
        "consumer": "tests.test_log_fields.Talkative",
        "path": "/ws/room/",
        "user_id": 7,
    }
    for record in records:
        assert {name: vars(record)[name] for name in IDENTITY} == expected, record


async def test_what_the_monitor_says(caplog: pytest.LogCaptureFixture) -> None:
    """A record that a tick of the monitor causes is about the connection that it is looking at."""
    first, others_task = run_of()
    await first.until_sent(1)
    wire, task = run_of(text('"hang"'))
    await wire.until_sent(1)
    while not (slow := [r for r in caplog.records if "has been running" in r.getMessage()]):
        await asyncio.sleep(0)
        monitor().tick()
    first.put(disconnect())
    await others_task
    (first_end,) = [r for r in caplog.records if r.name == "wsconsumer.access"]
    wire.put(disconnect())
    await task
    second_end = [r for r in caplog.records if r.name == "wsconsumer.access"][-1]
    assert fields_of(slow[0])["connection_id"] == fields_of(second_end)["connection_id"]
    assert fields_of(slow[0])["connection_id"] != fields_of(first_end)["connection_id"]


async def test_an_undecided_connect(caplog: pytest.LogCaptureFixture) -> None:
    """So is one about a connect() that takes too long."""

    class Undecided(WebsocketConsumer):
        connect_timeout = 0.0001

        async def connect(self) -> None:
            await asyncio.get_running_loop().create_future()

    wire = Wire(CONNECT)
    task = asyncio.ensure_future(Undecided.as_asgi()(scope(path="/u/"), wire.receive, wire.send))
    while not wire.sent:
        await asyncio.sleep(0)
        monitor().tick()
    wire.put(disconnect())
    await task
    (record,) = [r for r in caplog.records if "has not decided" in r.getMessage()]
    assert fields_of(record)["path"] == "/u/"


async def test_the_end(caplog: pytest.LogCaptureFixture) -> None:
    """One record says how a connection ended, and after how long."""
    wire, task = run_of()
    await wire.until_sent(1)
    wire.put(disconnect(4321, SECRET))
    await task
    (record,) = [r for r in caplog.records if r.name == "wsconsumer.access"]
    assert record.levelname == "INFO"
    found = fields_of(record)
    assert record.getMessage().startswith("Talkative on /ws/room/ ended with 4321 after 0.0 second")
    assert (found["code"], found["path"]) == (4321, "/ws/room/")
    assert 0 <= found["duration"] < 60
    assert "messages_received" not in found


async def test_a_denial(caplog: pytest.LogCaptureFixture) -> None:
    """Of a connection that a consumer denied, the record has the status instead."""

    class Denying(WebsocketConsumer):
        async def connect(self) -> None:
            await self.reject(418)

    wire = Wire(CONNECT, disconnect())
    asked = scope(path="/ws/", user=AnonymousUser())
    await Denying.as_asgi()(asked, wire.receive, wire.send)
    (record,) = [r for r in caplog.records if r.name == "wsconsumer.access"]
    assert record.getMessage() == "Denying denied /ws/ with 418."
    found = fields_of(record)
    assert (found["status_code"], found["user_id"]) == (418, None)
    assert "code" not in found


@override_settings(MIDDLEWARE=[])
@pytest.mark.parametrize(
    ("change", "status", "name"),
    [
        ({"path": "/nowhere/"}, 404, "wsconsumer.access"),
        ({"headers": [(b"host", b"evil.example")]}, 400, "wsconsumer.handshake"),
        ({"query_string": b"\xff"}, 400, "wsconsumer.handshake"),
    ],
    ids=["not-found", "host", "malformed"],
)
async def test_a_refused_handshake(
    change: dict[str, Any], status: int, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A handshake that gets no consumer has its path and its status."""
    wire = Wire(CONNECT, disconnect())
    application = WebsocketDispatcher([path("ws/", WebsocketConsumer.as_view())])
    await application(scope(**{"path": "/ws/", **change}), wire.receive, wire.send)
    (found,) = [fields_of(record) for record in caplog.records if record.name == name]
    assert found["path"] == change.get("path", "/ws/")
    assert found["status_code"] == status
    assert found["consumer"] is found["connection_id"] is None


async def test_nothing_secret(caplog: pytest.LogCaptureFixture) -> None:
    """No record has a query string, a header, or the text of a message or reason, in any field."""
    wire, task = run_of(text(f'"{SECRET}"'), text('"raise"'))
    await wire.until_sent(2)
    wire.put(disconnect(4000, SECRET))
    await task
    for record in caplog.records:
        assert SECRET not in record.getMessage()
        assert all(SECRET not in repr(value) for value in vars(record).values()), record


async def test_a_user_who_comes_later(caplog: pytest.LogCaptureFixture) -> None:
    """The user is whoever it is when the record is made."""

    class Late(WebsocketConsumer):
        async def receive(self, data: str | bytes) -> None:
            self.request.user = User(pk=9)
            raise ValueError

    wire = Wire(CONNECT, text("login"), disconnect())
    await Late.as_asgi()(scope(), wire.receive, wire.send)
    (record,) = [r for r in caplog.records if r.levelname == "ERROR"]
    assert fields_of(record)["user_id"] == 9


@pytest.mark.usefixtures("_filtered")
async def test_other_code(caplog: pytest.LogCaptureFixture) -> None:
    """A record of no connection has ``None`` everywhere, also behind one that has ended here."""
    wire = Wire(CONNECT, disconnect())
    await WebsocketConsumer.as_asgi()(scope(), wire.receive, wire.send)
    assert current_id() is None
    await abroadcast("room", "nobody hears it")
    mine.warning("alone", extra={"path": "its own"})
    found = fields_of(caplog.records[-1])
    assert found == {"connection_id": None, "consumer": None, "path": "its own", "user_id": None}


async def test_what_outlives_its_connection(caplog: pytest.LogCaptureFixture) -> None:
    """A task of a project's own goes on to say whose it was."""
    tasks = []
    gate = asyncio.Event()

    class Outlived(WebsocketConsumer):
        async def connect(self) -> None:
            tasks.append(asyncio.create_task(outlive()))

    async def outlive() -> None:
        await gate.wait()
        logging.getLogger("wsconsumer.consumer").warning("still here")

    wire = Wire(CONNECT, disconnect())
    await Outlived.as_asgi()(scope(), wire.receive, wire.send)
    gate.set()
    await tasks[0]
    found = fields_of(caplog.records[-1])
    assert found["consumer"].endswith("Outlived")
    assert found["user_id"] is None


async def test_a_close_has_its_code(caplog: pytest.LogCaptureFixture) -> None:
    """Whatever closes a connection by itself says with which code."""

    class Limited(JsonWebsocketConsumer):
        max_message_size = 100
        rate_limit = "2/h"
        idle_timeout = 0.001
        outbox_limit = 0

        async def connect(self) -> None:
            await self.join("room")

    for sent, code in (
        ([text("{")], 1007),
        ([text("x" * 101)], 1009),
        ([text("1"), text("2"), text("3")], 4429),
    ):
        await run(Limited.as_asgi(), *sent, disconnect())
        assert_closed(caplog, code)
    wire = Wire(CONNECT)
    task = asyncio.ensure_future(Limited.as_asgi()(scope(), wire.receive, wire.send))
    await wire.until_sent(1)
    monitor().idling.look_after(monotonic() + 60)
    wire.put(disconnect())
    await task
    assert_closed(caplog, 4408)


async def test_a_slow_client_has_its_code(caplog: pytest.LogCaptureFixture) -> None:
    """So does a close for a client that is too slow."""

    class Member(WebsocketConsumer):
        outbox_limit = 0

        async def connect(self) -> None:
            await self.join("room")

    wire = KnownServer(CONNECT)
    task = asyncio.ensure_future(Member.as_asgi()(scope(), wire.receive, wire.send))
    await wire.until_sent(1)
    wire.shut()
    await abroadcast("room", "one")
    await abroadcast("room", "two")
    await until(lambda: any("1013" in message for message in caplog.messages))
    wire.open()
    wire.put(disconnect())
    await task
    assert_closed(caplog, 1013)


def assert_closed(caplog: pytest.LogCaptureFixture, code: int) -> None:
    """There are two records with this code: that of the close, and that of the end."""
    found = [record for record in caplog.records if vars(record).get("code") == code]
    assert [record.name == "wsconsumer.access" for record in found] == [False, True]
    caplog.clear()


async def test_a_heartbeat(caplog: pytest.LogCaptureFixture) -> None:
    """What the monitor sends by itself is the connection's as well."""
    wire = Wire(CONNECT)
    asked = scope(subprotocols=["wsconsumer.v1"], path="/beat/")
    task = asyncio.ensure_future(WebsocketConsumer.as_asgi()(asked, wire.receive, wire.send))
    await wire.until_sent(1)
    wire.fail_on = "websocket.send"
    monitor().heartbeats.look_after(monotonic() + 60)
    await until(lambda: "heartbeat" in caplog.text)
    wire.put(disconnect())
    await task
    (record,) = [record for record in caplog.records if "heartbeat" in record.getMessage()]
    assert fields_of(record)["path"] == "/beat/"
