"""What carries broadcasts in tests: the memory backend, unless a test asks for ``real_engine``."""

from __future__ import annotations

import asyncio
import threading
import unittest
from typing import TYPE_CHECKING, Any

import pytest
from django.http import HttpRequest, HttpResponse
from django.test import AsyncClient, SimpleTestCase, TestCase, override_settings
from django.urls import path
from websockets.sync.client import connect as connect_for_real

from wsconsumer import WebsocketConsumer, abroadcast, broadcast
from wsconsumer.groups.hub import hub
from wsconsumer.groups.memory import MemoryBackend
from wsconsumer.test import (
    LiveWebsocketTestCase,
    WebsocketClient,
    WebsocketTestMixin,
    captured_broadcasts,
    connect,
    real_engine,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from wsconsumer.test import Websocket
    from wsconsumer.test.live import LiveServer

published: list[str] = []
"""The groups to which something was broadcast through the engine of the settings."""

ended: list[str] = []
"""The prefixes of engines that were closed."""


class Engine(MemoryBackend):
    """An engine that others than the tests might hear."""

    async def publish(self, group: str, body: bytes) -> None:
        published.append(group)
        await super().publish(group, body)

    def publish_sync(self, group: str, body: bytes) -> None:
        published.append(group)
        super().publish_sync(group, body)

    async def aclose(self) -> None:
        ended.append(self.prefix)
        await super().aclose()


class News(WebsocketConsumer):
    """Reads the news, and adds to them what a client says."""

    async def connect(self) -> None:
        await self.join("news")

    async def receive(self, data: str | bytes) -> None:
        await self.broadcast("news", data)


def say(request: HttpRequest) -> HttpResponse:
    """Broadcast from a sync view."""
    broadcast("news", "hello")
    return HttpResponse()


urlpatterns = [path("ws/news/", News.as_view()), path("say/", say)]


@pytest.fixture(autouse=True)
def _engine() -> Iterator[None]:
    published.clear()
    ended.clear()
    groups = {"BACKEND": f"{__name__}.Engine", "PREFIX": "real"}
    with override_settings(
        WSCONSUMER={"GROUPS": groups}, ROOT_URLCONF=__name__, MIDDLEWARE=[], ALLOWED_HOSTS=["*"]
    ):
        yield


async def in_a_thread(ws: Websocket) -> None:
    """Broadcast in a thread that knows nothing of the test's context."""
    thread = threading.Thread(target=broadcast, args=("news", "hello"))
    thread.start()
    await asyncio.to_thread(thread.join)


WAYS: dict[str, Callable[[Websocket], Awaitable[object]]] = {
    "the consumer": lambda ws: ws.send("hello"),
    "the test": lambda ws: abroadcast("news", "hello"),
    "a thread": in_a_thread,
    "a page": lambda ws: AsyncClient().get("/say/"),
    "a page of the kit's client": lambda ws: WebsocketClient().get("/say/"),
}


@pytest.mark.parametrize("say", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize("opened", ["connect", "WebsocketClient"])
async def test_broadcasts_stay_in_the_test(
    opened: str, say: Callable[[Websocket], Awaitable[object]]
) -> None:
    """Whoever broadcasts while a websocket is open reaches it, and not the engine."""
    opening = connect(News) if opened == "connect" else WebsocketClient().connect("/ws/news/")
    async with opening as ws:
        await say(ws)
        assert await ws.receive() == "hello"
    assert published == []


async def test_settings_that_change_in_a_test() -> None:
    """The engine of other settings is not asked either."""
    async with connect(News) as ws:
        with override_settings(WSCONSUMER={"GROUPS": {"BACKEND": f"{__name__}.Engine"}}):
            await abroadcast("news", 1)
            await asyncio.to_thread(broadcast, "news", 2)
        assert [await ws.receive(), await ws.receive()] == ["1", "2"]
    assert published == []


async def test_a_page_without_websockets() -> None:
    """A page of the kit's client broadcasts in the test; one of Django's client where it likes."""
    await WebsocketClient().get("/say/")
    assert published == []
    await AsyncClient().get("/say/")
    assert published == ["news"]


@pytest.mark.usefixtures("websocket_client")
def test_the_fixture() -> None:
    """A test that uses ``websocket_client`` broadcasts nowhere else, websockets or not."""
    broadcast("news", "hello")
    assert published == []


def test_captured_broadcasts(caplog: pytest.LogCaptureFixture) -> None:
    """What is captured is not published, and nobody is warned that nobody hears it."""
    with captured_broadcasts() as broadcasts:
        broadcast("news", "hello")
    assert len(broadcasts) == 1
    assert (published, caplog.messages) == ([], [])


# The engine, for those who ask


async def test_the_engine() -> None:
    """In the block broadcasts go through the engine, which is closed with the last websocket."""
    with real_engine():
        async with connect(News) as one, connect(News) as two:
            await abroadcast("news", 1)
            await asyncio.to_thread(broadcast, "news", 2)
            for ws in (one, two):
                assert [await ws.receive(), await ws.receive()] == ["1", "2"]
    assert published == ["news", "news"]
    assert ended == ["real"]


@real_engine()
async def test_the_engine_for_a_test(websocket_client: WebsocketClient) -> None:
    """A decorated test function uses it, with the fixture too."""
    async with websocket_client.connect("/ws/news/") as ws:
        await ws.send("hello")
        assert await ws.receive() == "hello"
    assert published == ["news"]


async def test_the_engine_comes_first() -> None:
    """With a websocket open it is too late: half of the groups would be elsewhere."""
    async with connect(News):
        with pytest.raises(RuntimeError, match=r"Write `with real_engine\(\):` around `async with"):
            real_engine().enable()
    with real_engine():
        async with connect(News, allow_unread=True):
            with real_engine():
                await abroadcast("news", "hello")
            await abroadcast("news", "hello")
    assert published == ["news", "news"]
    await abroadcast("news", "hello")
    assert published == ["news", "news", "news"]


async def test_one_loop_for_several_tests() -> None:
    """In an event loop that several tests share, each has the groups that it asks for."""
    async with connect(News) as ws:
        await ws.send("in memory")
        assert await ws.receive() == "in memory"
    assert published == []
    with real_engine():
        async with connect(News) as ws:
            await ws.send("through the engine")
            assert await ws.receive() == "through the engine"
    async with connect(News) as ws:
        await ws.send("in memory")
        assert await ws.receive() == "in memory"
    assert published == ["news"]


async def test_a_hub_that_was_there() -> None:
    """What a test does without the kit in the same loop is as it was."""
    own = hub()
    one, two = connect(News), connect(News)
    await one.__aenter__()
    assert hub() is not own
    await two.__aenter__()
    assert hub().size("news") == 2
    await one.__aexit__(None, None, None)
    assert hub().size("news") == 1
    await two.__aexit__(None, None, None)
    assert hub() is own


# Test cases


def outcome(case: type[unittest.TestCase]) -> list[str]:
    """Run a test case; return where it broadcast through the engine."""
    result = unittest.TestResult()
    unittest.TestLoader().loadTestsFromTestCase(case)(result)
    assert result.testsRun == 1
    assert not result.errors, result.errors
    assert not result.failures
    return published


class Broadcasting(WebsocketTestMixin):
    """Broadcasts from sync code, and to a websocket."""

    websocket_client: WebsocketClient

    async def test(self) -> None:
        async with self.websocket_client.connect("/ws/news/") as ws:
            await ws.send("hello")
            assert await ws.receive() == "hello"
        await asyncio.to_thread(broadcast, "after", "hello")


def test_test_cases() -> None:
    """With the mixin a whole test case keeps to itself, unless it is decorated."""

    class Simple(Broadcasting, SimpleTestCase):
        pass

    @real_engine()
    class Decorated(Broadcasting, SimpleTestCase):
        pass

    class Heir(Decorated):
        pass

    assert outcome(Simple) == []
    assert outcome(Decorated) == ["news", "after"]
    published.clear()
    assert outcome(Heir) == ["news", "after"]
    broadcast("after", "the end")
    assert len(published) == 3


@pytest.mark.django_db
def test_data_of_a_test_case() -> None:
    """What ``setUpTestData()`` broadcasts stays there too."""

    class WithData(Broadcasting, TestCase):
        @classmethod
        def setUpTestData(cls) -> None:
            broadcast("data", "hello")

    assert outcome(WithData) == []


def test_only_test_cases_are_decorated() -> None:
    """Another class is refused, as by Django's own decorators."""
    with pytest.raises(TypeError, match="Can only decorate subclasses of unittest"):
        real_engine()(Engine)


# The live server


class Live:
    """A test that broadcasts beside a live server."""

    websocket_url_for: Callable[[str], str]

    def test(self) -> None:
        with connect_for_real(self.websocket_url_for("/ws/news/")) as ws:
            broadcast("news", "hello")
            assert ws.recv() == "hello"
            ws.send("hi")
            assert ws.recv() == "hi"


@pytest.mark.usefixtures("transactional_db")
def test_a_live_server() -> None:
    """It is in this process, and its groups as well; decorated, its class uses the engine."""
    assert outcome(type("InMemory", (Live, LiveWebsocketTestCase), {})) == []
    decorated: Any = real_engine()(type("Decorated", (Live, LiveWebsocketTestCase), {}))
    assert outcome(decorated) == ["news", "news"]
    assert ended == ["real"]


@pytest.fixture
def _real_engine() -> Iterator[None]:
    with real_engine():
        yield


@pytest.mark.usefixtures("_real_engine")
def test_a_live_server_of_a_fixture(live_websocket_server: LiveServer) -> None:
    """A fixture that comes before the server's gives it the engine."""
    with connect_for_real(live_websocket_server.websocket_url_for("/ws/news/")) as ws:
        broadcast("news", "hello")
        assert ws.recv() == "hello"
    assert published == ["news"]


async def test_a_live_server_and_connect(live_websocket_server: LiveServer) -> None:
    """Members of both hear each other, and the server is there too late for the engine."""
    with pytest.raises(RuntimeError, match="a live server, use the memory backend already"):
        real_engine().enable()
    async with connect(News) as ws:
        url = live_websocket_server.websocket_url_for("/ws/news/")
        with await asyncio.to_thread(connect_for_real, url) as browser:
            await asyncio.to_thread(browser.send, "from the browser")
            assert await ws.receive(timeout=8) == "from the browser"
            await ws.send("from the test")
            said = [await asyncio.to_thread(browser.recv) for _ in range(2)]
            assert said == ["from the browser", "from the test"]
            assert await ws.receive() == "from the test"
    assert published == []
