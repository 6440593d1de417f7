"""One consumer at a time: no server, no URL, no middleware."""

from __future__ import annotations

import re
from collections import deque
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth.models import AnonymousUser, User

from demo.consumers import (
    ClockConsumer,
    EchoConsumer,
    GreetingConsumer,
    MembersConsumer,
    PingConsumer,
)
from wsconsumer.test import connect

if TYPE_CHECKING:
    from collections.abc import MutableMapping


async def test_ping_with_nothing_but_two_coroutines() -> None:
    """A consumer is an ASGI application: a deque and a list make a server for it."""
    events = deque[Any]([{"type": "websocket.connect"}])
    events.append({"type": "websocket.receive", "text": "ping"})
    events.append({"type": "websocket.disconnect", "code": 1000})
    sent: list[MutableMapping[str, Any]] = []

    async def receive() -> MutableMapping[str, Any]:
        event: MutableMapping[str, Any] = events.popleft()
        return event

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)

    await PingConsumer.as_asgi()({"type": "websocket"}, receive, send)
    assert [message["type"] for message in sent] == ["websocket.accept", "websocket.send"]
    assert sent[1]["text"] == "pong!"


async def test_ping_is_answered() -> None:
    """The ping socket answers `pong!` to `ping`."""
    async with connect(PingConsumer) as ws:
        await ws.send("ping")
        assert await ws.receive() == "pong!"


@pytest.mark.parametrize("word", ["hello", "PING", "", b"ping"], ids=repr)
async def test_other_words_are_not_answered(word: str | bytes) -> None:
    """The ping socket has no answer to anything but the text `ping`."""
    async with connect(PingConsumer) as ws:
        await ws.send(word)
        await ws.expect_nothing()


@pytest.mark.parametrize("data", ["ping", b"\x00\xff", "", b"", "café ☕"], ids=repr)
async def test_echo_keeps_text_and_bytes_apart(data: str | bytes) -> None:
    """The echo socket sends text back as text and bytes as bytes, empty ones too."""
    async with connect(EchoConsumer) as ws:
        await ws.send(data)
        assert await ws.receive() == data


async def test_clock_ticks_each_second() -> None:
    """The clock socket sends the time again and again; `advance` moves the event loop's clock."""
    async with connect(ClockConsumer) as ws:
        for _ in range(3):
            assert re.fullmatch(r"\d\d:\d\d:\d\d UTC", str(await ws.receive()))
            await ws.expect_nothing()
            await ws.advance(1)
        await ws.receive()


async def test_clock_stops_when_the_client_leaves() -> None:
    """The ticking task ends with the connection; a task left behind would fail the test."""
    async with connect(ClockConsumer) as ws:
        await ws.receive()
        await ws.close()


async def test_greeting_knows_the_user() -> None:
    """The greeting socket names whoever is logged in."""
    async with connect(GreetingConsumer, user=User(username="ada")) as ws:
        assert await ws.receive() == "Hello ada, you are logged in."


async def test_greeting_of_a_stranger() -> None:
    """The greeting socket lets strangers in, and tells them that they are."""
    async with connect(GreetingConsumer, user=AnonymousUser()) as ws:
        assert await ws.receive() == "Hello stranger. Log in and come back."


@pytest.mark.django_db
async def test_members_counts_and_names() -> None:
    """The members socket counts the accounts, and puts the user's name before each text."""
    async with connect(MembersConsumer, user=User(username="ada")) as ws:
        assert await ws.receive() == "Members so far: 0"
        for word in ("hello", ""):
            await ws.send(word)
            assert await ws.receive() == f"ada: {word}"
        await ws.send(b"bytes")
        await ws.expect_nothing()
