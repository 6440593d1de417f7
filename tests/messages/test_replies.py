"""``messages/session.py`` and ``errors.py``: what a message with a ``ref`` is answered with."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Any

import pytest
from django import forms
from django.contrib.sessions.exceptions import SessionInterrupted
from django.core.exceptions import PermissionDenied, ValidationError
from django.http import Http404
from django.utils.translation import gettext_lazy

from tests.fakes import (
    ACCEPT,
    CONNECT,
    KnownServer,
    Wire,
    close,
    disconnect,
    scope,
    sent,
    text,
)
from tests.messages.vocabulary import Fail, Kick, Number, Said, Say
from wsconsumer import ConnectionState, abroadcast
from wsconsumer.counters import counters
from wsconsumer.messages import Error, Message, MessageConsumer, MessageError, on
from wsconsumer.test import connect

if TYPE_CHECKING:
    from collections.abc import Callable


class Chat(MessageConsumer):
    """Answers in every way."""

    log: list[Any]

    @on
    async def say(self, message: Say) -> Said | Error | None:
        if message.text == "quiet":
            return None
        if message.text == "error":
            return Error("rude", "Not here")
        return Said("me", message.text.upper() if message.loud else message.text)


@pytest.mark.parametrize(
    ("more", "answer"),
    [
        ({"text": "hi"}, {"type": "said", "author": "me", "text": "hi"}),
        ({"text": "hi", "ref": 7}, {"type": "said", "author": "me", "text": "hi", "ref": 7}),
        ({"text": "hi", "ref": 0}, {"type": "said", "author": "me", "text": "hi", "ref": 0}),
        ({"text": "hi", "ref": ""}, {"type": "said", "author": "me", "text": "hi", "ref": ""}),
        ({"text": "quiet", "ref": -1}, {"type": "ok", "ref": -1}),
        (
            {"text": "error", "ref": 2**63 - 1},
            {"type": "error", "code": "rude", "detail": "Not here", "ref": 2**63 - 1},
        ),
        ({"text": "hi", "new": [1]}, {"type": "said", "author": "me", "text": "hi"}),
    ],
    ids=["no ref", "ref", "zero", "empty", "ok", "an error of its own", "unknown field"],
)
async def test_the_reply(more: dict[str, Any], answer: dict[str, Any]) -> None:
    """What a handler returns goes back with the ref of the message."""
    async with connect(Chat) as ws:
        await ws.send_json({"type": "say", **more})
        assert await ws.receive_json() == answer


async def test_nothing_to_say_and_nobody_asks() -> None:
    """A message without a ref whose handler returns nothing is not answered."""
    async with connect(Chat) as ws:
        await ws.send_json({"type": "say", "text": "quiet"})
        await ws.expect_nothing()


async def test_a_reply_that_many_share() -> None:
    """A message that a handler returns again and again is not changed by it."""
    shared = Said("a", "b")

    class Consumer(MessageConsumer):
        @on
        async def say(self, message: Say) -> Said:
            return shared

        @on
        async def said(self, message: Said) -> Said:
            message.ref = "changed by the handler"
            return message

    async with connect(Consumer) as ws:
        await ws.send_json({"type": "say", "text": "x", "ref": 1})
        assert (await ws.receive_json())["ref"] == 1
        await ws.send_json({"type": "say", "text": "x"})
        assert "ref" not in await ws.receive_json()
        await ws.send_json({"type": "said", "author": "a", "text": "b", "ref": 2})
        assert (await ws.receive_json())["ref"] == 2


async def test_a_message_that_is_passed_on() -> None:
    """A broadcast has no ref, or it would answer a request of somebody else's."""

    class Relay(MessageConsumer):
        async def connect(self) -> None:
            await self.join("all")

        @on
        async def say(self, message: Say) -> None:
            await self.broadcast("all", message)
            assert message.ref == 7  # still that of the request

    async with connect(Relay) as one, connect(Relay) as other:
        await one.send_json({"type": "say", "text": "hi", "ref": 7})
        said = await other.receive_json()
        assert said["text"] == "hi"
        assert "ref" not in said
        assert await one.receive_json() == said
        assert await one.receive_json() == {"type": "ok", "ref": 7}


async def test_in_order() -> None:
    """Messages are handled one after the other, and so are their replies."""
    log: list[str] = []

    class Slow(MessageConsumer):
        @on
        async def say(self, message: Say) -> None:
            log.append(message.text)
            await asyncio.sleep(0)
            log.append(message.text)

    async with connect(Slow) as ws:
        for word in ("a", "b"):
            await ws.send_json({"type": "say", "text": word, "ref": word})
        assert [(await ws.receive_json())["ref"] for _ in range(2)] == ["a", "b"]
    assert log == ["a", "a", "b", "b"]


async def test_send_takes_messages() -> None:
    """``send()`` takes a message, text, bytes, and what JSON knows; but never an event."""

    class Sender(MessageConsumer):
        async def connect(self) -> None:
            await self.accept()
            await self.send(Number(1))
            await self.send("text")
            await self.send(b"bytes")
            await self.send({"label": gettext_lazy("Yes")})
            with pytest.raises(TypeError, match=r"Sender.send\(\) can't send Kick: an Event never"):
                await self.send(Kick("x"))
            with pytest.raises(TypeError, match="got object: object is not JSON serializable"):
                await self.send(object())

    async with connect(Sender) as ws:
        assert await ws.receive_json() == {"type": "number", "value": 1}
        assert await ws.receive() == "text"
        assert await ws.receive() == b"bytes"
        assert await ws.receive_json() == {"label": "Yes"}


# Errors


class Room(forms.Form):
    """A form with two fields."""

    name = forms.CharField(max_length=3)
    size = forms.IntegerField()

    def clean(self) -> None:
        """Find something wrong with the whole."""
        raise ValidationError("The house is full.")


def group(*errors: Exception) -> Exception:
    """Return several errors as one."""
    return ExceptionGroup("several", errors)


FORM = {
    "fields": {
        "name": ["Ensure this value has at most 3 characters (it has 5)."],
        "size": ["This field is required."],
        "__all__": ["The house is full."],
    },
    "detail": "The house is full.",
}

TOLD: dict[str, tuple[Callable[[], Exception], dict[str, Any]]] = {
    "MessageError": (
        lambda: MessageError("full", "No room", {"room": ["full"]}),
        {"code": "full", "detail": "No room", "fields": {"room": ["full"]}},
    ),
    "a bare MessageError": (lambda: MessageError("full"), {"code": "full", "detail": ""}),
    "a translated MessageError": (
        lambda: MessageError("no", gettext_lazy("No")),  # type: ignore[arg-type]  # as good as str
        {"code": "no", "detail": "No"},
    ),
    "PermissionDenied": (
        lambda: PermissionDenied("the secret"),
        {"code": "permission_denied", "detail": "The user may not do this."},
    ),
    "Http404": (
        lambda: Http404("the secret"),
        {"code": "not_found", "detail": "What the message is about does not exist."},
    ),
    "ValidationError": (
        lambda: ValidationError("Too %(how)s", params={"how": "odd"}),
        {"code": "invalid", "detail": "Too odd"},
    ),
    "several ValidationErrors": (
        lambda: ValidationError(["Too odd.", ValidationError("Too even.")]),
        {"code": "invalid", "detail": "Too odd. Too even."},
    ),
    "a ValidationError by fields": (
        lambda: ValidationError({"a": "Odd.", "b": [gettext_lazy("Even.")]}),
        {"code": "invalid", "detail": "Odd. Even.", "fields": {"a": ["Odd."], "b": ["Even."]}},
    ),
    "a form's errors": (
        lambda: ValidationError(Room({"name": "attic"}).errors.as_data()),
        {"code": "invalid", **FORM},
    ),
    "a group of one": (
        lambda: group(group(MessageError("full"))),
        {"code": "full", "detail": ""},
    ),
    "a group of one kind": (
        lambda: group(Http404(), Http404()),
        {"code": "not_found", "detail": "What the message is about does not exist."},
    ),
}

LOGGED: dict[str, Callable[[], BaseException]] = {
    "an error": lambda: RuntimeError("the secret"),
    "a mixed group": lambda: group(Http404(), RuntimeError("the secret")),
    "SystemExit": lambda: SystemExit("the secret"),
    "something cancelled": lambda: asyncio.CancelledError("the secret"),
}


def failing(make: Callable[[], BaseException], *, concurrent: bool) -> type[MessageConsumer]:
    """Return a consumer whose handler raises."""

    class Failing(MessageConsumer):
        @on(concurrent=concurrent)
        async def fail(self, message: Fail) -> None:
            raise make()

        @on
        async def say(self, message: Say) -> None: ...

    return Failing


@pytest.mark.parametrize("concurrent", [False, True], ids=["in order", "concurrent"])
@pytest.mark.parametrize(("make", "error"), TOLD.values(), ids=TOLD)
async def test_what_a_client_is_told(
    make: Callable[[], Exception], error: dict[str, Any], concurrent: bool
) -> None:
    """An exception that is meant for the client is a reply, and the socket stays."""
    async with connect(failing(make, concurrent=concurrent)) as ws:
        await ws.send_json({"type": "fail", "ref": 1})
        assert await ws.receive_json() == {"type": "error", "ref": 1, **error}
        await ws.send_json({"type": "fail"})
        assert await ws.receive_json() == {"type": "error", **error}
    assert counters["hook_failed"] == 0


@pytest.mark.parametrize("concurrent", [False, True], ids=["in order", "concurrent"])
@pytest.mark.parametrize("make", LOGGED.values(), ids=LOGGED)
async def test_what_a_client_is_not_told(
    make: Callable[[], BaseException], concurrent: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Any other is logged with the handler's name; the client learns that there was one."""
    Failing = failing(make, concurrent=concurrent)  # noqa: N806  # a class
    async with connect(Failing, raise_exceptions=False) as ws:
        await ws.send_json({"type": "fail", "ref": 1})
        assert await ws.receive_json() == {
            "type": "error",
            "code": "internal_error",
            "detail": "",
            "ref": 1,
        }
        await ws.send_json({"type": "say", "text": "still here", "ref": 2})
        assert await ws.receive_json() == {"type": "ok", "ref": 2}
    (record,) = [record for record in caplog.records if record.levelname == "ERROR"]
    assert record.getMessage() == "Failing.fail() failed on / for a user of type AnonymousUser"
    assert counters["hook_failed"] == 1


FAULTY: dict[str, tuple[Callable[[], Exception], str]] = {
    "half a surrogate pair": (lambda: MessageError("full", "\ud800"), "surrogates not allowed"),
    "fields": (
        lambda: MessageError("full", fields={"a": [object()]}),  # type: ignore[list-item]
        "object is not JSON serializable",
    ),
    "a ValidationError's text": (lambda: ValidationError("\ud800"), "surrogates not allowed"),
    "a ValidationError's params": (lambda: ValidationError("%(a)s", params={"b": 1}), "'a'"),
}


@pytest.mark.parametrize("concurrent", [False, True], ids=["in order", "concurrent"])
@pytest.mark.parametrize(("make", "text"), FAULTY.values(), ids=FAULTY)
async def test_an_error_that_can_not_be_told(
    make: Callable[[], Exception], text: str, concurrent: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """It is a fault: logged with what was raised before it, and the socket stays."""
    Failing = failing(make, concurrent=concurrent)  # noqa: N806  # a class
    async with connect(Failing, raise_exceptions=False) as ws:
        await ws.send_json({"type": "fail", "ref": 1})
        assert await ws.receive_json() == {
            "type": "error",
            "code": "internal_error",
            "detail": "",
            "ref": 1,
        }
        await ws.send_json({"type": "say", "text": "still here", "ref": 2})
        assert await ws.receive_json() == {"type": "ok", "ref": 2}
    (record,) = [record for record in caplog.records if record.levelname == "ERROR"]
    assert record.exc_info is not None
    fault = record.exc_info[1]
    assert fault is not None
    assert re.search(text, str(fault))
    assert fault.__context__ is not None


@pytest.mark.parametrize("concurrent", [False, True], ids=["in order", "concurrent"])
@pytest.mark.parametrize(
    ("reply", "text"),
    [
        ("text", r"Wrong.fail\(\) must answer with Said, as it is annotated, got str."),
        ({"type": "said"}, "must answer with Said, as it is annotated, got dict."),
        (None, "must answer with Said, as it is annotated, got NoneType."),
        (Kick("x"), "must answer with Said, as it is annotated, got Kick"),
        (Said("a", object()), "object is not JSON serializable"),  # type: ignore[arg-type]
        (Said("a", "\ud800"), "surrogates not allowed"),
    ],
    ids=["a text", "a dict", "no return", "an event", "not serializable", "half a surrogate pair"],
)
async def test_a_reply_that_can_not_be_sent(
    reply: Any, text: str, concurrent: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """It is the handler's fault: logged, and answered like any other."""

    class Wrong(MessageConsumer):
        @on(concurrent=concurrent)
        async def fail(self, message: Fail) -> Said:
            return reply  # type: ignore[no-any-return]  # the mistake in question

    async with connect(Wrong, raise_exceptions=False) as ws:
        await ws.send_json({"type": "fail", "ref": 1})
        assert (await ws.receive_json())["code"] == "internal_error"
    assert caplog.records[0].exc_info is not None
    assert re.search(text, str(caplog.records[0].exc_info[1]))


@pytest.mark.parametrize("concurrent", [False, True], ids=["in order", "concurrent"])
async def test_a_session_that_has_ended(concurrent: bool) -> None:
    """A handler that meets the end of its user's session closes with 4401, as any hook does."""
    Failing = failing(lambda: SessionInterrupted("gone"), concurrent=concurrent)  # noqa: N806
    async with connect(Failing) as ws:
        await ws.send_json({"type": "fail", "ref": 1})
        assert await ws.receive_close() == 4401


async def test_a_handler_that_closes() -> None:
    """After its own close() there is nobody to answer, and no error."""

    class Closing(MessageConsumer):
        @on
        async def fail(self, message: Fail) -> Said:
            await self.close(4000, message.how)
            return Said("a", "b")

        @on
        async def say(self, message: Say) -> None:
            await self.close()
            await self.send("too late")

    async with connect(Closing) as ws:
        await ws.send_json({"type": "fail", "ref": 1, "how": "bye"})
        assert await ws.receive_close() == 4000
    async with connect(Closing) as ws:
        await ws.send_json({"type": "say", "text": "x", "ref": 1})
        assert await ws.receive_close() == 1000
    assert counters["hook_failed"] == 0


async def test_an_error_after_the_close(caplog: pytest.LogCaptureFixture) -> None:
    """It is logged all the same, though there is nobody to answer."""

    class Closing(MessageConsumer):
        @on
        async def fail(self, message: Fail) -> Said:
            await self.close()
            raise RuntimeError("the secret")

    async with connect(Closing, raise_exceptions=False) as ws:
        await ws.send_json({"type": "fail", "ref": 1})
        assert await ws.receive_close() == 1000
    assert counters["hook_failed"] == 1


@pytest.mark.parametrize("concurrent", [False, True], ids=["in order", "concurrent"])
async def test_a_client_that_vanishes_before_the_reply(concurrent: bool) -> None:
    """A reply that the server does not take ends the connection, without an error."""
    codes: list[Any] = []

    class Codes(MessageConsumer):
        @on(concurrent=concurrent)
        async def say(self, message: Say) -> Number:
            return Number(1)

        async def disconnect(self, code: int, reason: str) -> None:
            codes.append((code, self.state))

    wire = Wire(CONNECT, text('{"type": "say", "text": "x"}'))
    wire.fail_on = "websocket.send"
    task = asyncio.create_task(Codes.as_asgi()(scope(), wire.receive, wire.send))
    await wire.until_sent(1)
    for _ in range(5):
        await asyncio.sleep(0)
    wire.put(disconnect(1006))
    await task
    assert wire.sent == [ACCEPT]
    assert codes == [(1006, ConnectionState.CLOSED)]
    assert counters["hook_failed"] == 0


class Guarded(MessageConsumer):
    """Lets one message through, and has handlers that must not be reached by the others."""

    async def authorize(self, message: Message) -> bool:
        if isinstance(message, Fail):
            raise MessageError("too_early", message.how)
        if message != Say("x", ref=1):
            return None  # type: ignore[return-value]  # a return that was forgotten
        return await super().authorize(message)

    @on
    async def say(self, message: Say) -> None:
        assert not message.loud

    @on(concurrent=True)
    async def said(self, message: Said) -> None:
        pytest.fail("it was not let through")

    @on
    async def fail(self, message: Fail) -> None:
        pytest.fail("it was not let through")


DENIED = {"type": "error", "code": "permission_denied", "detail": "The user may not do this."}


@pytest.mark.parametrize(
    ("message", "answer"),
    [
        ({"type": "say", "text": "x"}, {"type": "ok"}),
        ({"type": "say", "text": "x", "loud": True}, DENIED),
        ({"type": "said", "author": "a", "text": "b"}, DENIED),
        ({"type": "fail", "how": "?"}, {"type": "error", "code": "too_early", "detail": "?"}),
    ],
    ids=["allowed", "denied", "concurrent", "an error of its own"],
)
async def test_who_may_send_what(message: dict[str, Any], answer: dict[str, Any]) -> None:
    """``authorize()`` is asked before each handler; only true lets the message through."""
    async with connect(Guarded) as ws:
        await ws.send_json({**message, "ref": 1})
        assert await ws.receive_json() == {**answer, "ref": 1}


async def test_the_server_stops_while_a_handler_runs() -> None:
    """The handler is cancelled, and the client gets 1012 and no answer."""
    begun = asyncio.Event()

    class Slow(MessageConsumer):
        @on
        async def say(self, message: Say) -> None:
            begun.set()
            await asyncio.get_running_loop().create_future()

    wire = Wire(CONNECT, text('{"type": "say", "text": "x", "ref": 1}'))
    task = asyncio.create_task(Slow.as_asgi()(scope(), wire.receive, wire.send))
    await begun.wait()
    wire.put(disconnect(1012))
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    assert wire.sent == [ACCEPT, close(1012)]


@pytest.mark.parametrize("concurrent", [False, True], ids=["in order", "concurrent"])
@pytest.mark.parametrize("vanishes", [False, True])
async def test_a_reply_behind_an_outbox(vanishes: bool, concurrent: bool) -> None:
    """A reply waits its turn behind broadcasts; if the connection ends first, it is no error."""

    class Room(MessageConsumer):
        async def connect(self) -> None:
            await self.join("room")

        @on(concurrent=concurrent)
        async def say(self, message: Say) -> Number:
            return Number(1)

    wire = KnownServer(CONNECT)
    task = asyncio.create_task(Room.as_asgi()(scope(), wire.receive, wire.send))
    await wire.until_sent(1)
    wire.shut()
    await abroadcast("room", "first")
    wire.put(text('{"type": "say", "text": "x"}'))
    for _ in range(5):
        await asyncio.sleep(0)
    wire.fail_on = "websocket.send" if vanishes else None
    wire.open()
    for _ in range(5):
        await asyncio.sleep(0)
    wire.put(disconnect(1001))
    await task
    answers = [sent("first"), sent('{"type":"number","value":1}')]
    assert wire.sent == [ACCEPT, *([] if vanishes else answers)]
    assert counters["hook_failed"] == 0


async def test_a_client_that_leaves_while_a_handler_runs() -> None:
    """The handler is cancelled, as any hook is, and not answered."""
    log: list[str] = []
    begun = asyncio.Event()

    class Slow(MessageConsumer):
        @on
        async def say(self, message: Say) -> None:
            begun.set()
            try:
                await asyncio.get_running_loop().create_future()
            finally:
                log.append("ends")

        async def disconnect(self, code: int, reason: str) -> None:
            log.append("disconnect")

    async with connect(Slow) as ws:
        await ws.send_json({"type": "say", "text": "x", "ref": 1})
        await begun.wait()
    assert log == ["ends", "disconnect"]
