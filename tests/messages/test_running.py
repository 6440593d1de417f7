"""``messages/running.py``: streams and concurrent handlers, and how a client ends them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.messages.vocabulary import Count, Fail, Number, Said, Say
from wsconsumer.counters import counters
from wsconsumer.messages import MessageConsumer, MessageError, on
from wsconsumer.test import Websocket, connect

ENDLESS = 10**9


def number(value: int, ref: Any) -> dict[str, Any]:
    """Return one reply of a stream."""
    return {"type": "number", "value": value, "ref": ref}


class Counter(MessageConsumer):
    """Streams numbers, and notes in ``log`` how each stream ended."""

    log: list[Any] = []  # noqa: RUF012  # set by as_asgi()

    @on
    async def count(self, message: Count) -> AsyncIterator[Number]:
        try:
            for value in range(message.to):
                yield Number(value)
        finally:
            self.log.append(f"end of {message.ref}")

    @on
    async def say(self, message: Say) -> None: ...

    async def disconnect(self, code: int, reason: str) -> None:
        self.log.append("disconnect")


async def until_end(ws: Websocket, ref: Any) -> list[Any]:
    """Return what comes until a stream ends."""
    answers = []
    while True:
        answer = await ws.receive_json()
        answers.append(answer)
        if answer == {"type": "end", "ref": ref}:
            return answers


@pytest.mark.parametrize("to", [0, 1, 40], ids=["nothing", "one", "many"])
async def test_a_stream(to: int) -> None:
    """What a handler yields are replies with the ref, and ``end`` is the last."""
    async with connect(Counter) as ws:
        await ws.send_json({"type": "count", "to": to, "ref": 7})
        expected = [number(value, 7) for value in range(to)]
        assert await until_end(ws, 7) == [*expected, {"type": "end", "ref": 7}]


async def test_a_stream_without_a_ref() -> None:
    """It can't be cancelled, but it streams."""
    async with connect(Counter) as ws:
        await ws.send_json({"type": "count", "to": 1})
        assert await ws.receive_json() == {"type": "number", "value": 0}
        assert await ws.receive_json() == {"type": "end"}


async def test_other_messages_meanwhile() -> None:
    """A stream runs beside the messages that come after it, even if it never waits."""
    log: list[Any] = []
    async with connect(Counter.as_asgi(log=log), allow_unread=True) as ws:
        await ws.send_json({"type": "count", "to": ENDLESS, "ref": 1})
        await ws.send_json({"type": "say", "text": "hi", "ref": 2})
        while await ws.receive_json() != {"type": "ok", "ref": 2}:
            pass
    assert log == ["end of 1", "disconnect"]


async def test_cancel() -> None:
    """``cancel`` ends a stream: its ``finally`` runs, ``end`` is the last that the client gets."""
    log: list[Any] = []
    async with connect(Counter.as_asgi(log=log)) as ws:
        await ws.send_json({"type": "count", "to": ENDLESS, "ref": "a"})
        await ws.receive()
        for _ in range(2):
            await ws.send_json({"type": "cancel", "ref": "a"})
        answers = await until_end(ws, "a")
        assert len(answers) < 100
        assert log == ["end of a"]
        await ws.send_json({"type": "cancel", "ref": "a"})
        await ws.send_json({"type": "cancel"})
        await ws.expect_nothing()
        await ws.send_json({"type": "count", "to": 0, "ref": "a"})
        assert await ws.receive_json() == {"type": "end", "ref": "a"}


@pytest.mark.parametrize("kind", ["count", "fail"], ids=["stream", "concurrent"])
async def test_cancel_before_it_begins(kind: str) -> None:
    """A cancel that comes at once is answered once as well, and no handler runs."""

    class Hasty(MessageConsumer):
        @on
        async def count(self, message: Count) -> AsyncIterator[Number]:
            pytest.fail("it began")
            yield Number(1)

        @on(concurrent=True)
        async def fail(self, message: Fail) -> None:
            pytest.fail("it began")

        async def receive(self, data: str | bytes) -> None:
            await super().receive(data)
            await super().receive('{"type": "cancel", "ref": 1}')

    end = {"type": "end", "ref": 1}
    error = {"type": "error", "code": "cancelled", "ref": 1}
    async with connect(Hasty) as ws:
        await ws.send_json({"type": kind, "ref": 1})
        answer = await ws.receive_json()
        answer.pop("detail", None)
        assert answer == (end if kind == "count" else error)
        await ws.expect_nothing()


class Waiting(MessageConsumer):
    """Handlers that wait until they are cancelled, and what they do then."""

    log: list[Any] = []  # noqa: RUF012  # set by as_asgi()

    async def wait(self, how: str) -> None:
        self.log.append("waits")
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            self.log.append("cancelled")
            if how == "fails":
                raise RuntimeError("the secret") from None
            if how == "tells":
                raise MessageError("undone") from None
            if how == "goes on":
                return
            raise
        finally:
            await asyncio.sleep(0)

    @on
    async def say(self, message: Say) -> AsyncIterator[Said]:
        await self.wait(message.text)
        yield Said("me", "after the cancel")

    @on(concurrent=True)
    async def fail(self, message: Fail) -> Number:
        await self.wait(message.how)
        return Number(1)


STREAM = {"type": "end"}
REQUEST = {"type": "error", "code": "cancelled", "detail": "The client cancelled the request."}
FAILED = {"type": "error", "code": "internal_error", "detail": ""}
UNDONE = {"type": "error", "code": "undone", "detail": ""}


@pytest.mark.parametrize(
    ("kind", "how", "answer"),
    [
        ("stream", "ends", STREAM),
        ("stream", "fails", FAILED),
        ("stream", "tells", UNDONE),
        ("stream", "goes on", STREAM),
        ("concurrent", "ends", REQUEST),
        ("concurrent", "fails", FAILED),
        ("concurrent", "tells", UNDONE),
        ("concurrent", "goes on", {"type": "number", "value": 1}),
    ],
)
async def test_cancel_while_it_waits(kind: str, how: str, answer: dict[str, Any]) -> None:
    """The handler is interrupted where it waits, and whatever it does then there is one answer."""
    log: list[Any] = []
    message = {"stream": {"type": "say", "text": how}, "concurrent": {"type": "fail", "how": how}}
    async with connect(Waiting.as_asgi(log=log), raise_exceptions=False) as ws:
        await ws.send_json({**message[kind], "ref": 1})
        await ws.settle()
        await ws.send_json({"type": "cancel", "ref": 1})
        assert await ws.receive_json() == {**answer, "ref": 1}
        await ws.expect_nothing()
    assert log == ["waits", "cancelled"]
    assert counters["hook_failed"] == (how == "fails")


@pytest.mark.parametrize("message", [{"type": "say", "text": "x"}, {"type": "fail"}])
async def test_the_end_of_the_connection(message: dict[str, Any]) -> None:
    """What still runs is cancelled, and not answered; its ``finally`` runs before disconnect()."""
    log: list[Any] = []

    class Ending(Waiting):
        async def disconnect(self, code: int, reason: str) -> None:
            self.log.append("disconnect")

    async with connect(Ending.as_asgi(log=log)) as ws:
        await ws.send_json({**message, "ref": 1})
        await ws.settle()
    assert log == ["waits", "cancelled", "disconnect"]
    assert counters["hook_failed"] == 0


async def test_the_end_comes_while_a_cancelled_handler_ends() -> None:
    """A client that cancels and leaves at once is let go of."""
    log: list[Any] = []

    class Slow(MessageConsumer):
        @on
        async def count(self, message: Count) -> AsyncIterator[Number]:
            try:
                await asyncio.get_running_loop().create_future()
            except asyncio.CancelledError:
                log.append("cancelled")
                await asyncio.get_running_loop().create_future()
            finally:
                log.append("ended")
            yield Number(1)

    async with connect(Slow) as ws:
        await ws.send_json({"type": "count", "ref": 1})
        await ws.settle()
        await ws.send_json({"type": "cancel", "ref": 1})
        await ws.settle()
    assert log == ["cancelled", "ended"]


async def test_a_stream_that_yields_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """``None`` is no message, and ``ok`` would be a second answer: it is the handler's fault."""

    class Wrong(MessageConsumer):
        @on
        async def count(self, message: Count) -> AsyncIterator[Number]:
            yield None  # type: ignore[misc]  # the mistake in question

    async with connect(Wrong, raise_exceptions=False) as ws:
        await ws.send_json({"type": "count", "ref": 1})
        error = {"type": "error", "code": "internal_error", "detail": "", "ref": 1}
        assert await ws.receive_json() == error
    assert caplog.records[0].exc_info is not None
    text = "Wrong.count() must answer with Number, as it is annotated, got NoneType."
    assert str(caplog.records[0].exc_info[1]) == text


async def test_a_stream_that_fails() -> None:
    """Its last answer is the error, and no ``end`` follows."""

    class Failing(MessageConsumer):
        @on
        async def count(self, message: Count) -> AsyncIterator[Number]:
            yield Number(1)
            if message.to:
                raise MessageError("full")
            raise RuntimeError("the secret")

    async with connect(Failing, raise_exceptions=False) as ws:
        for to, code in ((1, "full"), (0, "internal_error")):
            await ws.send_json({"type": "count", "to": to, "ref": 1})
            assert await ws.receive_json() == number(1, 1)
            error = {"type": "error", "code": code, "detail": "", "ref": 1}
            assert await ws.receive_json() == error
            await ws.expect_nothing()


async def test_a_stream_waits_for_its_client() -> None:
    """No more is asked of the handler than the client takes."""
    asked: list[int] = []

    class Eager(MessageConsumer):
        @on
        async def count(self, message: Count) -> AsyncIterator[Number]:
            for value in range(message.to):
                asked.append(value)
                yield Number(value)

    async with connect(Eager) as ws:
        ws.pause()
        await ws.send_json({"type": "count", "to": 3, "ref": 1})
        await ws.settle()
        assert asked == [0]
        await ws.send_json({"type": "cancel", "ref": 1})
        await ws.settle()
        ws.resume()
        assert await until_end(ws, 1) == [number(0, 1), {"type": "end", "ref": 1}]
        assert asked == [0]


async def test_concurrent_handlers_run_beside_each_other() -> None:
    """The reply that is ready first comes first."""
    ready = asyncio.Event()

    class Concurrent(MessageConsumer):
        @on(concurrent=True)
        async def count(self, message: Count) -> Number:
            if message.to == 1:
                await ready.wait()
            return Number(message.to)

        @on
        async def say(self, message: Say) -> None:
            ready.set()

    async with connect(Concurrent) as ws:
        await ws.send_json({"type": "count", "to": 1, "ref": 1})
        await ws.send_json({"type": "count", "to": 2, "ref": 2})
        assert await ws.receive_json() == number(2, 2)
        await ws.send_json({"type": "say", "text": "go"})
        assert await ws.receive_json() == number(1, 1)


async def test_a_concurrent_handler_that_says_nothing() -> None:
    """With a ref it is ``ok``, without one there is no answer."""

    class Quiet(MessageConsumer):
        @on(concurrent=True)
        async def say(self, message: Say) -> None: ...

    async with connect(Quiet) as ws:
        await ws.send_json({"type": "say", "text": "x"})
        await ws.expect_nothing()
        await ws.send_json({"type": "say", "text": "x", "ref": 1})
        assert await ws.receive_json() == {"type": "ok", "ref": 1}


async def test_how_many_may_run() -> None:
    """Beyond ``concurrent_limit`` a message is refused, streams and concurrent ones together."""
    log: list[Any] = []

    class Bounded(Waiting):
        concurrent_limit = 2

    async with connect(Bounded.as_asgi(log=log)) as ws:
        await ws.send_json({"type": "say", "text": "x", "ref": 1})
        await ws.send_json({"type": "fail"})
        for ref in (3, 4):
            await ws.send_json({"type": "fail", "ref": ref})
            assert await ws.receive_json() == {
                "type": "error",
                "code": "too_many_requests",
                "detail": "Too many requests of this connection are being answered.",
                "ref": ref,
            }
        await ws.send_json({"type": "cancel", "ref": 1})
        assert await ws.receive_json() == {"type": "end", "ref": 1}
        await ws.send_json({"type": "fail", "ref": 5})
        await ws.expect_nothing()


async def test_a_ref_that_is_in_use() -> None:
    """Which of two a cancel would mean can't be told, so the second is refused."""
    log: list[Any] = []
    async with connect(Waiting.as_asgi(log=log)) as ws:
        await ws.send_json({"type": "say", "text": "ends", "ref": 1})
        await ws.send_json({"type": "fail", "ref": 1})
        assert (await ws.receive_json())["code"] == "ref_in_use"
        await ws.send_json({"type": "cancel", "ref": 1})
        assert await ws.receive_json() == {"type": "end", "ref": 1}


async def test_the_name_of_the_task() -> None:
    """The log of what is left behind, and a debugger, call the task by its handler."""
    async with connect(Waiting.as_asgi(log=[])) as ws:
        await ws.send_json({"type": "fail", "how": "ends"})
        await ws.settle()
        assert "fail" in {task.get_name() for task in asyncio.all_tasks()}
