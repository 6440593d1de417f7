"""``wsconsumer.messages.docs``: who sees the page, and what it says; browsers try it elsewhere."""

from __future__ import annotations

import importlib
import re
from collections.abc import AsyncIterator, Iterator
from html import unescape
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
import pytest
from django.contrib.auth.decorators import login_required
from django.contrib.auth.models import AnonymousUser, User
from django.core.exceptions import ImproperlyConfigured, PermissionDenied
from django.db.models import TextChoices
from django.test import Client, RequestFactory, modify_settings, override_settings
from django.urls import include, path, re_path, set_script_prefix
from msgspec import Struct

from tests.messages.vocabulary import Kick
from wsconsumer import WebsocketConsumer
from wsconsumer.messages import Error, Message, MessageConsumer, Meta, docs, on
from wsconsumer.messages.docs.described import Description, described_routes
from wsconsumer.messages.docs.views import page

if TYPE_CHECKING:
    from django.http import HttpResponseBase

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {"context_processors": ["django.template.context_processors.request"]},
    }
]


class Mood(TextChoices):
    GOOD = "good", "Good"
    BAD = "bad", "Bad"


class Place(Struct):
    """Somewhere."""

    name: str
    inner: Place | None = None


class Say(Message):
    """Something <b>bold</b>."""

    text: Annotated[str, Meta(min_length=1, max_length=20)]
    mood: Mood = Mood.GOOD
    places: list[Place] = msgspec.field(default_factory=list)
    points: tuple[int, str] | None = None
    counts: dict[str, int] = msgspec.field(default_factory=dict)
    mixed: list[int | str] = msgspec.field(default_factory=list)
    anything: Any = None
    size: Literal["s", "l"] = "s"


class Said(Message):
    author: str


class Endless(Message):
    """No example of it can be made up."""

    inner: Annotated[list[Endless], Meta(min_length=1)]


class Room(MessageConsumer):
    """
    Where people talk.

    In rooms.
    """

    sends = (Said,)

    @on(errors={"full": "The room is full."})
    async def say(self, message: Say) -> Said | Error | None:
        """Say it to all."""
        return None

    @on
    async def tail(self, message: Endless) -> AsyncIterator[Said]:
        yield Said("ada")

    @on
    async def kick(self, event: Kick) -> None: ...


class Quiet(MessageConsumer):
    sends = ()


class Packed(Room):
    codec = "msgpack"


class Untyped(WebsocketConsumer):
    """Nothing that can be told of."""


urlpatterns = [
    path("ws/docs/", include("wsconsumer.messages.docs")),
    path("ws/room/<slug:room>/", login_required(Room.as_view()), name="room"),
    path("ws/quiet/", Quiet.as_view()),
    path("ws/files/<path:name>", Quiet.as_view(), name="files"),
    path("ws/packed/", Packed.as_view()),
    re_path(r"^ws/(?:one|two){1}/$", Quiet.as_view()),
    path("ws/untyped/", Untyped.as_view()),
]


class Alone:
    """A URLconf with the page, and without a message consumer."""

    urlpatterns = (path("ws/docs/", include("wsconsumer.messages.docs")),)


@pytest.fixture(autouse=True)
def _settings() -> Iterator[None]:
    with override_settings(ROOT_URLCONF=__name__, TEMPLATES=TEMPLATES, DEBUG=True):
        yield


def text_of(response: HttpResponseBase) -> str:
    """Return what a page says, without tags."""
    found = re.sub(r"<[^>]+>", " ", getattr(response, "content", b"").decode())
    return re.sub(r"\s+", " ", unescape(found))


def described(key: str) -> Description:
    """Return what is said of one route."""
    (found,) = (route for route in described_routes() if route.key == key)
    return found


def test_anybody_sees_it_in_development(client: Client) -> None:
    """With ``DEBUG`` the page is there, and nothing keeps it."""
    response = client.get("/ws/docs/")
    assert response.status_code == 200
    assert "no-store" in response.headers["Cache-Control"]
    assert client.post("/ws/docs/").status_code == 405


@override_settings(DEBUG=False)
@pytest.mark.parametrize(
    ("user", "status"),
    [
        (User(username="ada", is_staff=True), 200),
        (User(username="ada", is_staff=True, is_active=False), 403),
        (User(username="ada"), 403),
        (AnonymousUser(), 302),
        (None, 403),
    ],
    ids=["staff", "staff that has left", "a user", "a stranger", "without users"],
)
def test_in_production_staff_sees_it(user: Any, status: int) -> None:
    """Others are refused, and strangers asked to log in."""
    request = RequestFactory().get("/ws/docs/", {"a": "b"})
    if user is not None:
        request.user = user
    if status == 403:
        with pytest.raises(PermissionDenied):
            page(request)
        return
    response = page(request)
    assert response.status_code == status
    if status == 302:
        assert response.headers["Location"] == "/accounts/login/?next=/ws/docs/%3Fa%3Db"


def test_the_middleware_that_asks_for_a_login(client: Client) -> None:
    """``LoginRequiredMiddleware`` does not hide the page from those who develop."""
    name = "django.contrib.auth.middleware.LoginRequiredMiddleware"
    with modify_settings(MIDDLEWARE={"append": name}):
        response = client.get("/ws/docs/")
    assert response.status_code == 200


def test_without_the_app() -> None:
    """Without the app there is no template, so the URLconf says what to write."""
    with (
        modify_settings(INSTALLED_APPS={"remove": "wsconsumer"}),
        pytest.raises(ImproperlyConfigured, match='needs "wsconsumer" in INSTALLED_APPS'),
    ):
        importlib.reload(docs)


def test_the_page(client: Client) -> None:
    """It names routes, consumers, messages, what they are answered with, and their fields."""
    response = client.get("/ws/docs/")
    text = text_of(response)
    assert "Where people talk." in text
    assert "Something <b>bold</b>." in text
    assert "say answered with Said or ok Try" in text
    assert "endless a stream of Said Try" in text
    assert "full The room is full." in text
    assert "text string length ≥ 1 length ≤ 20" in text
    assert "You connect without a login" in text
    assert "You are not logged in, so this route will refuse you. Log in" in text
    assert "This route speaks MessagePack" in text
    assert "Nothing: this route takes no messages." in text
    assert "/ws/untyped/ tests.messages.test_docs_page.Untyped" in text
    assert "kick" not in text
    assert b'href="/accounts/login/?next=/ws/docs/%23room"' in response.content


def test_the_page_holds_nothing_that_csp_refuses(client: Client) -> None:
    """No script or style stands in the page, and nothing comes from elsewhere."""
    content = client.get("/ws/docs/").content.decode()
    assert re.findall(r"<script [^>]*>", content) == [
        '<script type="module" src="/static/wsconsumer/docs.js">',
        '<script id="close-codes" type="application/json">',
    ]
    assert not re.search(r"<style| style=| on\w+=|https?://", content)


def test_identifiers_are_unique(client: Client) -> None:
    """No two elements have one id, and links and labels lead to those that there are."""
    content = client.get("/ws/docs/").content.decode()
    ids = re.findall(r' id="([^"]+)"', content)
    assert len(ids) == len(set(ids))
    led = re.findall(r' (?:href="#|for="|aria-labelledby="|aria-describedby=")([^"]+)"', content)
    assert set(led) <= set(ids)


def test_a_user_is_named(client: Client, db: None) -> None:
    """Who is logged in is told as whom sockets connect, and is not told to log in."""
    client.force_login(User.objects.create_user("ada"))
    text = text_of(client.get("/ws/docs/"))
    assert "You connect as ada" in text
    assert "You are not logged in" not in text


def test_without_users(client: Client) -> None:
    """A project without the middleware for users has the page too."""
    with override_settings(MIDDLEWARE=[]):
        text = text_of(client.get("/ws/docs/"))
    assert "You are not logged in" in text
    assert "Log in" not in text


def test_without_routes(client: Client) -> None:
    """A project without message consumers is told how to map one."""
    with override_settings(ROOT_URLCONF=Alone):
        text = text_of(client.get("/ws/docs/"))
    assert "No route has a MessageConsumer yet." in text
    assert "Other routes" not in text


def test_a_route() -> None:
    """A route has its address in pieces, and all that it says and understands."""
    route = described("room")
    assert [(piece.text, piece.parameter) for piece in route.pieces] == [
        ("/ws/room/", ""),
        ("", "room"),
        ("/", ""),
    ]
    assert described("files").pieces[-1].parameter == "name"
    assert route.pieces[1].hint == "matches [-a-zA-Z0-9_]+"
    assert (route.consumer, route.codec, route.needs_login) == ("Room", "json", True)
    say, tail = route.requests
    assert (say.replies, say.answers_ok, say.is_stream, say.is_task) == (
        ["Said"],
        True,
        False,
        False,
    )
    assert (tail.replies, tail.is_stream, tail.is_task) == (["Said"], True, True)
    assert say.example == '{\n  "type": "say",\n  "text": "text"\n}'
    assert tail.example == '{\n  "type": "endless"\n}'
    assert route.broadcasts == ["Said"]
    assert [(kind.name, kind.type) for kind in route.kinds] == [("Said", "said"), ("Place", "")]
    assert described("ws.packed").codec == "msgpack"


def test_fields() -> None:
    """A field has its type as JSON has it, whether it must be there, and its bounds."""
    (say, _) = described("room").requests
    assert [
        (field.name, field.type, field.is_required, field.notes) for field in say.kind.fields
    ] == [
        ("text", "string", True, ["length ≥ 1", "length ≤ 20"]),
        ("mood", '"good" | "bad"', False, ['by default "good"']),
        ("places", "Place[]", False, ["by default []"]),
        ("points", "[integer, string] | null", False, ["by default null"]),
        ("counts", "object of integer", False, ["by default {}"]),
        ("mixed", "(integer | string)[]", False, ["by default []"]),
        ("anything", "anything", False, ["by default null"]),
        ("size", '"l" | "s"', False, ['by default "s"']),
    ]


def test_optional_is_a_word_of_its_own(client: Client) -> None:
    """A browser may break a line before it, and need not break the word."""
    assert (
        '<code>size</code> <span class="optional">optional</span>'
        in client.get("/ws/docs/").content.decode()
    )


def test_an_address_that_only_a_regex_describes() -> None:
    """It is left to be written as a whole."""
    (piece,) = described("ws.one.two.1").pieces
    assert (piece.text, piece.parameter) == ("", "address")
    assert piece.hint == "matches /ws/(?:one|two){1}/$"


def test_a_prefix() -> None:
    """A project that is served below a prefix has it in its addresses."""
    set_script_prefix("/app/")
    try:
        assert described("ws.quiet").pieces[0].text == "/app/ws/quiet/"
    finally:
        set_script_prefix("/")
