"""``consumer.py``: the life of a connection, with nothing but a fake receive and send."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, Any

import pytest
from asgiref.sync import sync_to_async
from django.core.exceptions import ImproperlyConfigured, PermissionDenied
from django.core.signals import got_request_exception
from django.http import Http404, HttpRequest

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
from wsconsumer import (
    ConnectionClosed,
    ConnectionState,
    InvalidEvent,
    WebsocketConsumer,
)
from wsconsumer.connection import connection
from wsconsumer.counters import counters

if TYPE_CHECKING:
    from wsconsumer.protocol import Event


class Recorder(WebsocketConsumer):
    """Notes each hook in ``log``, which every test gives it anew."""

    log: list[Any] = []  # noqa: RUF012  # each test gives its own

    async def connect(self) -> None:
        self.log.append("connect")

    async def receive(self, data: str | bytes) -> None:
        self.log.append(data)

    async def disconnect(self, code: int, reason: str) -> None:
        self.log.append((code, reason))


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


class Chat(WebsocketConsumer):
    """Nothing but a name."""


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
        "Cause: OSError('the client has gone')"
    ]
    assert caplog.records[0].levelno == logging.INFO


# Errors in hooks


class Failing(Recorder):
    """Fails in the hook that ``where`` names."""

    where = ""
    error: BaseException = RuntimeError("the secret")

    async def connect(self) -> None:
        await super().connect()
        self._fail("connect")

    async def receive(self, data: str | bytes) -> None:
        await super().receive(data)
        self._fail("receive")

    async def disconnect(self, code: int, reason: str) -> None:
        await super().disconnect(code, reason)
        self._fail("disconnect")

    def _fail(self, hook: str) -> None:
        if hook == self.where:
            raise self.error


@pytest.mark.parametrize(
    ("where", "messages", "log"),
    [
        ("connect", [DENIED], ["connect"]),
        ("receive", [ACCEPT, close(1011)], ["connect", "a", (1011, "")]),
        ("disconnect", [ACCEPT], ["connect", "a", "b", (1001, "")]),
    ],
    ids=["connect", "receive", "disconnect"],
)
async def test_an_error_in_a_hook(
    where: str, messages: list[Any], log: list[Any], caplog: pytest.LogCaptureFixture
) -> None:
    """It is logged with its traceback, signalled and counted; the client gets no text of it."""
    signalled = []

    def receiver(sender: Any, request: Any, **_: Any) -> None:
        signalled.append((sender, request.path))

    got_request_exception.connect(receiver)
    try:
        seen: list[Any] = []
        application = Failing.as_asgi(log=seen, where=where)
        outcome = await run(
            application, text("a"), text("b"), disconnect(), path="/chat/", user="ada"
        )
    finally:
        got_request_exception.disconnect(receiver)

    assert outcome == messages
    assert seen == log
    assert signalled == [(Failing, "/chat/")]
    assert counters["hook_failed"] == 1
    (record,) = caplog.records
    assert record.getMessage() == f"Failing.{where}() failed on /chat/ for a user of type str"
    assert (record.name, record.levelname) == ("wsconsumer.consumer", "ERROR")
    assert record.exc_info is not None
    assert record.exc_info[1] is Failing.error


async def test_an_error_before_accept_is_a_500() -> None:
    """Where the server has denial responses, a failing connect() is a 500 without a body."""
    start, body = await run(Failing.as_asgi(log=[], where="connect"), **DENIAL)
    assert (start["status"], body["body"]) == (500, b"")


async def test_an_error_after_a_rejection() -> None:
    """A connect() that fails after its own reject() is logged, and the rejection stands."""

    class Rejecting(WebsocketConsumer):
        async def connect(self) -> None:
            await self.reject(404)
            raise RuntimeError

    assert await run(Rejecting.as_asgi()) == [DENIED]
    assert counters["hook_failed"] == 1


@pytest.mark.parametrize("error", [PermissionDenied(), Http404()], ids=["403", "404"])
async def test_a_denial_after_accept_is_an_error(error: Exception) -> None:
    """PermissionDenied in receive() can't deny any more: the connection closes with 1011."""
    application = Failing.as_asgi(log=[], where="receive", error=error)
    assert await run(application, text("a"), disconnect()) == [ACCEPT, close(1011)]


async def test_a_sync_receiver_of_the_signal_sees_the_exception() -> None:
    """As with HTTP, sys.exc_info() in a receiver is the exception: error trackers read it there."""
    import sys

    seen = []

    def receiver(**_: Any) -> None:
        seen.append(sys.exc_info()[1])

    got_request_exception.connect(receiver)
    try:
        await run(Failing.as_asgi(log=[], where="receive"), text("a"), disconnect())
    finally:
        got_request_exception.disconnect(receiver)
    assert seen == [Failing.error]


async def test_a_message_with_nothing_in_it(caplog: pytest.LogCaptureFixture) -> None:
    """A receive event without text and bytes is the server's fault: logged, closed with 1011."""
    event = {"type": "websocket.receive", "text": None}
    assert await run(Chat.as_asgi(), event, disconnect()) == [ACCEPT, close(1011)]
    assert caplog.records[0].exc_info is not None
    assert isinstance(caplog.records[0].exc_info[1], InvalidEvent)


async def test_connection_closed_out_of_a_hook_is_no_error(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A hook that a vanished client interrupts is told at INFO, without a traceback."""
    caplog.set_level(logging.INFO, "wsconsumer")
    log: list[Any] = []

    class Sending(Recorder):
        async def receive(self, data: str | bytes) -> None:
            await self.send(data)

    wire = Wire(CONNECT, text("a"), text("b"), disconnect(1006))
    wire.fail_on = "websocket.send"
    await Sending.as_asgi(log=log)(scope(path="/chat/"), wire.receive, wire.send)
    assert log == ["connect", (1006, "")]
    assert caplog.messages == [
        "receive on /chat/: Sending.send() needs an open connection, but it is CLOSING (1006). "
        "Cause: OSError('the client has gone')",
        "Sending: dropped 1 messages that arrived after the close.",
    ]
    assert [record.exc_info for record in caplog.records] == [None, None]


async def test_connection_closed_after_our_close(caplog: pytest.LogCaptureFixture) -> None:
    """A hook that sends after its own close() ends with a line at INFO, too."""
    caplog.set_level(logging.INFO, "wsconsumer")

    class Sending(WebsocketConsumer):
        async def receive(self, data: str | bytes) -> None:
            await self.close(4000)
            await self.send(data)

    assert await run(Sending.as_asgi(), text("a"), disconnect()) == [ACCEPT, close(4000)]
    assert caplog.messages == [
        "receive on /: Sending.send() needs an open connection, but it is CLOSING (4000)."
    ]


async def test_connection_closed_of_another_connection_is_an_error() -> None:
    """ConnectionClosed is only excused on the connection that is closed."""
    error = ConnectionClosed("somebody else's", code=1000)
    application = Failing.as_asgi(log=[], where="receive", error=error)
    assert await run(application, text("a"), disconnect()) == [ACCEPT, close(1011)]


async def test_a_cancellation_that_is_not_ours_is_an_error() -> None:
    """A CancelledError out of what a hook awaited is an error, not the end of the task."""
    log: list[Any] = []
    application = Failing.as_asgi(log=log, where="receive", error=asyncio.CancelledError())
    assert await run(application, text("a"), disconnect()) == [ACCEPT, close(1011)]
    assert log == ["connect", "a", (1011, "")]


# close() and the code that disconnect() gets


async def test_messages_after_close_are_dropped() -> None:
    """After our close frame nothing reaches receive() any more (RFC 6455 section 1.4)."""

    class Closing(Recorder):
        async def receive(self, data: str | bytes) -> None:
            await super().receive(data)
            await self.close(4000, "enough")

    log: list[Any] = []
    await run(Closing.as_asgi(log=log), text("a"), text("b"), disconnect(1000))
    assert log == ["connect", "a", (4000, "enough")]
    assert counters["message_dropped"] == 1


# Cancellation


async def cancelled(application: Any, wire: Wire, after: int) -> asyncio.Task[None]:
    """Run an application, cancel it once it has sent some messages, and wait for its end."""
    task = asyncio.create_task(application(scope(), wire.receive, wire.send))
    await wire.until_sent(after)
    task.cancel()
    await asyncio.wait([task])
    return task


async def test_cancellation_says_goodbye() -> None:
    """A server that cancels gets a close frame 1012 and a disconnect(), then its cancellation."""
    log: list[Any] = []

    class Answering(Wire):
        async def send(self, message: Event) -> None:
            await super().send(message)
            if message["type"] == "websocket.close":
                self.put(text("late"), disconnect(1012))

    wire = Answering(CONNECT)
    task = await cancelled(Recorder.as_asgi(log=log), wire, after=1)
    assert task.cancelled()
    assert wire.sent == [ACCEPT, close(1012)]
    assert log == ["connect", (1012, "")]


async def test_a_stopping_server_may_say_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that never reports the close holds the cancellation no longer than STOP_TIMEOUT."""
    monkeypatch.setattr(connection, "STOP_TIMEOUT", 0)
    log: list[Any] = []
    task = await cancelled(Recorder.as_asgi(log=log), Wire(CONNECT), after=1)
    assert task.cancelled()
    assert log == ["connect", (1012, "")]


async def test_cancellation_in_a_hook(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hook is cancelled where it waits, and disconnect() still runs once."""
    monkeypatch.setattr(connection, "STOP_TIMEOUT", 0)

    class Waiting(Recorder):
        async def receive(self, data: str | bytes) -> None:
            await self.send("in receive")
            try:
                await asyncio.get_running_loop().create_future()
            finally:
                self.log.append("interrupted")

    log: list[Any] = []
    task = await cancelled(Waiting.as_asgi(log=log), Wire(CONNECT, text("a")), after=2)
    assert task.cancelled()
    assert log == ["connect", "interrupted", (1012, "")]


async def test_cancellation_before_accept() -> None:
    """A connection that was not accepted is cancelled without a disconnect()."""
    entered = asyncio.Event()

    class Waiting(Recorder):
        async def connect(self) -> None:
            entered.set()
            await asyncio.get_running_loop().create_future()

    log: list[Any] = []
    wire = Wire(CONNECT)
    task = asyncio.create_task(Waiting.as_asgi(log=log)(scope(), wire.receive, wire.send))
    await entered.wait()
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    assert (log, wire.sent) == ([], [])


async def test_cancellation_while_waiting_for_the_close(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that cancels just when we give up on it gets its cancellation."""
    monkeypatch.setattr(connection, "CLOSE_TIMEOUT", 0)
    monkeypatch.setattr(connection, "STOP_TIMEOUT", 0)
    log: list[Any] = []

    class Closing(Recorder):
        async def receive(self, data: str | bytes) -> None:
            await self.close(4000)
            # Runs right after the timer that gives up, in the same turn of the loop.
            loop = asyncio.get_running_loop()
            task = asyncio.current_task()
            assert task is not None
            loop.call_later(0, task.cancel)

    wire = Wire(CONNECT, text("a"))
    task = asyncio.create_task(Closing.as_asgi(log=log)(scope(), wire.receive, wire.send))
    await asyncio.wait([task])
    assert task.cancelled()
    assert log == ["connect", (4000, "")]


async def test_a_second_cancellation_does_not_skip_disconnect() -> None:
    """disconnect() runs even when the server loses patience with a task that won't end."""
    log: list[Any] = []
    stuck = asyncio.Event()
    release = asyncio.Event()

    class Stubborn(Recorder):
        async def connect(self) -> None:
            await super().connect()
            self.spawn(self.refuse_to_end())

        async def refuse_to_end(self) -> None:
            while not release.is_set():
                with contextlib.suppress(asyncio.CancelledError):
                    await release.wait()
                stuck.set()

    wire = Wire(CONNECT)
    task = asyncio.create_task(Stubborn.as_asgi(log=log)(scope(), wire.receive, wire.send))
    await wire.until_sent(1)
    task.cancel()
    await stuck.wait()
    task.cancel()
    await asyncio.wait([task])
    release.set()
    assert task.cancelled()
    assert log == ["connect", (1012, "")]


async def test_a_server_that_breaks_asgi(monkeypatch: pytest.MonkeyPatch) -> None:
    """An event of no known type ends the connection with 1011, and the server gets the error."""
    monkeypatch.setattr(connection, "STOP_TIMEOUT", 0)
    log: list[Any] = []
    wire = Wire(CONNECT, {"type": "websocket.ping"})
    with pytest.raises(InvalidEvent, match=r"got 'websocket\.ping'"):
        await Recorder.as_asgi(log=log)(scope(), wire.receive, wire.send)
    assert wire.sent == [ACCEPT, close(1011)]
    assert log == ["connect", (1011, "")]


async def test_a_server_that_starts_wrong() -> None:
    """The first event must be websocket.connect."""
    wire = Wire(text("early"))
    with pytest.raises(InvalidEvent, match=r"Expected websocket\.connect first"):
        await Chat.as_asgi()(scope(), wire.receive, wire.send)
    assert wire.sent == []


async def test_a_coroutine_that_is_thrown_away() -> None:
    """Without a loop to run it, nothing more is awaited, and nothing complains."""
    log: list[Any] = []
    wire = Wire(CONNECT)
    coroutine = Recorder.as_asgi(log=log)(scope(), wire.receive, wire.send)
    assert asyncio.iscoroutine(coroutine)
    coroutine.send(None)  # until it waits for a message
    coroutine.close()
    assert (log, wire.sent) == (["connect"], [ACCEPT])


# spawn()


async def test_spawned_tasks_end_before_disconnect() -> None:
    """What was spawned runs beside the hooks, and is cancelled and awaited before disconnect()."""
    log: list[Any] = []

    class Clock(Recorder):
        async def connect(self) -> None:
            self.spawn(self.tick())

        async def tick(self) -> None:
            try:
                await self.send("tick")
                await asyncio.get_running_loop().create_future()
            finally:
                await asyncio.sleep(0)
                self.log.append("stopped")

    wire = Wire(CONNECT)
    task = asyncio.create_task(Clock.as_asgi(log=log)(scope(), wire.receive, wire.send))
    await wire.until_sent(2)
    wire.put(disconnect(1000))
    await task
    assert wire.sent == [ACCEPT, sent("tick")]
    assert log == ["stopped", (1000, "")]


async def test_an_error_in_a_task_spawned_before_accept() -> None:
    """A spawned task that fails while connect() still runs denies the connection with a 500."""

    class Hasty(Recorder):
        async def connect(self) -> None:
            await asyncio.wait([self.spawn(self.fail())])

        async def fail(self) -> None:
            raise RuntimeError("the secret")

    log: list[Any] = []
    start, _ = await run(Hasty.as_asgi(log=log), **DENIAL)
    assert (start["status"], log) == (500, [])


async def test_a_spawned_task_may_be_cancelled() -> None:
    """Cancelling the task that spawn() returns ends it alone."""

    class Fickle(Recorder):
        async def receive(self, data: str | bytes) -> None:
            task = self.spawn(self.wait())
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
            await self.send("still here")

        async def wait(self) -> None:
            await asyncio.get_running_loop().create_future()

    messages = await run(Fickle.as_asgi(log=[]), text("a"), disconnect())
    assert messages == [ACCEPT, sent("still here")]
    assert counters["hook_failed"] == 0


async def test_an_error_in_a_spawned_task(caplog: pytest.LogCaptureFixture) -> None:
    """It is handled like a hook's: logged by the coroutine's name, and closed with 1011."""

    class Ticking(Recorder):
        async def receive(self, data: str | bytes) -> None:
            self.spawn(self.tick())

        async def tick(self) -> None:
            raise RuntimeError("the secret")

    log: list[Any] = []
    wire = Wire(CONNECT, text("a"))
    task = asyncio.create_task(Ticking.as_asgi(log=log)(scope(), wire.receive, wire.send))
    await wire.until_sent(2)
    wire.put(disconnect(1011))
    await task
    assert wire.sent == [ACCEPT, close(1011)]
    assert log == ["connect", (1011, "")]
    assert caplog.messages == ["Ticking.tick() failed on / for no user"]


async def test_spawn_wants_a_coroutine(caplog: pytest.LogCaptureFixture) -> None:
    """The function itself, not called, is refused with how to call it."""

    class Spawning(WebsocketConsumer):
        async def connect(self) -> None:
            self.spawn(self.tick)  # type: ignore[arg-type]  # the mistake in question

        async def tick(self) -> None: ...

    await run(Spawning.as_asgi())
    assert caplog.records[0].exc_info is not None
    assert "expects a coroutine, got <bound method" in str(caplog.records[0].exc_info[1])


async def test_spawn_after_the_end(caplog: pytest.LogCaptureFixture) -> None:
    """In disconnect() it is too late to spawn, and the coroutine is closed, not forgotten."""

    class Spawning(WebsocketConsumer):
        async def disconnect(self, code: int, reason: str) -> None:
            self.spawn(self.tick())

        async def tick(self) -> None: ...

    await run(Spawning.as_asgi(), disconnect())
    assert caplog.records[0].exc_info is not None
    assert str(caplog.records[0].exc_info[1]) == (
        "Spawning.spawn() comes too late: the connection is CLOSED."
    )


async def test_sync_code_in_a_hook_runs_in_a_thread() -> None:
    """sync_to_async works in a hook as everywhere."""
    import threading

    class Threaded(WebsocketConsumer):
        async def receive(self, data: str | bytes) -> None:
            await self.send(await sync_to_async(lambda: threading.current_thread().name)())

    messages = await run(Threaded.as_asgi(), text("a"), disconnect())
    assert messages[1]["text"] != threading.current_thread().name
