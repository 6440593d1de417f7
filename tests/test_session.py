"""``session.py``: the names that are free, and what becomes of what hooks raise."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

import pytest
from django.core.exceptions import PermissionDenied
from django.http import Http404
from django.test import override_settings

from tests.exceptions import ERRORS
from tests.fakes import ACCEPT, CONNECT, DENIAL, Wire, close, disconnect, run, scope, sent, text
from tests.recording import Failing, Recorder
from wsconsumer import ConnectionClosed, InvalidState, WebsocketConsumer, broadcast, spawned
from wsconsumer.counters import counters

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine


async def test_every_other_name_is_the_users() -> None:
    """A subclass may use any name but ``_wsconsumer``, such as those that were ours once."""
    names = [
        "_begin", "_cancellations", "_closed_by", "_connect", "_connection", "_consumer",
        "_contain", "_deadline", "_decide", "_drop", "_end", "_fail", "_failed", "_finish",
        "_guard", "_hear", "_hub", "_instance", "_is_ending", "_limits", "_listen", "_live",
        "_loop", "_member", "_monitor", "_outbox", "_session", "_spawned", "_stop", "_stopped",
        "_task", "channel_name", "connection", "dispatcher", "handling", "member", "run",
        "serve", "session",
    ]  # fmt: skip

    class Mine(Recorder):
        async def connect(self) -> None:
            for name in names:
                setattr(self, name, "mine")
            await self.join("room")
            self.spawn(asyncio.sleep(0))

        async def receive(self, data: str | bytes) -> None:
            self.log.append(data)
            await self.broadcast("room", data)
            await self.send("sent")
            await self.leave("room")

        def _listen(self) -> None:
            raise AssertionError

        _end = _live = _decide = _instance = _run = _listen

    log: list[Any] = []
    messages = await run(Mine.as_asgi(log=log), text("a"), disconnect(1001))
    assert messages == [ACCEPT, sent("a"), sent("sent")]
    assert log == ["a", (1001, "")]


async def test_a_consumer_without_a_connection() -> None:
    """In __init__() and setup() the verbs and facts of a connection say that there is none yet."""
    errors: list[str] = []

    class Early(WebsocketConsumer):
        def setup(self, *args: Any, **kwargs: Any) -> None:
            super().setup(*args, **kwargs)
            for ask in (lambda: self.state, lambda: self.subprotocol):
                with pytest.raises(InvalidState) as caught:
                    ask()
                errors.append(str(caught.value))

    await run(Early.as_asgi(), disconnect())
    assert len(errors) == 2
    assert all(error.startswith("This consumer has no connection yet.") for error in errors)


# Exceptions of every kind


def name(error: BaseException) -> str:
    """Name a parameter."""
    return type(error).__name__


@pytest.mark.parametrize("error", ERRORS, ids=name)
@pytest.mark.parametrize("where", ["connect", "receive", "disconnect"])
async def test_any_exception_in_a_hook(where: str, error: BaseException) -> None:
    """It is counted as a failure, ends this connection alone, and never reaches the server."""
    log: list[Any] = []
    application = Failing.as_asgi(log=log, where=where, error=error)
    messages = await run(application, text("a"), disconnect(1001), **DENIAL)
    assert counters["hook_failed"] == 1
    if where == "connect":
        assert messages[0]["status"] == 500
    else:
        assert log[-1][0] == (1011 if where == "receive" else 1001)


@pytest.mark.parametrize("error", ERRORS, ids=name)
async def test_any_exception_in_a_spawned_task(error: BaseException) -> None:
    """It closes the connection with 1011, and disconnect() runs."""

    class Spawning(Recorder):
        async def connect(self) -> None:
            await self.accept()
            self.spawn(self.fail())

        async def fail(self) -> None:
            raise error

    wire = Wire(CONNECT)
    log: list[Any] = []
    task = asyncio.create_task(Spawning.as_asgi(log=log)(scope(), wire.receive, wire.send))
    await wire.until_sent(2)
    wire.put(disconnect(1011))
    await task
    assert wire.sent == [ACCEPT, close(1011)]
    assert log == [(1011, "")]
    assert counters["hook_failed"] == 1


@pytest.mark.parametrize("error", ERRORS, ids=name)
async def test_any_exception_in_group_message(error: BaseException) -> None:
    """It closes the connection with 1011, and disconnect() runs."""

    class Hearing(Recorder):
        async def connect(self) -> None:
            await self.accept()
            await self.join("room")
            await self.broadcast("room", "x")

        async def group_message(self, group: str, data: Any) -> None:
            raise error

    wire = Wire(CONNECT)
    log: list[Any] = []
    task = asyncio.create_task(Hearing.as_asgi(log=log)(scope(), wire.receive, wire.send))
    await wire.until_sent(2)
    wire.put(disconnect(1011))
    await task
    assert wire.sent == [ACCEPT, close(1011)]
    assert log == [(1011, "")]
    assert counters["hook_failed"] == 1


async def test_a_keyboard_interrupt_is_the_servers() -> None:
    """Ctrl-C in a hook still stops the process; disconnect() runs before."""
    log: list[Any] = []
    wire = Wire(CONNECT, text("a"), disconnect())
    application = Failing.as_asgi(log=log, where="receive", error=KeyboardInterrupt())
    coroutine = application(scope(), wire.receive, wire.send)
    with pytest.raises(KeyboardInterrupt):
        await coroutine
    assert log == ["connect", "a", (1011, "")]


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ExceptionGroup("", [PermissionDenied(), PermissionDenied()]), 403),
        (ExceptionGroup("", [ExceptionGroup("", [Http404()])]), 404),
        (ExceptionGroup("", [PermissionDenied(), Http404()]), 500),
        (ExceptionGroup("", [PermissionDenied(), ValueError()]), 500),
    ],
    ids=["403", "nested-404", "mixed", "with-an-error"],
)
async def test_a_group_of_denials(error: Exception, status: int) -> None:
    """A task group in connect() whose tasks deny is a denial, if they agree."""
    start, _ = await run(Failing.as_asgi(log=[], where="connect", error=error), **DENIAL)
    assert start["status"] == status
    assert counters["hook_failed"] == (status == 500)


async def test_a_task_group_whose_client_leaves(caplog: pytest.LogCaptureFixture) -> None:
    """``ConnectionClosed`` out of a ``TaskGroup`` is no error, as it is none by itself."""
    caplog.set_level(logging.INFO, "wsconsumer")

    class Grouping(Recorder):
        async def receive(self, data: str | bytes) -> None:
            async with asyncio.TaskGroup() as group:
                group.create_task(self.send("a"))
                group.create_task(self.send("b"))

    wire = Wire(CONNECT, text("go"), disconnect(1006))
    wire.fail_on = "websocket.send"
    log: list[Any] = []
    await Grouping.as_asgi(log=log)(scope(), wire.receive, wire.send)
    assert log == ["connect", (1006, "")]
    assert [record.levelname for record in caplog.records] == ["INFO"]
    assert counters["hook_failed"] == 0


async def test_connection_closed_of_another_connection_in_connect() -> None:
    """The handshake is answered, with a 500."""
    error = ConnectionClosed("another one", code=1001)
    start, _ = await run(Failing.as_asgi(log=[], where="connect", error=error), **DENIAL)
    assert start["status"] == 500
    assert counters["hook_failed"] == 1


# The end


async def test_send_in_disconnect_does_nothing() -> None:
    """There is nobody to hear it, and what comes after it still runs."""

    class Farewell(Recorder):
        async def disconnect(self, code: int, reason: str) -> None:
            await self.send("goodbye")
            await super().disconnect(code, reason)

    log: list[Any] = []
    assert await run(Farewell.as_asgi(log=log), disconnect(1001)) == [ACCEPT]
    assert log == ["connect", (1001, "")]
    assert counters["hook_failed"] == 0


async def test_a_spawned_task_that_swallows_its_cancellation(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is named in the log and left behind: disconnect() runs, and the server can stop."""
    monkeypatch.setattr(spawned, "CANCEL_TIMEOUT", 0.01)
    tasks: list[asyncio.Task[None]] = []
    started, over = asyncio.Event(), asyncio.Event()

    class Stubborn(Recorder):
        async def connect(self) -> None:
            tasks.append(self.spawn(self.stay()))
            await started.wait()

        async def stay(self) -> None:
            started.set()
            while not over.is_set():
                try:
                    await over.wait()
                except asyncio.CancelledError:
                    continue
            raise ValueError("too late for anybody")

    log: list[Any] = []
    await run(Stubborn.as_asgi(log=log), text("a"), disconnect(1001))
    assert log == ["a", (1001, "")]
    assert caplog.messages == [
        "Stubborn: the spawned task 'stay' did not end within 0 seconds of its cancellation; it is "
        "left behind."
    ]
    over.set()
    await asyncio.wait(tasks)
    assert counters["hook_failed"] == 1  # what it raises afterwards is logged as well


async def test_a_spawned_task_that_never_began() -> None:
    """Its coroutine is closed, without Python's warning that it was never awaited."""

    class Spawning(WebsocketConsumer):
        async def connect(self) -> None:
            self.spawn(asyncio.sleep(0))

    await run(Spawning.as_asgi(), disconnect())  # warnings are errors


# Verbs from elsewhere


class Echo(WebsocketConsumer):
    """Says what it hears."""

    async def receive(self, data: str | bytes) -> None:
        await self.send(data)


VERBS: dict[str, Callable[[WebsocketConsumer], Coroutine[Any, Any, None]]] = {
    "accept": lambda consumer: consumer.accept(),
    "reject": lambda consumer: consumer.reject(),
    "send": lambda consumer: consumer.send("x"),
    "close": lambda consumer: consumer.close(),
    "join": lambda consumer: consumer.join("room"),
    "leave": lambda consumer: consumer.leave("room"),
    "broadcast": lambda consumer: consumer.broadcast("room", "x"),
}


@pytest.mark.parametrize("verb", VERBS)
async def test_a_verb_from_another_event_loop(verb: str) -> None:
    """It says at once what to do instead, and does nothing."""
    errors: list[str] = []

    class Threaded(WebsocketConsumer):
        async def receive(self, data: str | bytes) -> None:
            def work() -> None:
                with pytest.raises(InvalidState) as caught:
                    asyncio.run(VERBS[verb](self))
                errors.append(str(caught.value))

            await asyncio.to_thread(work)

    with override_settings(DEBUG=True):
        assert await run(Threaded.as_asgi(), text("go"), disconnect()) == [ACCEPT]
    (error,) = errors
    assert error.startswith(f"Threaded.{verb}() belongs to the event loop of its connection")
    for remedy in ("broadcast()", "sync_to_async()", "run_coroutine_threadsafe"):
        assert remedy in error


async def test_a_send_from_another_event_loop_that_fails() -> None:
    """It is not taken for a client that has gone: the connection stays open for its own hooks."""

    class Threaded(WebsocketConsumer):
        async def receive(self, data: str | bytes) -> None:
            def work() -> None:
                with pytest.raises(InvalidState, match=r"send\(\) belongs to the event loop"):
                    asyncio.run(self.send("x"))

            await asyncio.to_thread(work)
            assert self.state.name == "OPEN"

    wire = Wire(CONNECT, text("go"), disconnect())
    wire.fail_on = "websocket.send"
    await Threaded.as_asgi()(scope(), wire.receive, wire.send)
    assert counters["hook_failed"] == 0


async def test_a_send_in_development() -> None:
    """With DEBUG a message goes out all the same, also behind what waits for the client."""
    with override_settings(DEBUG=True):
        application = Echo.as_asgi()
        assert await run(application, text("a"), disconnect()) == [ACCEPT, sent("a")]


async def test_spawn_from_a_thread_without_a_loop() -> None:
    """It raises in the same words, and the coroutine is closed."""

    class Threaded(WebsocketConsumer):
        async def receive(self, data: str | bytes) -> None:
            await asyncio.to_thread(self.work)

        def work(self) -> None:
            with pytest.raises(InvalidState, match=r"spawn\(\) belongs to the event loop"):
                self.spawn(asyncio.sleep(0))

    await run(Threaded.as_asgi(), text("go"), disconnect())
    assert counters["hook_failed"] == 0


async def test_what_the_error_recommends_works() -> None:
    """A thread reaches the client with broadcast(), or hands a coroutine to the right loop."""

    class Threaded(WebsocketConsumer):
        async def receive(self, data: str | bytes) -> None:
            loop = asyncio.get_running_loop()
            await self.join("room")

            def work() -> None:
                broadcast("room", "a")
                asyncio.run_coroutine_threadsafe(self.send("b"), loop).result()

            await asyncio.to_thread(work)

    messages = await run(Threaded.as_asgi(), text("go"), disconnect())
    assert messages == [ACCEPT, sent("a"), sent("b")]
