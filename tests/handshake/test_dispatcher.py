"""``dispatcher.py``: from a path to a running consumer, through Django's own resolver."""

from __future__ import annotations

import types
from typing import Any

import pytest
from django.http import HttpResponse
from django.test import AsyncClient, Client, override_settings
from django.urls import include, path, re_path, register_converter, reverse
from django.urls.converters import StringConverter

from tests.fakes import ACCEPT, CONNECT, DENIAL, Wire, disconnect, run, scope, sent
from wsconsumer import WebsocketConsumer
from wsconsumer.asgi import get_asgi_application
from wsconsumer.handshake.dispatcher import WebsocketDispatcher
from wsconsumer.test import connect


class Where(WebsocketConsumer):
    """Sends what the URL pattern found."""

    label = "where"

    async def connect(self) -> None:
        await self.accept()
        match = self.request.resolver_match
        assert match is not None
        await self.send(f"{self.label} {self.args} {self.kwargs} {match.view_name}")


class Reversing(WebsocketConsumer):
    """Sends the address of a named pattern."""

    async def connect(self) -> None:
        await self.accept()
        await self.send(reverse("home"))


class UpperConverter(StringConverter):
    regex = "[A-Z]+"

    def to_python(self, value: str) -> str:
        return value.lower()


register_converter(UpperConverter, "upper")


def page(request: Any, **kwargs: Any) -> HttpResponse:
    """Fail if a websocket ever gets here."""
    assert type(request).__name__ != "WebsocketRequest"
    return HttpResponse("a page")


room_patterns = [path("<upper:room>/", Where.as_view(label="room"), name="room")]

urlpatterns = [
    path("", page, name="home"),
    path("page/", page),
    path("ws/plain/", Where.as_view(), name="plain"),
    path("ws/id/<int:pk>/", Where.as_view()),
    path("ws/default/", Where.as_view(), {"room": "lobby"}),
    re_path(r"^ws/old/(?P<year>[0-9]{4})/$", Where.as_view()),
    re_path(r"^ws/unnamed/([a-z]+)/$", Where.as_view()),
    path("ws/rooms/", include((room_patterns, "rooms"), namespace="lounge")),
    path("ws/reverse/", Reversing.as_view()),
    path("ws/function/", Where),  # type: ignore[arg-type]  # a mistake, quietly a 404
    path("ws/asgi/", WebsocketConsumer.as_asgi()),  # type: ignore[arg-type]  # another
]

here = types.ModuleType("tests.made_up_urls")
here.urlpatterns = [path("ws/here/", Where.as_view(label="here"))]  # type: ignore[attr-defined]

bare = override_settings(ROOT_URLCONF=__name__, MIDDLEWARE=[])


@pytest.mark.parametrize(
    ("address", "found"),
    [
        ("/ws/plain/", "where () {} plain"),
        ("/ws/id/7/", "where () {'pk': 7} tests.handshake.test_dispatcher.Where"),
        ("/ws/default/", "where () {'room': 'lobby'} tests.handshake.test_dispatcher.Where"),
        ("/ws/old/1999/", "where () {'year': '1999'} tests.handshake.test_dispatcher.Where"),
        ("/ws/unnamed/abc/", "where ('abc',) {} tests.handshake.test_dispatcher.Where"),
        ("/ws/rooms/LOBBY/", "room () {'room': 'lobby'} lounge:room"),
        ("/ws/reverse/", "/"),
    ],
    ids=lambda value: value if value.startswith("/ws") else "",
)
@bare
async def test_every_kind_of_pattern(address: str, found: str) -> None:
    """path, re_path, nested include, namespaces, converters, default kwargs and reverse() work."""
    async with connect(WebsocketDispatcher(), address) as ws:
        assert await ws.receive() == found


@bare
def test_reverse_of_a_consumer() -> None:
    """A consumer's pattern has a name like any view's."""
    assert reverse("plain") == "/ws/plain/"
    assert reverse("lounge:room", kwargs={"room": "LOBBY"}) == "/ws/rooms/LOBBY/"


@pytest.mark.parametrize(
    "urlconf",
    [here.urlpatterns, tuple(here.urlpatterns), here],
    ids=["list", "tuple", "module"],
)
@bare
async def test_urlconf_given(urlconf: Any) -> None:
    """A list of patterns or a module stands for the whole URLconf."""
    dispatcher = WebsocketDispatcher(urlconf)
    async with connect(dispatcher, "/ws/here/") as ws:
        assert await ws.receive() == "here () {} tests.handshake.test_dispatcher.Where"
    async with connect(dispatcher, "/ws/plain/") as ws:
        assert not ws.accepted


@override_settings(MIDDLEWARE=[])
async def test_urlconf_as_a_dotted_path() -> None:
    """A dotted path names the URLconf's module."""
    async with connect(WebsocketDispatcher(__name__), "/ws/plain/") as ws:
        assert await ws.receive() == "where () {} plain"


@override_settings(MIDDLEWARE=[], WSCONSUMER={"URLCONF": __name__})
async def test_urlconf_of_the_settings() -> None:
    """WSCONSUMER["URLCONF"] comes before ROOT_URLCONF."""
    async with connect(WebsocketDispatcher(), "/ws/plain/") as ws:
        assert await ws.receive() == "where () {} plain"


@bare
@pytest.mark.parametrize(
    "address",
    [
        "/nowhere/",
        "/ws/id/x/",
        "/page/",
        "/",
        "/ws/function/",
        "/ws/asgi/",
        "",
        "no-slash",
        "/ws\x00",
    ],
    ids=repr,
)
async def test_not_found_is_quiet(address: str, caplog: pytest.LogCaptureFixture) -> None:
    """No match, or a view that is no consumer's, is a 404 with one line in the log and no page."""
    with override_settings(DEBUG=True):
        start, body = await run(WebsocketDispatcher(), path=address, **DENIAL)
    assert start["status"] == 404
    assert body["body"] == b""
    assert [record.exc_info for record in caplog.records] == [None]
    assert caplog.records[0].getMessage().startswith("Not Found")


@bare
@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"query_string": b"\xff"}, "UnicodeDecodeError: 'utf-8' codec can't decode byte 0xff"),
        # What this raises depends on the version of Django.
        ({"headers": [(b"content-type", b"a/b; x*=nosuch'en'%41")]}, ""),
    ],
    ids=["query_string", "content-type"],
)
async def test_a_request_that_django_can_not_parse(
    more: dict[str, Any], reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    """It is a 400 and one line in the log, not a traceback."""
    start, _ = await run(WebsocketDispatcher(), path="/ws/\n", **more, **DENIAL)
    assert start["status"] == 400
    (record,) = caplog.records
    message = record.getMessage()
    assert message.startswith(f"Refused a websocket on /ws/\\n with 400: {reason}")
    assert record.exc_info is None


@bare
async def test_a_client_that_leaves_before_it_is_denied() -> None:
    """Nothing is sent to a client that left before its 404."""
    wire = Wire(disconnect())
    await WebsocketDispatcher()(scope(path="/nowhere/"), wire.receive, wire.send)
    assert wire.sent == []


@bare
@pytest.mark.parametrize(
    ("more", "forced"),
    [({"path": "/app/ws/reverse/", "root_path": "/app"}, None), ({"path": "/ws/reverse/"}, "/app")],
    ids=["root_path", "FORCE_SCRIPT_NAME"],
)
async def test_script_prefix(more: dict[str, Any], forced: str | None) -> None:
    """reverse() in a consumer knows the prefix that the project is mounted at."""
    with override_settings(FORCE_SCRIPT_NAME=forced):
        messages = await run(WebsocketDispatcher(), disconnect(), **more)
    assert messages == [ACCEPT, sent("/app/")]


async def test_only_websockets() -> None:
    """Another scope type is an error that names it."""
    with pytest.raises(ValueError, match=r"WebsocketDispatcher serves websocket .* got 'http'"):
        await run(WebsocketDispatcher([]), type="http")


@bare
async def test_called_with_keywords() -> None:
    """Daphne calls an application with keywords, and that works too."""
    wire = Wire(CONNECT, disconnect())
    application = get_asgi_application()
    await application(scope=scope(path="/ws/plain/"), receive=wire.receive, send=wire.send)  # type: ignore[call-arg]
    assert wire.sent[0] == ACCEPT


@bare
def test_http_to_a_consumer_under_wsgi() -> None:
    """A plain GET gets 426; WSGI allows no hop-by-hop header, so there is none."""
    response = Client().get("/ws/plain/")
    assert response.status_code == 426
    assert response.content == b"This address speaks only websocket.\n"
    assert "Upgrade" not in response.headers


@bare
async def test_http_to_a_consumer_under_asgi() -> None:
    """Under ASGI the 426 names what it wants, as RFC 9110 says it must."""
    response = await AsyncClient().get("/ws/plain/")
    assert response.status_code == 426
    assert response.headers["Upgrade"] == "websocket"


@bare
async def test_http_to_a_page() -> None:
    """A page beside the sockets is served as ever."""
    response = await AsyncClient().get("/page/")
    assert response.content == b"a page"
