"""The pages and the handshakes of the chat, through the whole project; no server."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from django.urls import reverse

from chat.messages import List, Rooms, Said, Say
from chat.models import Message, Room
from chat.views import HISTORY
from wsconsumer.test import Page, captured_broadcasts

if TYPE_CHECKING:
    from django.contrib.auth.models import User
    from django.test import Client
    from pytest_django import DjangoCaptureOnCommitCallbacks

    from wsconsumer.test import WebsocketClient

ROOMS, ROOMS_SOCKET = reverse("chat:rooms"), reverse("chat:rooms-socket")
LOBBY, LOBBY_SOCKET = (
    reverse("chat:room", args=["lobby"]),
    reverse("chat:room-socket", args=["lobby"]),
)


@pytest.mark.parametrize("path", [ROOMS, LOBBY])
def test_pages_send_strangers_to_the_login(client: Client, path: str) -> None:
    """Without a login there is no chat."""
    response = client.get(path)
    assert response.status_code == 302
    assert response.headers["Location"] == f"{reverse('accounts:login')}?next={path}"


@pytest.mark.parametrize("path", [ROOMS_SOCKET, LOBBY_SOCKET])
async def test_sockets_send_strangers_to_the_login(
    websocket_client: WebsocketClient, path: str
) -> None:
    """Nor is there one for those who go to the sockets by themselves."""
    async with websocket_client.connect(path) as ws:
        assert ws.denial is not None
        assert ws.denial.status == 302
        assert ws.denial.headers["Location"] == f"{reverse('accounts:login')}?next={path}"


def test_a_stranger_makes_no_room(client: Client, db: None) -> None:
    """The form takes nothing from strangers."""
    assert client.post(ROOMS, {"slug": "attic"}).status_code == 302
    assert not Room.objects.exists()


def test_the_list(client: Client, ada: User, lobby: Room) -> None:
    """The page has a link for each room, and the path of its socket."""
    client.force_login(ada)
    page = client.get(ROOMS).content.decode()
    assert f'<a href="{LOBBY}">lobby</a>' in page
    assert f'data-socket="{ROOMS_SOCKET}"' in page


def test_a_room(client: Client, ada: User, lobby: Room) -> None:
    """The page of a room has its name, that of the visitor and the path of its socket."""
    client.force_login(ada)
    response = client.get(LOBBY)
    page = response.content.decode()
    assert ">lobby</h1>" in page
    assert f'data-live="{response.context["live"]}"' in page
    assert 'data-user="ada"' in page
    assert f'data-socket="{LOBBY_SOCKET}"' in page


def test_a_room_has_its_last_messages(client: Client, ada: User, lobby: Room) -> None:
    """Of a long conversation the page has the end, oldest first, and nothing of other rooms."""
    garden = Room.objects.create(slug="garden")
    Message.objects.bulk_create(
        Message(room=room, author=ada, text=f"{room} {number}")
        for number in range(HISTORY + 5)
        for room in (lobby, garden)
    )
    client.force_login(ada)
    page = client.get(LOBBY).content.decode()
    assert re.findall(r"<p>(\w+ \d+)</p>", page) == [f"lobby {n}" for n in range(5, HISTORY + 5)]


def test_what_a_page_has_of_a_message(client: Client, ada: User, bob: User, lobby: Room) -> None:
    """Author, text and time stand in it as data; what the visitor said is marked as her own."""
    hers, his = [
        Message.objects.create(room=lobby, author=author, text="<b>hello</b>")
        for author in (ada, bob)
    ]
    client.force_login(ada)
    page = client.get(LOBBY).content.decode()
    assert f'<li class="message own" data-id="{hers.pk}">' in page
    assert f'<li class="message" data-id="{his.pk}">' in page
    assert f'<time datetime="{his.sent_at.isoformat()}">' in page
    assert "<b>bob</b>" in page
    assert "<p>&lt;b&gt;hello&lt;/b&gt;</p>" in page


@pytest.mark.django_db(transaction=True)
async def test_nothing_is_missed_between_a_page_and_its_socket(
    ada: User, lobby: Room, websocket_client: WebsocketClient
) -> None:
    """What is said after the page was rendered, and before its socket opens, comes through it."""
    await websocket_client.aforce_login(ada)
    async with websocket_client.connect(LOBBY_SOCKET) as other:
        await other.request(Say(text="in the page"))
        await other.receive(Said)
        response = await websocket_client.get(LOBBY)
        await other.request(Say(text="too late for it"))
        await other.receive(Said)
    assert [said.text for said in response.context["conversation"]] == ["in the page"]
    page = Page(live=response.context["live"])
    async with websocket_client.connect(LOBBY_SOCKET, page=page) as ws:
        assert (await ws.receive(Said)).text == "too late for it"
        await ws.expect_nothing()
    assert page.reloads == []


def test_a_room_that_is_not(client: Client, ada: User) -> None:
    """A room that nobody made has no page."""
    client.force_login(ada)
    assert client.get(LOBBY).status_code == 404


def test_making_a_room(
    client: Client, ada: User, django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> None:
    """Who makes a room is led into it; the others are told, and not before the commit."""
    client.force_login(ada)
    with captured_broadcasts() as broadcasts, django_capture_on_commit_callbacks(execute=True):
        response = client.post(ROOMS, {"slug": "lobby"})
        assert not broadcasts
    assert response.headers["Location"] == LOBBY
    (broadcast,) = broadcasts
    assert broadcast.group == "chat.rooms"
    assert broadcast.data == Rooms(rooms=[Room.objects.get().as_message()])


@pytest.mark.parametrize(
    ("slug", "error"),
    [
        ("lobby", "already exists"),
        ("a b", "valid"),
        ("<b>", "valid"),
        ("", "required"),
        ("x" * 51, "at most 50"),
    ],
    ids=["taken", "space", "markup", "missing", "long"],
)
def test_a_mistake_is_named(client: Client, ada: User, lobby: Room, slug: str, error: str) -> None:
    """A name that can't be is told back, tied to its field, and makes no room."""
    client.force_login(ada)
    page = client.post(ROOMS, {"slug": slug}).content.decode()
    assert error in page
    assert "<b>" not in page.partition('<form method="post" class="new-room"')[2]
    assert "<title>Error: Chat rooms" in page
    assert Room.objects.count() == 1


@pytest.mark.django_db(transaction=True)
async def test_a_new_room_comes_to_those_who_look(
    ada: User, websocket_client: WebsocketClient
) -> None:
    """What the view broadcasts after the commit reaches an open list."""
    await websocket_client.aforce_login(ada)
    async with websocket_client.connect(ROOMS_SOCKET) as ws:
        assert await ws.request(List()) == Rooms(rooms=[])
        await websocket_client.post(ROOMS, {"slug": "lobby"})
        room = await Room.objects.aget()
        assert await ws.receive(Rooms) == Rooms(rooms=[room.as_message()])


async def test_a_member_comes_in_by_the_cookie(
    ada: User, lobby: Room, websocket_client: WebsocketClient
) -> None:
    """The name in the room is that of the login."""
    await websocket_client.aforce_login(ada)
    async with websocket_client.connect(LOBBY_SOCKET) as ws:
        await ws.request(Say(text="hello"))
        assert (await ws.receive(Said)).author == "ada"


def test_a_message_reads_as_what_was_said() -> None:
    """The admin, a shell and a log show a message's text."""
    assert str(Message(text="hello")) == "hello"
