"""``test/messages.py``: the kit speaks in messages."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from msgspec import UNSET

from tests.messages.vocabulary import Count, Fail, Number, Said, Say
from wsconsumer.messages import Error, Message, MessageConsumer, MessageError, Ok, on
from wsconsumer.test import connect


class Chat(MessageConsumer):
    """Answers, streams, and fails."""

    sends = (Said,)
    log: list[Any] = []  # noqa: RUF012  # set by as_asgi()

    @on
    async def say(self, message: Say) -> Number | None:
        await self.send("no message")
        await self.send(Said("me", message.text))
        return Number(1) if message.loud else None

    @on
    async def count(self, message: Count) -> AsyncIterator[Number]:
        try:
            for value in range(message.to):
                yield Number(value)
            if message.to == 1:
                raise MessageError("one")
        finally:
            self.log.append("ended")

    @on
    async def fail(self, message: Fail) -> Said | None:
        if message.how == "close":
            await self.close(4000)
            return None
        raise ValidationError({"how": "Why?"})


codecs = pytest.mark.parametrize("codec", ["json", "msgpack"])


@codecs
async def test_send_and_receive(codec: str) -> None:
    """What is sent and received are instances, in the codec of the consumer."""
    async with connect(type("Chat", (Chat,), {"codec": codec})) as ws:
        await ws.send(Say("hi", loud=True, ref="a"))
        assert await ws.receive() == "no message"
        assert await ws.receive(Said) == Said("me", "hi")
        assert await ws.receive(Number) == Number(1, ref="a")
        await ws.send(Say("hi", ref=2))
        for _ in range(2):
            await ws.receive()
        assert await ws.receive(Ok) == Ok(ref=2)


@codecs
async def test_request(codec: str) -> None:
    """A request finds its reply, whatever else comes meanwhile, and that is there afterwards."""
    async with connect(Chat.as_asgi(codec=codec), codec=codec) as ws:
        assert await ws.request(Say("a", loud=True)) == Number(1)
        assert await ws.request(Say("b"), Number) is None
        assert await ws.request(Say("c", loud=True, ref="mine"), Number) == Number(1)
        for text in ("a", "b", "c"):
            assert await ws.receive() == "no message"
            assert (await ws.receive(Said)).text == text


async def test_an_error() -> None:
    """It raises what the handler could have raised; received as such it is a message."""
    async with connect(Chat) as ws:
        with pytest.raises(MessageError) as caught:
            await ws.request(Fail())
        error = caught.value
        assert (error.code, error.detail, error.fields) == ("invalid", "Why?", {"how": ["Why?"]})
        with pytest.raises(MessageError, match="invalid: Expected `str` of length"):
            await ws.request(Say(""))
        await ws.send(Say(""))
        assert (await ws.receive(Error)).fields is UNSET


@codecs
async def test_stream(codec: str) -> None:
    """Replies are yielded until the end."""
    async with connect(type("Chat", (Chat,), {"codec": codec})) as ws:
        assert [number async for number in ws.stream(Count(3))] == [Number(n) for n in range(3)]
        assert [number.value async for number in ws.stream(Count(2), Number)] == [0, 1]
        await ws.expect_nothing()


async def test_leaving_a_stream() -> None:
    """It is cancelled, and what it still sent is taken."""
    log: list[Any] = []
    async with connect(Chat.as_asgi(log=log)) as ws:
        async with aclosing(ws.stream(Count(10**9))) as numbers:
            async for number in numbers:
                assert number == Number(0)
                break
        assert log == ["ended"]
        await ws.expect_nothing()


async def test_a_stream_that_fails() -> None:
    """The error comes where the next reply would."""
    async with connect(Chat) as ws:
        numbers = ws.stream(Count(1))
        assert await anext(numbers) == Number(0)
        with pytest.raises(MessageError, match="one"):
            await anext(numbers)
        await ws.expect_nothing()


async def test_leaving_a_stream_whose_connection_has_ended() -> None:
    """There is nothing to cancel any more."""
    async with (
        connect(Chat, allow_unread=True) as ws,
        aclosing(ws.stream(Count(10**9))) as numbers,
    ):
        await anext(numbers)
        await ws.close()


class Twin(Message, tag="said"):
    """Another class with the type of Said."""


@pytest.mark.parametrize(
    ("sent", "text"),
    [
        ('{"type":"said","author":"a","text":"b","ref":1}', "Several messages have the type 'said"),
        ('{"type":"nobody","ref":1}', "No Message class has the type 'nobody'. Is it imported?"),
        (
            '{"type":"number","value":"x","ref":1}',
            "Expected a Message, got .*: Expected `int`, got",
        ),
    ],
    ids=["ambiguous", "unknown", "not valid"],
)
async def test_a_reply_that_is_not_understood(sent: str, text: str) -> None:
    """The test fails with what came, and with what to do."""

    class Odd(MessageConsumer):
        @on
        async def say(self, message: Say) -> None: ...

        async def receive(self, data: str | bytes) -> None:
            await self.send(sent)

    async with connect(Odd) as ws:
        with pytest.raises(AssertionError, match=text):
            await ws.request(Say("x", ref=1))


async def test_another_message_than_expected() -> None:
    """The test fails with what came instead."""
    async with connect(Chat) as ws:
        await ws.send(Fail())
        with pytest.raises(AssertionError, match=r"Expected Said, got Error.code='invalid'"):
            await ws.receive(Said)
        await ws.send(Say("x"))
        await ws.receive()
        with pytest.raises(
            AssertionError, match=r"Expected Number, got '.*said.*Invalid value 'sa"
        ):
            await ws.receive(Number)
        with pytest.raises(AssertionError, match="Expected a reply to 7, but the application clo"):
            await ws.request(Fail("close", ref=7))


class Pong(Message):
    """A reply that only one class here knows."""


class Ping(Message):
    """What asks for it."""


async def test_an_application_that_is_no_class() -> None:
    """Then a reply may be of any class that has its type, or of the one that is named."""

    class Table(MessageConsumer):
        @on
        async def ping(self, message: Ping) -> Pong:
            return Pong()

    async def application(scope: Any, receive: Any, send: Any) -> None:
        await Table.as_asgi()(scope, receive, send)

    async with connect(application) as ws:
        assert await ws.request(Ping()) == Pong()
        assert await ws.request(Ping(), Pong) == Pong()


async def test_an_unknown_codec() -> None:
    """The codec is one that there is."""
    with pytest.raises(ValueError, match="codec must be one of json, msgpack, got 'xml'"):
        async with connect(Chat, codec="xml"):
            pass


async def test_what_can_not_be_sent() -> None:
    """The kit sends what a client can send."""
    async with connect(Chat) as ws:
        with pytest.raises(
            TypeError, match=r"expects str, bytes or a Message, got 7. Use send_json"
        ):
            await ws.send(7)  # type: ignore[arg-type]  # the mistake in question
