"""``connection/connection.py``: what ``send()`` takes, sends and raises."""

from __future__ import annotations

import asyncio
import datetime as dt
import uuid
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from django.utils.translation import gettext_lazy

from tests.connection.deciding import error_in_connect
from tests.fakes import ACCEPT, CONNECT, Wire, disconnect, run, scope, sent, text
from wsconsumer import ConnectionClosed, InvalidState, WebsocketConsumer

if TYPE_CHECKING:
    from wsconsumer.protocol import Event


async def test_send_before_accept_names_accept() -> None:
    """Sending in connect() needs accept() first, and the error says so."""
    message, messages = await error_in_connect(lambda c: c.send("hello"), InvalidState)
    assert message == (
        "Deciding.send() needs an open connection, but it is CONNECTING. Call accept() first."
    )
    assert messages == [ACCEPT]


class Echo(WebsocketConsumer):
    """Sends back what it gets, as ``wrap`` makes it."""

    wrap: Any = staticmethod(lambda data: data)

    def __init__(self, **initkwargs: Any) -> None:
        super().__init__(**initkwargs)
        self.errors: list[Exception] = []

    async def receive(self, data: str | bytes) -> None:
        await self.send(self.wrap(data))


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        ({"text": "hello"}, "hello"),
        ({"text": ""}, ""),
        ({"text": "hello", "bytes": None}, "hello"),
        ({"bytes": b"\x00\xff"}, b"\x00\xff"),
        ({"bytes": b""}, b""),
        ({"text": None, "bytes": b"x"}, b"x"),
        ({"text": "", "bytes": None}, ""),
        ({"text": None, "bytes": b""}, b""),
    ],
    ids=str,
)
async def test_messages_of_every_dialect(event: dict[str, Any], expected: str | bytes) -> None:
    """Text and binary, empty or not, with one key or with both: each arrives and goes out."""
    messages = await run(Echo.as_asgi(), {"type": "websocket.receive", **event}, disconnect())
    assert messages == [ACCEPT, sent(expected)]


@pytest.mark.parametrize("wrap", [bytearray, memoryview], ids=lambda wrap: wrap.__name__)
async def test_other_buffers_are_sent_as_bytes(wrap: Any) -> None:
    """A bytearray or memoryview is sent as the bytes that it holds."""
    application = Echo.as_asgi(wrap=wrap)
    messages = await run(application, {"type": "websocket.receive", "bytes": b"abc"}, disconnect())
    assert messages == [ACCEPT, sent(b"abc")]
    assert type(messages[1]["bytes"]) is bytes


class Catching(WebsocketConsumer):
    """Keeps what ``act()`` raises for each message."""

    async def act(self, data: str) -> None:
        raise NotImplementedError

    async def receive(self, data: str | bytes) -> None:
        assert isinstance(data, str)
        try:
            await self.act(data)
        except Exception as error:  # noqa: BLE001  # this is what the test looks at
            self.seen.append(error)

    seen: list[Exception] = []  # noqa: RUF012  # each test sets its own


@pytest.mark.parametrize(
    ("data", "json"),
    [
        ({"a": 1}, '{"a":1}'),
        ([1, None], "[1,null]"),
        (7, "7"),
        (None, "null"),
        (dt.datetime(2026, 1, 2, tzinfo=dt.UTC), '"2026-01-02T00:00:00Z"'),
        (Decimal("1.10"), '"1.10"'),
        (uuid.UUID(int=1), '"00000000-0000-0000-0000-000000000001"'),
        (gettext_lazy("Hello"), '"Hello"'),
    ],
    ids=repr,
)
async def test_anything_else_is_json(data: Any, json: str) -> None:
    """What is neither text nor bytes goes out as broadcast() would send it."""
    application = Echo.as_asgi(wrap=staticmethod(lambda _: data))
    assert await run(application, text("go"), disconnect()) == [ACCEPT, sent(json)]


async def test_what_json_can_not_say() -> None:
    """It is refused with its type, and the connection stays open."""
    errors: list[Exception] = []

    class Sending(Catching):
        seen = errors

        async def act(self, _: str) -> None:
            await self.send({"user": object()})

    assert await run(Sending.as_asgi(), text("go"), disconnect()) == [ACCEPT]
    assert type(errors[0]) is TypeError
    assert str(errors[0]) == (
        "Sending.send() expects str, bytes, or what is JSON serializable, got dict: object is not "
        "JSON serializable. Make it a str, or of dicts, lists, numbers and texts."
    )


async def test_json_to_a_client_that_has_gone() -> None:
    """What the server does not take is a closed connection, for JSON too."""
    errors: list[Exception] = []

    class Sending(Catching):
        seen = errors

        async def act(self, data: str) -> None:
            await self.send({"data": data})

    wire = Wire(CONNECT, text("go"), disconnect())
    wire.fail_on = "websocket.send"
    await Sending.as_asgi()(scope(), wire.receive, wire.send)
    assert type(errors[0]) is ConnectionClosed


async def test_text_that_utf8_can_not_say() -> None:
    """A lone surrogate is the application's mistake, not a lost client."""
    errors: list[Exception] = []

    class Sending(Catching):
        seen = errors

        async def act(self, data: str) -> None:
            await self.send("\ud800" if data == "bad" else data)

    class Utf8Wire(Wire):
        async def send(self, message: Event) -> None:
            message.get("text", "").encode()
            await super().send(message)

    wire = Utf8Wire(CONNECT, text("bad"), text("good"), disconnect())
    await Sending.as_asgi()(scope(), wire.receive, wire.send)
    assert str(errors[0]).startswith("Sending.send() text can't be sent: surrogates not allowed")
    assert wire.sent == [ACCEPT, sent("good")]


async def test_a_send_that_fails_means_the_client_has_gone() -> None:
    """Whatever the server raises becomes ConnectionClosed, with the server's error as cause."""
    errors: list[Exception] = []
    states: list[str] = []

    class Sending(Catching):
        seen = errors

        async def act(self, _: str) -> None:
            try:
                await self.send("hello")
            finally:
                states.append(self.state.name)

        async def disconnect(self, code: int, reason: str) -> None:
            states.append(f"{code} {reason}")

    wire = Wire(CONNECT, text("one"), text("two"), disconnect(1001, "away"))
    wire.fail_on = "websocket.send"
    await Sending.as_asgi()(scope(), wire.receive, wire.send)

    (error,) = errors
    assert isinstance(error, ConnectionClosed)
    assert (error.code, error.reason) == (1006, "")
    assert str(error) == ("Sending.send() needs an open connection, but it is CLOSING (1006).")
    assert isinstance(error.__cause__, OSError)
    assert states == ["CLOSING", "1001 away"]


async def test_sends_that_fail_at_once() -> None:
    """When several sends meet a vanished client, each raises ConnectionClosed."""
    outcomes: list[type] = []

    class Hanging(Wire):
        async def send(self, message: Event) -> None:
            if message["type"] == "websocket.send":
                await asyncio.sleep(0)
                raise OSError
            await super().send(message)

    class Sending(WebsocketConsumer):
        async def receive(self, data: str | bytes) -> None:
            both = await asyncio.gather(self.send("a"), self.send(b"b"), return_exceptions=True)
            outcomes.extend(map(type, both))

    wire = Hanging(CONNECT, text("go"), disconnect())
    await Sending.as_asgi()(scope(), wire.receive, wire.send)
    assert outcomes == [ConnectionClosed, ConnectionClosed]
