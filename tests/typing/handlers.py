"""
What type checkers see of ``@on`` handlers, messages and the kit; nothing of this is run.

mypy reads it with everything else, pyright in ``test_typing.py``. Each mistake is one that both of
them find: an ignore comment that nothing needs is an error.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from typing import TYPE_CHECKING, Annotated, Any, assert_type

from wsconsumer.messages import (
    Error,
    Event,
    Message,
    MessageConsumer,
    Meta,
    interface_of,
    on,
)
from wsconsumer.messages.handlers import Handler

if TYPE_CHECKING:
    from wsconsumer.test import Websocket


class Say(Message):
    text: Annotated[str, Meta(min_length=1)]
    loud: bool = False


class Said(Message):
    text: str


class Kick(Event):
    reason: str


class Chat(MessageConsumer):
    @on
    async def say(self, message: Say) -> Said | Error | None:
        assert_type(message, Say)
        assert_type(message.text, str)
        return Said(message.text)

    @on
    async def tail(self, message: Said) -> AsyncIterator[Said]:
        yield message

    @on(concurrent=True, errors={"full": "The room is full."})
    async def slow(self, message: Error) -> None: ...

    @on
    async def kick(self, event: Kick) -> None:
        await self.close(4000, event.reason)


class Mistakes(MessageConsumer):
    @on  # type: ignore[type-var]  # pyright: ignore[reportArgumentType, reportCallIssue]
    async def text(self, message: str) -> None: ...

    @on  # type: ignore[type-var]  # pyright: ignore[reportArgumentType, reportCallIssue]
    async def reply(self, message: Say) -> str:
        return message.text

    @on  # type: ignore[type-var]  # pyright: ignore[reportArgumentType, reportCallIssue]
    async def event(self, message: Say) -> Kick:
        return Kick(message.text)

    @on  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType, reportCallIssue]
    def sync(self, message: Say) -> None: ...


async def use(chat: Chat, ws: Websocket) -> None:
    """Call handlers, make messages, and ask in a test."""
    assert_type(await chat.say(Say("hi")), Said | Error | None)
    async for said in chat.tail(Said("x")):
        assert_type(said, Said)
    await chat.say(Said("x"))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    Say(text=1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    Say("x", nothing=1)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    assert_type(Say("x", ref=7), Say)
    assert_type(Said.from_model(chat), Said)
    assert_type(await ws.receive(), str | bytes)
    assert_type(await ws.receive(Said), Said)
    assert_type(await ws.request(Say("hi"), Said), Said)
    assert_type(await ws.request(Say("hi")), Any)
    assert_type(ws.stream(Say("hi"), Said), AsyncGenerator[Said, None])
    assert_type(interface_of(Chat).handlers[Say], Handler)
