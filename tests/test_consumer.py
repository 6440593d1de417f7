"""``consumer.py``: the life of a connection, with nothing but a fake receive and send."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.core.exceptions import ImproperlyConfigured, PermissionDenied
from django.http import Http404, HttpRequest

from tests.fakes import ACCEPT, CONNECT, DENIAL, DENIED, Wire, disconnect, run, scope, sent, text
from tests.recording import Chat, Recorder
from wsconsumer import ConnectionClosed, ConnectionState, WebsocketConsumer
from wsconsumer.counters import counters

# The contract in one look


async def test_a_consumer_is_tested_with_a_list_and_a_deque() -> None:
    """Two plain coroutines are all that a unit test needs."""

    class PingConsumer(WebsocketConsumer):
        async def receive(self, data: str | bytes) -> None:
            if data == "ping":
                await self.send("pong!")

    assert await run(PingConsumer.as_asgi(), text("ping"), text("pong"), disconnect()) == [
        ACCEPT,
        sent("pong!"),
    ]


async def test_the_scope_may_be_bare() -> None:
    """A scope with nothing but its type is enough."""
    wire = Wire(CONNECT, disconnect())
    await WebsocketConsumer.as_asgi()({"type": "websocket"}, wire.receive, wire.send)
    assert wire.sent == [ACCEPT]


async def test_hooks_in_order() -> None:
    """connect, each message in order, then disconnect with code and reason."""
    log: list[Any] = []
    await run(Recorder.as_asgi(log=log), text("a"), text("b"), disconnect(1000, "bye"))
    assert log == ["connect", "a", "b", (1000, "bye")]


async def test_one_message_at_a_time() -> None:
    """The next message is not even read while receive() has not returned."""
    release = asyncio.Event()

    class Slow(Recorder):
        async def receive(self, data: str | bytes) -> None:
            await super().receive(data)
            await self.send(data)
            await release.wait()

    log: list[Any] = []
    wire = Wire(CONNECT, text("a"), text("b"), disconnect())
    task = asyncio.create_task(Slow.as_asgi(log=log)(scope(), wire.receive, wire.send))
    await wire.until_sent(2)
    assert (log, len(wire.inbox)) == (["connect", "a"], 2)
    release.set()
    await task
    assert log == ["connect", "a", "b", (1001, "")]


async def test_each_connection_has_an_instance() -> None:
    """initkwargs are set on a new instance for each connection, and never on the class."""
    instances = []

    class Tagged(WebsocketConsumer):
        tag = "none"

        async def connect(self) -> None:
            instances.append(self)

    application = Tagged.as_asgi(tag="mine")
    await run(application, disconnect())
    await run(application, disconnect())
    assert [consumer.tag for consumer in instances] == ["mine", "mine"]
    assert instances[0] is not instances[1]
    assert Tagged.tag == "none"


async def test_facts() -> None:
    """Request, scope, args, kwargs, user, state and subprotocol can be read in every hook."""
    facts: dict[str, Any] = {}

    class Facts(WebsocketConsumer):
        async def connect(self) -> None:
            facts["before"] = (self.state, self.subprotocol)
            await self.accept("chat")

        async def receive(self, data: str | bytes) -> None:
            facts["open"] = (self.state, self.subprotocol)

        async def disconnect(self, code: int, reason: str) -> None:
            facts["after"] = self.state
            facts["consumer"] = self

    await run(
        Facts.as_asgi(),
        text("x"),
        disconnect(),
        path="/room/lobby/",
        query_string=b"a=1",
        subprotocols=["chat"],
        user="ada",
        session={"seen": 1},
        url_route={"args": (1,), "kwargs": {"room": "lobby"}},
    )
    consumer = facts["consumer"]
    assert facts["before"] == (ConnectionState.CONNECTING, None)
    assert facts["open"] == (ConnectionState.OPEN, "chat")
    assert facts["after"] is ConnectionState.CLOSED
    assert (consumer.args, consumer.kwargs) == ((1,), {"room": "lobby"})
    assert consumer.scope["path"] == "/room/lobby/"
    assert isinstance(consumer.request, HttpRequest)
    assert consumer.request.GET.dict() == {"a": "1"}
    assert str(consumer.user) == str(consumer.request.user) == "ada"
    assert consumer.request.session == {"seen": 1}


async def test_user_without_authentication() -> None:
    """Where nothing provides a user, reading it says what to add."""

    class Asking(WebsocketConsumer):
        async def connect(self) -> None:
            with pytest.raises(ImproperlyConfigured, match=r"Asking\.user needs .*Middleware"):
                self.user  # noqa: B018  # reading it is the point

    await run(Asking.as_asgi(), disconnect())
    assert counters["hook_failed"] == 0


async def test_setup_without_super() -> None:
    """A setup() that forgets super() is named at once."""

    class Forgetful(WebsocketConsumer):
        def setup(self, request: HttpRequest, *args: Any, **kwargs: Any) -> None:
            self.room = "lobby"

    with pytest.raises(ImproperlyConfigured, match=r"Forgetful has no request.*super\(\)"):
        await run(Forgetful.as_asgi(), disconnect())


async def test_as_asgi_serves_only_websockets() -> None:
    """Another scope type is an error that names it."""
    with pytest.raises(ValueError, match=r"Chat\.as_asgi\(\) serves websocket .* got 'http'"):
        await run(Chat.as_asgi(), type="http")


# The decision


async def test_connect_decides_by_returning() -> None:
    """A connect() that returns without a decision accepts, and so does one left as it is."""
    assert await run(Recorder.as_asgi(log=[]), disconnect()) == [ACCEPT]
    assert await run(Chat.as_asgi(), disconnect()) == [ACCEPT]


@pytest.mark.parametrize(
    ("error", "status"), [(PermissionDenied("no"), 403), (Http404("none"), 404)], ids=["403", "404"]
)
async def test_connect_denies_by_raising(
    error: Exception, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    """PermissionDenied and Http404 deny with their status, quietly and without a disconnect()."""

    class Denying(Recorder):
        async def connect(self) -> None:
            raise error

    log: list[Any] = []
    start, body = await run(Denying.as_asgi(log=log), **DENIAL)
    assert (start["status"], body["body"]) == (status, b"")
    assert log == []
    assert caplog.messages == []


async def test_reject_ends_without_disconnect() -> None:
    """A connection that was not accepted has no disconnect()."""

    class Rejecting(Recorder):
        async def connect(self) -> None:
            await self.reject()

    log: list[Any] = []
    assert await run(Rejecting.as_asgi(log=log)) == [DENIED]
    assert log == []


async def test_a_client_that_leaves_before_connect() -> None:
    """A disconnect event in place of the connect event runs no hook at all."""
    log: list[Any] = []
    wire = Wire(disconnect())
    await Recorder.as_asgi(log=log)(scope(), wire.receive, wire.send)
    assert (log, wire.sent) == ([], [])


async def test_a_client_that_leaves_before_accept(caplog: pytest.LogCaptureFixture) -> None:
    """An accept that the server can't send any more ends quietly, without a disconnect()."""
    caplog.set_level(logging.INFO, "wsconsumer")
    log: list[Any] = []
    wire = Wire(CONNECT)
    wire.fail_on = "websocket.accept"
    await Recorder.as_asgi(log=log)(scope(), wire.receive, wire.send)
    assert log == ["connect"]
    assert caplog.messages == [
        "connect on /: Recorder.accept() needs an open connection, but it is CLOSED (1006). "
        "Cause: OSError: the client has gone"
    ]
    assert caplog.records[0].levelno == logging.INFO


async def test_sync_code_in_a_hook_runs_in_a_thread() -> None:
    """sync_to_async works in a hook as everywhere."""
    import threading

    class Threaded(WebsocketConsumer):
        async def receive(self, data: str | bytes) -> None:
            await self.send(await sync_to_async(lambda: threading.current_thread().name)())

    messages = await run(Threaded.as_asgi(), text("a"), disconnect())
    assert messages[1]["text"] != threading.current_thread().name


async def test_an_error_of_ours_from_below_send() -> None:
    """What is wrapped around us may be gone itself, and say so in our words: they are passed on."""
    raised: list[ConnectionClosed] = []

    class Telling(WebsocketConsumer):
        async def connect(self) -> None:
            await self.accept()
            with pytest.raises(ConnectionClosed) as caught:
                await self.send({"a": 1})
            raised.append(caught.value)

    class Gone(Wire):
        async def send(self, message: Any) -> None:
            if message["type"] == "websocket.send":
                raise ConnectionClosed("gone", code=1006)
            await super().send(message)

    wire = Gone(CONNECT, disconnect())
    await Telling.as_asgi()(scope(), wire.receive, wire.send)
    assert [str(error) for error in raised] == ["gone"]
