"""``connection/connection.py``: ``close()``, and the wait for the disconnect event after it."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

import pytest

from tests.connection.deciding import deciding, error_in_connect
from tests.fakes import ACCEPT, CONNECT, DENIED, Wire, close, disconnect, run, scope, text
from wsconsumer import ConnectionClosed, InvalidState, WebsocketConsumer
from wsconsumer.test import advance

if TYPE_CHECKING:
    from wsconsumer.protocol import Event


# close()


async def test_close_sends_code_and_reason_once() -> None:
    """close() is idempotent: the first code and reason count."""

    async def decide(consumer: Any) -> None:
        await consumer.accept()
        await consumer.close(4000, "enough")
        await consumer.close(4001)

    messages = await run(deciding(decide).as_asgi(), disconnect(4000))
    assert messages == [ACCEPT, close(4000, "enough")]


async def test_two_closes_at_once() -> None:
    """While the server is still sending the first close, a second one does nothing either."""
    seen = []

    class Slow(Wire):
        async def send(self, message: Event) -> None:
            await asyncio.sleep(0)
            await super().send(message)

    class Closing(WebsocketConsumer):
        async def receive(self, data: str | bytes) -> None:
            await asyncio.gather(self.close(4000, "first"), self.close(4001, "second"))

        async def disconnect(self, code: int, reason: str) -> None:
            seen.append((code, reason))

    wire = Slow(CONNECT, text("go"), disconnect(4000))
    await Closing.as_asgi()(scope(), wire.receive, wire.send)
    assert wire.sent == [ACCEPT, close(4000, "first")]
    assert seen == [(4000, "first")]


async def test_close_after_the_client_has_gone() -> None:
    """In ``disconnect()`` there is nothing left to close, and a close says nothing."""
    seen = []

    class Closing(WebsocketConsumer):
        async def disconnect(self, code: int, reason: str) -> None:
            await self.close(4000, "goodbye")
            seen.append((code, reason))

    assert await run(Closing.as_asgi(), disconnect(1001, "away")) == [ACCEPT]
    assert seen == [(1001, "away")]


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


@pytest.mark.parametrize("code", [1000, 3000, 4000, 4999])
async def test_only_codes_that_servers_refuse_are_replaced(code: int) -> None:
    """Any server can send 1000 and 3000-4999; if it fails, the client has gone, and that is all."""
    tried = []

    class FailsOnce(Wire):
        async def send(self, message: Event) -> None:
            if message["type"] == "websocket.close":
                tried.append(message["code"])
                if len(tried) == 1:
                    raise OSError("the client has gone")
            await super().send(message)

    async def decide(consumer: Any) -> None:
        await consumer.accept()
        await consumer.close(code)

    wire = FailsOnce(CONNECT, disconnect())
    await deciding(decide).as_asgi()(scope(), wire.receive, wire.send)
    assert (tried, wire.sent) == ([code], [ACCEPT])


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


async def test_the_wait_for_the_disconnect_event_is_bounded() -> None:
    """A server that never reports the close holds the connection for ten seconds, no longer."""
    seen = []

    class Closing(WebsocketConsumer):
        async def receive(self, data: str | bytes) -> None:
            await self.close(4000, "enough")

        async def disconnect(self, code: int, reason: str) -> None:
            seen.append((code, reason))

    wire = Wire(CONNECT, text("go"))
    task = asyncio.create_task(Closing.as_asgi()(scope(), wire.receive, wire.send))
    await wire.until_sent(2)
    await advance(9)
    assert seen == []
    await advance(2)
    await task
    assert wire.sent == [ACCEPT, close(4000, "enough")]
    assert seen == [(4000, "enough")]
    assert task.cancelling() == 0


async def test_a_close_from_a_spawned_task_is_bounded_too() -> None:
    """The loop that waits for a message is woken when the close it does not know of takes long."""

    class Closing(WebsocketConsumer):
        async def connect(self) -> None:
            await self.accept()
            self.spawn(self.later())

        async def later(self) -> None:
            await self.close()

    wire = Wire(CONNECT)
    task = asyncio.create_task(Closing.as_asgi()(scope(), wire.receive, wire.send))
    await wire.until_sent(2)
    await advance(11)
    await task
    assert wire.sent == [ACCEPT, close()]


async def test_a_hook_is_not_interrupted_by_the_wait() -> None:
    """A hook that goes on after its close() is left to finish in the same ten seconds."""
    finished = []
    go_on = asyncio.Event()

    class Closing(WebsocketConsumer):
        async def receive(self, data: str | bytes) -> None:
            await self.close()
            await go_on.wait()
            finished.append(data)

    wire = Wire(CONNECT, text("go"))
    task = asyncio.create_task(Closing.as_asgi()(scope(), wire.receive, wire.send))
    await wire.until_sent(2)
    await advance(9)
    go_on.set()
    await advance(2)
    await task
    assert finished == ["go"]
