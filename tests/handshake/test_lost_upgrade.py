"""``handshake/lost_upgrade.py``: a handshake that arrives as a page."""

from __future__ import annotations

import asyncio
import types
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from django.http import HttpResponse
from django.test import Client, override_settings
from django.urls import path, re_path

from tests.fakes import scope
from wsconsumer import WebsocketConsumer, asgi_view
from wsconsumer.asgi import get_asgi_application
from wsconsumer.handshake import lost_upgrade

if TYPE_CHECKING:
    from collections.abc import Iterator

KEY = (b"sec-websocket-key", b"dGhlIHNhbXBsZSBub25jZQ==")
UPGRADE = (b"upgrade", b"websocket")
CONNECTION = (b"connection", b"keep-alive, Upgrade")

LOST_BOTH = "it lost 'Upgrade: websocket' and 'Connection: upgrade' on the way"


def page(request: Any) -> HttpResponse:
    """Whatever a site shows at a path that it does not know."""
    return HttpResponse("a page")


urlpatterns = [
    path("ws/", WebsocketConsumer.as_view()),
    path("ws/mounted/", asgi_view(WebsocketConsumer.as_asgi())),
    path("page/", page),
]
pages = types.ModuleType("tests.pages")
pages.urlpatterns = [path("page/", page)]  # type: ignore[attr-defined]
catch_all = types.ModuleType("tests.catch_all")
catch_all.urlpatterns = [re_path("", page)]  # type: ignore[attr-defined]

pytestmark = pytest.mark.urls(__name__)


@pytest.fixture(autouse=True)
def _few_middlewares() -> Iterator[None]:
    """Start each test with nothing said, and none of Django's own answers."""
    lost_upgrade.throttle.reset()
    with override_settings(MIDDLEWARE=[]):
        yield


class Answer(NamedTuple):
    """What the application answers over HTTP."""

    status: int
    headers: dict[bytes, bytes]
    body: str


async def ask(
    *headers: tuple[bytes, bytes], at: str = "/ws/", application: Any = None, **more: Any
) -> Answer:
    """Send a request to the whole application, which is new if not said otherwise."""
    sent: list[Any] = []
    body = [{"type": "http.request", "body": b"", "more_body": False}]

    async def receive() -> Any:
        return body.pop() if body else await asyncio.Event().wait()

    async def send(event: Any) -> None:
        sent.append(event)

    lines = [(b"host", b"testserver"), *headers]
    asked = scope(type="http", method="GET", path=at, headers=lines, **more)
    application = application or get_asgi_application()
    await application(asked, receive, send)
    start, *bodies = sent
    text = b"".join(event["body"] for event in bodies).decode()
    return Answer(start["status"], {n.lower(): v for n, v in start["headers"]}, text)


@pytest.mark.parametrize("at", ["/ws/", "/ws/mounted/"])
async def test_a_proxy_that_passes_no_upgrade(at: str, caplog: pytest.LogCaptureFixture) -> None:
    """The log names the proxy and what to set there, and the 426 says what came."""
    answer = await ask(KEY, at=at)
    assert answer.status == 426
    told = "This address speaks only websocket.\nThis request was a websocket handshake: it lost"
    assert answer.body.startswith(told)
    (line,) = (record for record in caplog.records if record.name == "wsconsumer.handshake")
    assert line.levelname == "WARNING"
    assert line.getMessage().startswith(
        f"A websocket handshake for {at} came as a page: {LOST_BOTH}"
    )
    assert "the proxy before this server must pass on" in line.getMessage()
    assert "proxy_set_header Upgrade $http_upgrade" in line.getMessage()
    assert 'proxy_set_header Connection "upgrade"' in line.getMessage()


@pytest.mark.parametrize(
    ("headers", "what"),
    [
        ([UPGRADE], "it lost 'Connection: upgrade' on the way"),
        ([CONNECTION], "it lost 'Upgrade: websocket' on the way"),
        ([UPGRADE, (b"connection", b"close")], "it lost 'Connection: upgrade' on the way"),
        (
            [UPGRADE, CONNECTION],
            "all of it has arrived, so this server lacks a library",
        ),
    ],
    ids=["no-connection", "no-upgrade", "connection-close", "whole"],
)
async def test_what_was_lost(
    headers: list[tuple[bytes, bytes]], what: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Only what is missing is named; if nothing is, the server does not know websockets."""
    assert what in (await ask(KEY, *headers)).body
    assert what in caplog.text


@pytest.mark.parametrize(
    ("urlconf", "status"), [("tests.pages", 404), ("tests.catch_all", 200)], ids=["404", "200"]
)
async def test_websockets_with_a_urlconf_of_their_own(
    urlconf: str, status: int, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The warning does not depend on what the pages answer at that path, and changes nothing."""
    import sys

    monkeypatch.setitem(sys.modules, "tests.pages", pages)
    monkeypatch.setitem(sys.modules, "tests.catch_all", catch_all)
    with override_settings(ROOT_URLCONF=urlconf, WSCONSUMER={"URLCONF": __name__}):
        assert (await ask(KEY)).status == status
    assert "A websocket handshake for /ws/ came as a page" in caplog.text


async def test_below_a_root_path(caplog: pytest.LogCaptureFixture) -> None:
    """The path is looked up below the prefix of a mounted application."""
    assert (await ask(KEY, at="/app/ws/", root_path="/app")).status == 426
    assert "handshake for /app/ws/ came as a page" in caplog.text


@pytest.mark.parametrize(
    ("headers", "more"),
    [([], {}), ([KEY], {"at": "/page/"}), ([KEY], {"at": "/nowhere/"})],
    ids=["no-key", "page", "nowhere"],
)
async def test_nothing_is_said_of_pages(
    headers: list[tuple[bytes, bytes]], more: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """A request that was no handshake, or for nothing that speaks websocket, is a page."""
    assert "handshake" not in (await ask(*headers, **more)).body
    assert "came as a page" not in caplog.text


async def test_a_post_is_no_handshake(caplog: pytest.LogCaptureFixture) -> None:
    """Only a GET asks for a websocket."""
    assert lost_upgrade.headers_of(scope(method="POST", headers=[KEY])) is None


async def test_at_most_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    """However many come, on whatever path, one line a minute is enough; each 426 says it."""
    application = get_asgi_application()
    for at in ("/ws/", "/ws/", "/ws/mounted/"):
        assert LOST_BOTH in (await ask(KEY, at=at, application=application)).body
    assert caplog.text.count("came as a page") == 1


def test_under_wsgi(caplog: pytest.LogCaptureFixture) -> None:
    """Where a WSGI server got the whole handshake, it is the server that can't."""
    headers = {"Sec-WebSocket-Key": "x", "Upgrade": "websocket", "Connection": "Upgrade"}
    response = Client(headers=headers).get("/ws/")
    assert response.status_code == 426
    assert b"this server speaks WSGI, which has no websockets" in response.content
    assert "this server speaks WSGI" in caplog.text


@pytest.mark.parametrize(
    ("headers", "more", "has_it"),
    [
        ([], {}, True),
        ([], {"http_version": "1.1"}, True),
        ([], {"http_version": "2"}, False),
        ([(b"x-forwarded-for", b"192.0.2.1")], {}, False),
        ([(b"x-forwarded-proto", b"https")], {}, False),
        ([(b"forwarded", b"for=192.0.2.1")], {}, False),
        ([(b"via", b"1.1 varnish")], {}, False),
    ],
    ids=["direct", "http1", "http2", "forwarded-for", "forwarded-proto", "forwarded", "via"],
)
async def test_the_upgrade_header_goes_one_hop(
    headers: list[tuple[bytes, bytes]], more: Any, has_it: bool
) -> None:
    """The 426 names its protocol, but not where a proxy could carry that into HTTP/2."""
    answer = await ask(*headers, **more)
    assert answer.status == 426
    assert answer.headers.get(b"upgrade") == (b"websocket" if has_it else None)
