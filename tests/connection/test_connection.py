"""``connection.py``: the verbs, what they send, and what they refuse in which state."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

import pytest

from tests.fakes import (
    ACCEPT,
    CONNECT,
    DENIAL,
    DENIED,
    Wire,
    close,
    disconnect,
    run,
    scope,
    sent,
    text,
)
from wsconsumer import ConnectionClosed, InvalidState, WebsocketConsumer
from wsconsumer.connection import connection

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from wsconsumer.protocol import Event


def deciding(decide: Callable[[Any], Awaitable[None]]) -> type[WebsocketConsumer]:
    """Return a consumer whose ``connect()`` calls this with the consumer."""

    class Deciding(WebsocketConsumer):
        async def connect(self) -> None:
            await decide(self)

    return Deciding


async def error_in_connect(
    decide: Callable[[Any], Awaitable[None]], kind: type[Exception], **more: Any
) -> tuple[str, list[dict[str, Any]]]:
    """Return the text of the error that ``connect()`` met, and what was sent all the same."""
    texts = []

    async def catching(consumer: Any) -> None:
        with pytest.raises(kind) as caught:
            await decide(consumer)
        texts.append(str(caught.value))

    messages = await run(deciding(catching).as_asgi(), disconnect(), **more)
    return texts[0], messages


# accept()


async def test_accept_sends_subprotocol_and_headers() -> None:
    """What accept() is given goes out with it, and the subprotocol can be read afterwards."""
    chosen = []

    async def decide(consumer: Any) -> None:
        await consumer.accept("chat.v2", headers=[("X-Room", "lobby")])
        chosen.append(consumer.subprotocol)

    messages = await run(
        deciding(decide).as_asgi(), disconnect(), subprotocols=["chat.v1", "chat.v2"]
    )
    assert messages == [
        {"type": "websocket.accept", "subprotocol": "chat.v2", "headers": [(b"x-room", b"lobby")]}
    ]
    assert chosen == ["chat.v2"]


@pytest.mark.parametrize("offered", [["chat.v1"], [], None], ids=str)
async def test_a_subprotocol_must_be_offered(offered: list[str] | None) -> None:
    """A subprotocol that the client does not offer is refused, and the decision stays open."""
    message, messages = await error_in_connect(
        lambda c: c.accept("chat.v2"), ValueError, subprotocols=offered
    )
    assert "can't choose the subprotocol 'chat.v2': the client offers" in message
    assert messages == [ACCEPT]


@pytest.mark.parametrize("verb", ["accept", "reject"])
async def test_bad_headers_are_refused_before_anything_is_sent(verb: str) -> None:
    """A header that can't be sent is an error of the verb, and the decision stays open."""
    message, messages = await error_in_connect(
        lambda c: getattr(c, verb)(headers=[("X-Name", "\u20ac")]), ValueError
    )
    assert message.startswith(f"Deciding.{verb}() can't send")
    assert messages == [ACCEPT]


# Two decisions


async def test_accept_twice() -> None:
    """A second accept() is an error, and the connection stays open."""

    async def decide(consumer: Any) -> None:
        await consumer.accept()
        await consumer.accept()

    message, messages = await error_in_connect(decide, InvalidState)
    assert message == (
        "Deciding.accept() comes too late: the connection is OPEN, accept() was called. "
        "End it with close()."
    )
    assert messages == [ACCEPT]


async def test_reject_after_accept() -> None:
    """An accepted connection can't be rejected; the error names close()."""

    async def decide(consumer: Any) -> None:
        await consumer.accept()
        await consumer.reject()

    message, messages = await error_in_connect(decide, InvalidState)
    assert "reject() comes too late" in message
    assert "close()" in message
    assert messages == [ACCEPT]


@pytest.mark.parametrize("verb", ["accept", "reject"])
async def test_a_decision_after_reject(verb: str) -> None:
    """After reject() there is nothing more to decide."""

    async def decide(consumer: Any) -> None:
        await consumer.reject(404)
        await getattr(consumer, verb)()

    message, messages = await error_in_connect(decide, InvalidState)
    assert message == f"Deciding.{verb}() comes too late: reject(404) was called."
    assert messages == [DENIED]


async def test_send_after_reject() -> None:
    """What is sent after reject() can't arrive, and the error says why."""

    async def decide(consumer: Any) -> None:
        await consumer.reject(401)
        await consumer.send("hello")

    message, _ = await error_in_connect(decide, InvalidState)
    assert message == "Deciding.send() comes too late: reject(401) was called."


# reject()


async def test_reject_sends_a_denial_response() -> None:
    """Where the server has denial responses, status, headers and body go out whole."""

    async def decide(consumer: Any) -> None:
        await consumer.reject(451, "sorry", headers={"X-Why": "law"})

    messages = await run(deciding(decide).as_asgi(), **DENIAL)
    assert messages == [
        {
            "type": "websocket.http.response.start",
            "status": 451,
            "headers": [
                (b"x-why", b"law"),
                (b"content-type", b"text/plain; charset=utf-8"),
                (b"content-length", b"5"),
            ],
        },
        {"type": "websocket.http.response.body", "body": b"sorry"},
    ]


async def test_reject_keeps_the_headers_that_it_is_given() -> None:
    """A content type and length of one's own are not overwritten; bytes get no type."""

    async def decide(consumer: Any) -> None:
        headers = [("Content-Type", "text/html"), ("Content-Length", "2")]
        await consumer.reject(403, "hi", headers)

    start, _ = await run(deciding(decide).as_asgi(), **DENIAL)
    assert start["headers"] == [(b"content-type", b"text/html"), (b"content-length", b"2")]

    start, body = await run(deciding(lambda c: c.reject(403, b"hi")).as_asgi(), **DENIAL)
    assert start["headers"] == [(b"content-length", b"2")]
    assert body["body"] == b"hi"


async def test_reject_falls_back_to_403(caplog: pytest.LogCaptureFixture) -> None:
    """A server without denial responses gets a close, and the log says what is lost."""
    caplog.set_level(logging.INFO, "wsconsumer")
    assert await run(deciding(lambda c: c.reject()).as_asgi()) == [DENIED]
    assert caplog.messages == []
    assert await run(deciding(lambda c: c.reject(404)).as_asgi()) == [DENIED]
    assert caplog.messages == ["No denial response here: the client gets 403, not 404."]


@pytest.mark.parametrize("status", [101, 200, 299, 600, "403", None], ids=repr)
async def test_reject_wants_a_status_that_denies(status: Any) -> None:
    """A status that is no denial is refused."""
    message, _ = await error_in_connect(lambda c: c.reject(status), ValueError)
    assert "expects an HTTP status from 300 to 599" in message


async def test_reject_wants_a_body_of_text_or_bytes() -> None:
    """A body must be str or bytes, and a str must be UTF-8."""
    message, _ = await error_in_connect(lambda c: c.reject(403, {"why": "law"}), TypeError)
    assert "expects body to be str or bytes, got {'why': 'law'}" in message
    message, _ = await error_in_connect(lambda c: c.reject(403, "\ud800"), ValueError)
    assert message.startswith("Deciding.reject() body can't be sent")


async def test_a_client_that_left_needs_no_denial(caplog: pytest.LogCaptureFixture) -> None:
    """A reject() that the server can't send any more is no error."""
    caplog.set_level(logging.INFO, "wsconsumer")
    wire = Wire(CONNECT)
    wire.fail_on = "websocket.close"
    await deciding(lambda c: c.reject()).as_asgi()(scope(), wire.receive, wire.send)
    assert caplog.messages == []


# send()


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


@pytest.mark.parametrize("data", [{"a": 1}, 7, None], ids=repr)
async def test_send_wants_text_or_bytes(data: Any) -> None:
    """Anything but str and bytes is refused with its type, and the connection stays open."""
    errors: list[Exception] = []

    class Sending(Catching):
        seen = errors

        async def act(self, _: str) -> None:
            await self.send(data)

    assert await run(Sending.as_asgi(), text("go"), disconnect()) == [ACCEPT]
    assert str(errors[0]) == (
        f"Sending.send() expects str or bytes, got {type(data).__name__}. "
        "Encode it first, for instance with json.dumps()."
    )


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


# close()


async def test_close_sends_code_and_reason_once() -> None:
    """close() is idempotent: the first code and reason count."""

    async def decide(consumer: Any) -> None:
        await consumer.accept()
        await consumer.close(4000, "enough")
        await consumer.close(4001)

    messages = await run(deciding(decide).as_asgi(), disconnect(4000))
    assert messages == [ACCEPT, close(4000, "enough")]


async def test_send_after_close() -> None:
    """After close() a send raises ConnectionClosed, with our own code and reason."""

    async def decide(consumer: Any) -> None:
        await consumer.accept()
        await consumer.close(4000, "enough")
        with pytest.raises(ConnectionClosed) as caught:
            await consumer.send("hello")
        assert (caught.value.code, caught.value.reason) == (4000, "enough")
        raise caught.value

    message, _ = await error_in_connect(decide, ConnectionClosed)
    assert message == (
        "Deciding.send() needs an open connection, but it is CLOSING (4000 'enough')."
    )


@pytest.mark.parametrize(
    ("arguments", "kind"),
    [
        ((1005,), ValueError),
        ((5000,), ValueError),
        (("x",), TypeError),
        ((1000, "a" * 124), ValueError),
    ],
    ids=repr,
)
async def test_close_with_what_can_not_be_sent(
    arguments: tuple[Any, ...], kind: type[Exception]
) -> None:
    """A close code or reason that RFC 6455 does not allow is refused; the connection stays open."""

    async def decide(consumer: Any) -> None:
        await consumer.accept()
        await consumer.close(*arguments)

    _, messages = await error_in_connect(decide, kind)
    assert messages == [ACCEPT]


async def test_close_before_accept_is_a_rejection() -> None:
    """Before accept() there is no websocket to close: as in ASGI, the client gets 403."""
    assert await run(deciding(lambda c: c.close()).as_asgi()) == [DENIED]


@pytest.mark.parametrize("arguments", [(4001,), (1000, "no")], ids=repr)
async def test_a_close_code_before_accept_would_be_lost(arguments: tuple[Any, ...]) -> None:
    """A code or reason can't reach a client that has no websocket; the error names the ways out."""
    message, messages = await error_in_connect(lambda c: c.close(*arguments), InvalidState)
    assert "can't reach the client, the connection is CONNECTING" in message
    assert "accept() first" in message
    assert "reject(status)" in message
    assert messages == [ACCEPT]


async def test_a_server_that_can_not_send_the_code(caplog: pytest.LogCaptureFixture) -> None:
    """Where a server refuses a code such as 1011, the connection is closed with 1000."""

    class Picky(Wire):
        async def send(self, message: Event) -> None:
            if message.get("code") == 1011:
                raise ValueError("invalid close code")
            await super().send(message)

    async def decide(consumer: Any) -> None:
        await consumer.accept()
        await consumer.close(1011)

    wire = Picky(CONNECT, disconnect())
    await deciding(decide).as_asgi()(scope(), wire.receive, wire.send)
    assert wire.sent == [ACCEPT, {"type": "websocket.close", "code": 1000}]
    assert caplog.messages == ["Deciding: the server can't send 1011, the client got 1000."]


@pytest.mark.parametrize("code", [1000, 1011, 4000])
async def test_closing_a_connection_that_is_gone(
    code: int, caplog: pytest.LogCaptureFixture
) -> None:
    """A close() that the server can't send any more is no error."""
    caplog.set_level(logging.INFO, "wsconsumer")

    async def decide(consumer: Any) -> None:
        await consumer.accept()
        await consumer.close(code)

    wire = Wire(CONNECT, disconnect())
    wire.fail_on = "websocket.close"
    await deciding(decide).as_asgi()(scope(), wire.receive, wire.send)
    assert wire.sent == [ACCEPT]
    assert caplog.messages == []


@pytest.mark.parametrize(("error", "lines"), [(OSError, 0), (RuntimeError, 1)])
async def test_a_close_or_denial_that_is_not_sent(
    error: type[Exception], lines: int, caplog: pytest.LogCaptureFixture
) -> None:
    """A client that has gone is nothing to tell; what else a server raises is told at INFO."""
    caplog.set_level(logging.INFO, "wsconsumer")

    class Failing(Wire):
        async def send(self, message: Event) -> None:
            if message["type"] == "websocket.close":
                raise error
            await super().send(message)

    async def decide(consumer: Any) -> None:
        await consumer.accept()
        await consumer.close()

    for decision in (decide, lambda consumer: consumer.reject()):
        wire = Failing(CONNECT, disconnect())
        caplog.clear()
        await deciding(decision).as_asgi()(scope(), wire.receive, wire.send)
        assert len(caplog.messages) == lines
        assert all(message.endswith("was not sent.") for message in caplog.messages)


# After the close: waiting for the disconnect event


@pytest.fixture
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give a server no time to report the close."""
    monkeypatch.setattr(connection, "CLOSE_TIMEOUT", 0)


async def test_the_end_waits_for_the_disconnect_event() -> None:
    """After close() the application does not return before the server reports the close."""
    wire = Wire(CONNECT)

    async def decide(consumer: Any) -> None:
        await consumer.accept()
        await consumer.close()

    task = asyncio.create_task(deciding(decide).as_asgi()(scope(), wire.receive, wire.send))
    await wire.until_sent(2)
    done, _ = await asyncio.wait([task], timeout=0)
    assert not done
    wire.put(text("late"), disconnect(1000))
    await task


@pytest.mark.usefixtures("_impatient")
async def test_the_wait_for_the_disconnect_event_is_bounded() -> None:
    """A server that never reports the close holds the connection no longer than CLOSE_TIMEOUT."""
    seen = []

    class Closing(WebsocketConsumer):
        async def receive(self, data: str | bytes) -> None:
            await self.close(4000, "enough")

        async def disconnect(self, code: int, reason: str) -> None:
            seen.append((code, reason))

    task = asyncio.create_task(run(Closing.as_asgi(), text("go")))
    assert await task == [ACCEPT, close(4000, "enough")]
    assert seen == [(4000, "enough")]
    assert task.cancelling() == 0


@pytest.mark.usefixtures("_impatient")
async def test_a_close_from_a_spawned_task_is_bounded_too() -> None:
    """The loop that waits for a message is woken when the close it does not know of takes long."""

    class Closing(WebsocketConsumer):
        async def connect(self) -> None:
            self.spawn(self.later())

        async def later(self) -> None:
            await self.close()

    class AcceptedFirst(Closing):
        async def connect(self) -> None:
            await self.accept()
            await super().connect()

    assert await run(AcceptedFirst.as_asgi()) == [ACCEPT, close()]


@pytest.mark.usefixtures("_impatient")
async def test_a_hook_is_not_interrupted_by_the_wait() -> None:
    """A hook that goes on after its close() is left to finish."""
    finished = []

    class Closing(WebsocketConsumer):
        async def receive(self, data: str | bytes) -> None:
            await self.close()
            for _ in range(20):
                await asyncio.sleep(0)
            finished.append(data)

    await run(Closing.as_asgi(), text("go"))
    assert finished == ["go"]
