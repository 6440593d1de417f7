"""The sockets of the chat, one or two at a time: no server, no URL, no middleware."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from django.urls import reverse

from chat.consumers import RoomConsumer, RoomsConsumer
from chat.messages import Enter, IsTyping, List, Rooms, Said, Say, Typing, Welcome
from chat.models import Message, Room
from chat.realtime import conversation
from wsconsumer import abroadcast
from wsconsumer.messages import Error, MessageError
from wsconsumer.test import Page, connect

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from django.contrib.auth.models import User

    from wsconsumer.test import Websocket, WebsocketClient

# What these tests await of the ORM sees what their fixtures wrote.
pytestmark = pytest.mark.usefixtures("websocket_client")


def enter(
    room: str, user: User, page: Page | None = None
) -> AbstractAsyncContextManager[Websocket]:
    """Open the socket of a room."""
    return connect(RoomConsumer, kwargs={"slug": room}, user=user, page=page)


async def test_the_welcome(ada: User, lobby: Room) -> None:
    """Who asks is told the process that serves her."""
    async with enter("lobby", ada) as ws:
        assert await ws.request(Enter()) == Welcome(process=os.getpid())


async def test_a_message_reaches_everybody_in_the_room(ada: User, bob: User, lobby: Room) -> None:
    """What ada says comes to bob and to herself, with her name, and stays."""
    async with enter("lobby", ada) as hers, enter("lobby", bob) as his:
        await hers.request(Say(text="hello"))
        said = await his.receive(Said)
        assert await hers.receive(Said) == said
    message = await Message.objects.select_related("room", "author").aget()
    assert (message.room, message.author, message.text) == (lobby, ada, "hello")
    assert said == message.as_message()


async def test_rooms_are_apart(ada: User, bob: User, lobby: Room) -> None:
    """What is said in one room is not heard in another."""
    await Room.objects.acreate(slug="garden")
    async with enter("lobby", ada) as hers, enter("garden", bob) as his:
        await hers.request(Say(text="hello"))
        await hers.receive(Said)
        await his.expect_nothing()


async def test_a_typing_hint_reaches_the_others(ada: User, bob: User, lobby: Room) -> None:
    """The hint that ada types comes to bob and not to her, and nothing is kept of it."""
    async with enter("lobby", ada) as hers, enter("lobby", bob) as his:
        await hers.send(Typing())
        assert await his.receive(IsTyping) == IsTyping(author="ada")
        await hers.expect_nothing()
    assert not await Message.objects.aexists()


async def test_who_was_away_misses_nothing(ada: User, bob: User, lobby: Room) -> None:
    """What was said while bob's connection was lost comes first, then what is new, each once."""
    page = Page()
    async with enter("lobby", ada) as hers:
        async with enter("lobby", bob, page) as his:
            await hers.request(Say(text="one"))
            assert (await his.receive(Said)).text == "one"
            await his.vanish()
        for text in ("two", "three"):
            await hers.request(Say(text=text))
        async with enter("lobby", bob, page) as his:
            await hers.request(Say(text="four"))
            assert [(await his.receive(Said)).text for _ in range(3)] == ["two", "three", "four"]
            await his.expect_nothing()
        assert [(await hers.receive(Said)).text for _ in range(4)] == [
            "one",
            "two",
            "three",
            "four",
        ]
    assert page.reloads == []


async def test_hints_that_were_missed_stay_so(ada: User, bob: User, lobby: Room) -> None:
    """That somebody was typing is not told later, and pushes nothing out that was said."""
    page = Page()
    async with enter("lobby", ada) as hers:
        async with enter("lobby", bob, page) as his:
            await his.request(Enter())  # by now the page knows where it is
            await his.vanish()
        await hers.request(Say(text="hello"))
        await hers.receive(Said)
        for _ in range(200):
            await hers.send(Typing())
        await hers.request(Enter())  # by now they are broadcast
        async with enter("lobby", bob, page) as his:
            assert (await his.receive(Said)).text == "hello"
            await his.expect_nothing()


async def test_who_was_away_for_too_long(ada: User, bob: User, lobby: Room) -> None:
    """When more was said than the group keeps, the page is told to load anew."""
    page, group = Page(), conversation(slug="lobby")
    async with enter("lobby", bob, page) as his:
        await his.request(Enter())  # by now the page knows where it is
        await his.vanish()
    for number in range(101):
        await abroadcast(group, number, on_commit=False)  # the test itself is a transaction
    async with enter("lobby", bob, page) as his:
        await his.request(Enter())
    assert page.reloads == [group]


@pytest.mark.parametrize(
    ("text", "detail"),
    [
        ("x" * 501, "at most 500 characters (it has 501)"),
        ("", "required"),
        (" \n ", "required"),
        ("a\x00b", "Null characters are not allowed"),
    ],
    ids=["long", "empty", "blank", "null"],
)
async def test_a_message_that_is_refused(
    ada: User, bob: User, lobby: Room, text: str, detail: str
) -> None:
    """The sender is told what is wrong with a message; nobody else hears of it."""
    async with enter("lobby", ada) as hers, enter("lobby", bob) as his:
        with pytest.raises(MessageError) as caught:
            await hers.request(Say(text=text))
        assert caught.value.code == "invalid"
        assert detail in caught.value.detail
        assert caught.value.fields == {"text": [caught.value.detail]}
        await his.expect_nothing()
    assert not await Message.objects.aexists()


async def test_the_longest_message(ada: User, lobby: Room) -> None:
    """A message of 500 characters is taken."""
    async with enter("lobby", ada) as ws:
        await ws.request(Say(text="☕" * 500))
        assert (await ws.receive(Said)).text == "☕" * 500


@pytest.mark.parametrize(
    "data",
    [
        "",
        "hello",
        "{",
        b"\xff\x00",
        '"say"',
        "null",
        "[]",
        "[" * 100_000,
        "9" * 5_000,
        '{"type": "say"}',
        '{"type": "say", "text": 7}',
        '{"type": "say", "text": "\\ud800"}',
        '{"type": "said", "text": "hello"}',
        '{"type": ["typing"]}',
    ],
    ids=lambda data: repr(data[:30]),
)
async def test_garbage_is_answered(ada: User, lobby: Room, data: str | bytes) -> None:
    """What is no message of the chat gets an error, and the socket stays."""
    async with enter("lobby", ada) as ws:
        await ws.send(data)
        assert (await ws.receive(Error)).code in {"invalid", "unknown_type"}
        await ws.request(Say(text="hello"))
        assert (await ws.receive(Said)).text == "hello"


async def test_a_room_that_is_not(ada: User) -> None:
    """A room that nobody made is a 404, for a socket as for a page."""
    async with enter("attic", ada) as ws:
        assert ws.denial is not None
        assert ws.denial.status == 404


async def test_the_list_of_rooms(lobby: Room) -> None:
    """Who asks is told all rooms, and hears what is broadcast."""
    garden = await Room.objects.acreate(slug="garden")
    async with connect(RoomsConsumer) as ws:
        rooms = Rooms(rooms=[garden.as_message(), lobby.as_message()])
        assert await ws.request(List()) == rooms
        await abroadcast("chat.rooms", "another")
        assert await ws.receive() == "another"


async def test_a_logout_in_another_tab(
    ada: User, lobby: Room, websocket_client: WebsocketClient
) -> None:
    """Who logs out on any page is in no room any more, in whatever tab."""
    await websocket_client.aforce_login(ada)
    async with websocket_client.connect(reverse("chat:room-socket", args=["lobby"])) as ws:
        await websocket_client.post(reverse("accounts:logout"))
        assert await ws.receive_close() == 4501
