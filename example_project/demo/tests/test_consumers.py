"""A consumer needs no server to be tested: two coroutines play the part of one."""

from __future__ import annotations

import asyncio
import re
from collections import deque
from typing import TYPE_CHECKING

import pytest
from django.contrib.auth.models import AnonymousUser, User

from demo.consumers import (
    ClockConsumer,
    EchoConsumer,
    GreetingConsumer,
    MembersConsumer,
    PingConsumer,
)
from demo.tests.wire import CONNECT, DISCONNECT, SCOPE, data_of, talk

if TYPE_CHECKING:
    from demo.tests.wire import Event


async def test_ping_is_answered() -> None:
    """The ping socket accepts, and answers `pong!` to `ping`."""
    sent = await talk(PingConsumer.as_asgi(), "ping")
    assert [event["type"] for event in sent] == ["websocket.accept", "websocket.send"]
    assert data_of(sent) == ["pong!"]


async def test_other_words_are_not_answered() -> None:
    """The ping socket has no answer to anything but the text `ping`."""
    assert data_of(await talk(PingConsumer.as_asgi(), "hello", "PING", "", b"ping")) == []


async def test_echo_keeps_text_and_bytes_apart() -> None:
    """The echo socket sends text back as text and bytes as bytes, in order, empty ones too."""
    messages: list[str | bytes] = ["ping", b"\x00\xff", "", b"", "café ☕"]
    assert data_of(await talk(EchoConsumer.as_asgi(), *messages)) == messages


async def test_clock_ticks_until_the_client_leaves() -> None:
    """The clock socket sends the time again and again, and stops when the client has gone."""
    sent: list[Event] = []
    ticked_thrice = asyncio.Event()
    events = deque([CONNECT])

    async def receive() -> Event:
        if events:
            return events.popleft()
        await ticked_thrice.wait()
        return DISCONNECT

    async def send(event: Event) -> None:
        sent.append(event)
        if len(data_of(sent)) == 3:
            ticked_thrice.set()

    await ClockConsumer.as_asgi(interval=0)(SCOPE, receive, send)

    assert sent[0]["type"] == "websocket.accept"
    assert all(re.fullmatch(r"\d\d:\d\d:\d\d UTC", str(data)) for data in data_of(sent))
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_greeting_knows_the_user() -> None:
    """The greeting socket names whoever is logged in."""
    sent = await talk(GreetingConsumer.as_asgi(), user=User(username="ada"))
    assert data_of(sent) == ["Hello ada, you are logged in."]


async def test_greeting_of_a_stranger() -> None:
    """The greeting socket lets strangers in, and tells them that they are."""
    sent = await talk(GreetingConsumer.as_asgi(), user=AnonymousUser())
    assert data_of(sent) == ["Hello stranger. Log in and come back."]


@pytest.mark.usefixtures("transactional_db")
async def test_members_counts_and_names() -> None:
    """The members socket counts the accounts, and puts the user's name before each text."""
    await User.objects.acreate(username="grace")
    ada = await User.objects.acreate(username="ada")
    sent = await talk(MembersConsumer.as_asgi(), "hello", b"bytes", "", user=ada)
    assert data_of(sent) == ["Members so far: 2", "ada: hello", "ada: "]
