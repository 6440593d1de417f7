"""``session.py``: errors in hooks, and what the client, the log and the signal get of them."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied, SynchronousOnlyOperation
from django.core.signals import got_request_exception
from django.http import Http404
from django.utils.functional import SimpleLazyObject

from tests.fakes import ACCEPT, CONNECT, DENIAL, DENIED, Wire, close, disconnect, run, scope, text
from tests.recording import Chat, Failing, Recorder
from wsconsumer import ConnectionClosed, InvalidEvent, WebsocketConsumer
from wsconsumer.counters import counters


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


class Describing:
    """A user whose description asks the database, as a project's ``__str__`` may."""

    def __str__(self) -> str:
        raise SynchronousOnlyOperation("You cannot call this from an async context.")

    __repr__ = __str__


@pytest.mark.parametrize("is_lazy", [False, True], ids=["plain", "lazy"])
async def test_a_user_that_can_not_be_described(
    is_lazy: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """None of the project's code runs to name the user, and the error is not lost."""
    user: Any = SimpleLazyObject(Describing) if is_lazy else Describing()
    application = Failing.as_asgi(log=[], where="receive")
    await run(application, text("a"), disconnect(), path="/chat/", user=user)
    (record,) = caplog.records
    who = "a user that was not loaded" if is_lazy else "a user of type Describing"
    assert record.getMessage() == f"Failing.receive() failed on /chat/ for {who}"


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
        "Cause: OSError: the client has gone",
        "Sending: messages dropped that arrived after the close: 1.",
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


async def test_a_user_is_named_by_the_primary_key(caplog: pytest.LogCaptureFixture) -> None:
    """A model's own words for itself may ask the database."""
    await run(Failing.as_asgi(log=[], where="receive"), text("a"), disconnect(), user=User(pk=7))
    assert caplog.messages == ["Failing.receive() failed on / for user 7"]
