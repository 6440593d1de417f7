"""The twelve situations of docs/testing-compared.md, each with what this kit does in it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth.decorators import login_required
from django.contrib.auth.models import User
from django.test import TestCase
from django.urls import path, reverse

from wsconsumer import WebsocketConsumer
from wsconsumer.test import IllegalEvent, WebsocketClient, connect

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from wsconsumer.test import Websocket


class Echo(WebsocketConsumer):
    """Sends back what it receives."""

    async def receive(self, data: str | bytes) -> None:
        await self.send(data)


class Whoami(WebsocketConsumer):
    """Says who is there, and how many users there are; makes one more when told to."""

    async def connect(self) -> None:
        await self.accept()
        await self.send(self.user.get_username())

    async def receive(self, data: str | bytes) -> None:
        if data == "make":
            await User.objects.acreate(username="made by the consumer")
        await self.send(str(await User.objects.acount()))


class Place(WebsocketConsumer):
    """Says which place the URL names, and by which browser it was asked for."""

    async def connect(self) -> None:
        await self.accept()
        await self.send(f"{self.kwargs['place']} {self.request.headers.get('User-Agent')}")


urlpatterns = [
    path("ws/whoami/", login_required(Whoami.as_view())),
    path("ws/place/<str:place>/", Place.as_view(), name="place"),
]


async def test_timeout() -> None:
    """The message has the story and the line that waits; the application goes on."""

    class Slow(WebsocketConsumer):
        async def receive(self, data: str | bytes) -> None:
            self.answer = asyncio.get_running_loop().create_future()
            asyncio.get_running_loop().call_later(60, self.answer.set_result, "at last")
            await self.send(await self.answer)

    async with connect(Slow) as ws:
        await ws.send("hurry")
        with pytest.raises(AssertionError, match=r"a message within 0\.01 seconds") as caught:
            await ws.receive(timeout=0.01)
        assert "-> websocket.receive {'text': 'hurry'}" in str(caught.value)
        assert "await self.send(await self.answer)" in str(caught.value)
        await ws.advance(60)
        assert await ws.receive() == "at last"


async def test_exception() -> None:
    """What a hook raises is raised by the next call, without waiting, or when the block ends."""

    class Broken(WebsocketConsumer):
        async def receive(self, data: str | bytes) -> None:
            raise ZeroDivisionError(data)

    async with connect(Broken) as ws:
        await ws.send("one")
        with pytest.raises(ZeroDivisionError, match="one"):
            await ws.receive(timeout=60)
    with pytest.raises(ZeroDivisionError, match="two"):
        async with connect(Broken) as ws:
            await ws.send("two")
    async with connect(Broken, raise_exceptions=False) as ws:
        await ws.send("three")
        assert await ws.receive_close() == 1011


async def test_unread_message() -> None:
    """A message that nobody received fails the test, unless the test allows it."""
    with pytest.raises(AssertionError, match=r"did not receive: \['left behind'\]"):
        async with connect(Echo) as ws:
            await ws.send("left behind")
    async with connect(Echo, allow_unread=True) as ws:
        await ws.send("left behind")


async def test_unaccepted_connection() -> None:
    """An application without a decision, or one that sends before it, fails at once and by name."""

    async def undecided(scope: Any, receive: Any, send: Any) -> None:
        await receive()

    async def hasty(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.send", "text": "too early"})

    with pytest.raises(AssertionError, match="Expected a decision, but the application has ended"):
        async with connect(undecided):
            pytest.fail("There is nothing to talk to.")
    with pytest.raises(IllegalEvent, match=r"websocket\.send needs websocket\.accept first"):
        async with connect(hasty):
            pytest.fail("There is nothing to talk to.")


async def test_empty_frame() -> None:
    """Empty text and empty bytes go both ways, and stay what they are."""
    async with connect(Echo) as ws:
        await ws.send("")
        assert await ws.receive() == ""
        await ws.send(b"")
        assert await ws.receive() == b""


async def test_denial_response() -> None:
    """Status, headers and the whole body are facts; on a server without them it is a bare 403."""

    class Guarded(WebsocketConsumer):
        async def connect(self) -> None:
            await self.reject(401, "who are you?", {"WWW-Authenticate": "Basic"})

    async with connect(Guarded) as ws:
        assert not ws.accepted
        assert ws.denial is not None
        assert (ws.denial.status, ws.denial.body) == (401, b"who are you?")
        assert ws.denial.headers["WWW-Authenticate"] == "Basic"
    async with connect(Guarded, server="daphne-unadapted") as ws:
        assert ws.denial is not None
        assert (ws.denial.status, ws.denial.body) == (403, b"")


@pytest.mark.urls(__name__)
@pytest.mark.django_db(transaction=True)
async def test_login() -> None:
    """The client logs in as Django's own does, and the project's decorators see the user."""
    client = WebsocketClient()
    async with client.connect("/ws/whoami/") as ws:
        assert ws.denial is not None
        assert ws.denial.status == 302
    await client.aforce_login(await User.objects.acreate(username="ada"))
    async with client.connect("/ws/whoami/") as ws:
        assert await ws.receive() == "ada"


@pytest.fixture
async def echo() -> AsyncIterator[Websocket]:
    """An open connection to ``Echo``."""
    async with connect(Echo) as ws:
        yield ws


@pytest.mark.parametrize("visit", [1, 2])
async def test_fixture_use(echo: Websocket, visit: int) -> None:
    """An async fixture can open the connection, and close it after the test."""
    await echo.send(f"visit {visit}")
    assert await echo.receive() == f"visit {visit}"


class DatabaseRowsTests(TestCase):
    """Under Django's ``TestCase`` test and consumer share rows, and nothing is left behind."""

    def setUp(self) -> None:
        self.ada = User.objects.create(username="ada")

    async def test_rows_of_the_test_are_seen(self) -> None:
        """The consumer counts the row of setUp()."""
        async with connect(Whoami, user=self.ada) as ws:
            assert await ws.receive() == "ada"
            await ws.send("count")
            assert await ws.receive() == "1"

    async def test_rows_of_the_consumer_are_seen_and_rolled_back(self) -> None:
        """The test counts the row of the consumer, and the other test does not."""
        async with connect(Whoami, user=self.ada) as ws:
            assert await ws.receive() == "ada"
            await ws.send("make")
            assert await ws.receive() == "2"
        assert await User.objects.acount() == 2


@pytest.fixture
def ada(db: None) -> User:
    """A user in the transaction that ``db`` rolls back."""
    return User.objects.create(username="ada")


@pytest.mark.parametrize("visit", [1, 2])
async def test_database_rows_with_pytest(ada: User, visit: int) -> None:
    """With pytest-django's ``db`` too: rows of fixtures are seen, rows of the consumer go away."""
    async with connect(Whoami, user=ada) as ws:
        assert await ws.receive() == "ada"
        await ws.send("make")
        assert await ws.receive() == "2"


async def test_slow_peer() -> None:
    """A client that does not read makes the application's send() wait."""
    sent: list[int] = []

    class Flood(WebsocketConsumer):
        async def receive(self, data: str | bytes) -> None:
            for number in range(3):
                await self.send(str(number))
                sent.append(number)

    async with connect(Flood) as ws:
        ws.pause()
        await ws.send("go")
        await ws.settle()
        assert sent == []
        ws.resume()
        assert [await ws.receive() for _ in range(3)] == ["0", "1", "2"]


async def test_close_code() -> None:
    """Both sides' codes and reasons arrive, and a code that no frame may carry is refused."""
    seen: list[tuple[int, str]] = []

    class Door(WebsocketConsumer):
        async def receive(self, data: str | bytes) -> None:
            await self.close(4001, "you said so")

        async def disconnect(self, code: int, reason: str) -> None:
            seen.append((code, reason))

    async def illegal(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.close", "code": 1006})

    async with connect(Door) as ws:
        await ws.send("bye")
        assert await ws.receive_close() == 4001
        assert ws.close_reason == "you said so"
    async with connect(Door) as ws:
        await ws.close(4000, "lunch")
    async with connect(Door) as ws:
        await ws.vanish()
    async with connect(Door) as ws:
        pass
    assert seen == [(4001, "you said so"), (4000, "lunch"), (1006, ""), (1001, "")]
    with pytest.raises(IllegalEvent, match="can't send the close code 1006"):
        async with connect(illegal) as ws:
            await ws.receive_close()


async def test_leftover_task() -> None:
    """A task that outlives its connection fails the test by name; a spawned one does not."""

    class Careless(WebsocketConsumer):
        async def connect(self) -> None:
            self.task = asyncio.create_task(self.forever())

        async def forever(self) -> None:
            await asyncio.get_running_loop().create_future()

    class Careful(Careless):
        async def connect(self) -> None:
            self.spawn(self.forever())

    with pytest.raises(AssertionError, match=r"left tasks running: .*Careless\.forever"):
        async with connect(Careless):
            pass
    async with connect(Careful):
        pass


# Beside the twelve: what django.test.AsyncClient does, and so WebsocketClient


@pytest.mark.urls(__name__)
async def test_a_path_that_reverse_made() -> None:
    """A path with percent signs means what it means to a server and to AsyncClient."""
    url = reverse("place", kwargs={"place": "café"})
    async with WebsocketClient().connect(url) as ws:
        assert await ws.receive() == "café None"


@pytest.mark.urls(__name__)
async def test_headers_of_the_client() -> None:
    """Headers that are given to the client go out with each of its requests, sockets too."""
    async with WebsocketClient(headers={"User-Agent": "thermometer"}).connect("/ws/place/a/") as ws:
        assert await ws.receive() == "a thermometer"
