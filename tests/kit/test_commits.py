"""``wsconsumer.test.run_on_commit``, and what a test is told that forgets it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from asgiref.sync import sync_to_async
from django.db import connection, transaction
from django.http import HttpRequest, HttpResponse
from django.test import TestCase, TransactionTestCase, override_settings
from django.urls import path

from wsconsumer import WebsocketConsumer, abroadcast, broadcast
from wsconsumer.test import WebsocketTestMixin, connect, run_on_commit

if TYPE_CHECKING:
    from wsconsumer.test import WebsocketClient


class News(WebsocketConsumer):
    """Reads the news, and adds to them what a client says, after a commit."""

    async def connect(self) -> None:
        await self.join("news")
        await self.join("weather")

    async def receive(self, data: str | bytes) -> None:
        await abroadcast("news", data, on_commit=True)


def say(request: HttpRequest) -> HttpResponse:
    """Broadcast from a sync view, after its transaction."""
    with transaction.atomic():
        broadcast("news", "from a page", on_commit=True)
    return HttpResponse()


urlpatterns = [path("ws/news/", News.as_view()), path("say/", say)]


class Saying(WebsocketTestMixin):
    """What Django's two kinds of test case have in common."""

    websocket_client: WebsocketClient
    waits: bool

    async def test_a_page(self) -> None:
        """What a page broadcasts comes with the commit."""
        async with self.websocket_client.connect("/ws/news/") as ws:
            await self.websocket_client.get("/say/")
            if self.waits:
                await ws.expect_nothing()
                await run_on_commit()
            assert await ws.receive() == "from a page"
            await run_on_commit()
            await ws.expect_nothing()


@override_settings(ROOT_URLCONF=__name__, MIDDLEWARE=[])
class InATransactionTests(Saying, TestCase):
    """A ``TestCase`` never commits, so the commit is played."""

    waits = True


@override_settings(ROOT_URLCONF=__name__, MIDDLEWARE=[])
class CommittingTests(Saying, TransactionTestCase):
    """A ``TransactionTestCase`` commits, so there is nothing to do."""

    waits = False


@pytest.mark.django_db
async def test_under_pytest_django() -> None:
    """The transaction of ``db`` is found from an async test, for consumer and test alike."""
    async with connect(News) as ws:
        await ws.send("from the consumer")
        await ws.settle()
        await abroadcast("news", "from the test", on_commit=True)
        await ws.expect_nothing()
        await run_on_commit()
        assert [await ws.receive(), await ws.receive()] == ["from the consumer", "from the test"]


@pytest.mark.django_db
async def test_beside_the_websocket(websocket_client: WebsocketClient) -> None:
    """It works without a websocket, and what it runs may ask for more of the same."""
    done: list[int] = []

    def work() -> None:
        transaction.on_commit(lambda: transaction.on_commit(lambda: done.append(2)))
        transaction.on_commit(lambda: done.append(1))

    await sync_to_async(work)()
    await run_on_commit()
    assert done == [1, 2]


@pytest.mark.django_db
async def test_what_fails(
    websocket_client: WebsocketClient, caplog: pytest.LogCaptureFixture
) -> None:
    """A robust callback that fails is logged, as by Django; another one ends it with its error."""
    done: list[int] = []

    def work() -> None:
        transaction.on_commit(lambda: 1 // 0, robust=True)
        transaction.on_commit(lambda: done.append(1))
        transaction.on_commit(lambda: 1 // 0)
        transaction.on_commit(lambda: done.append(2))

    await sync_to_async(work)()
    with pytest.raises(ZeroDivisionError):
        await run_on_commit()
    await run_on_commit()
    assert done == [1]
    [record] = caplog.records
    assert record.exc_info is not None


@pytest.mark.django_db
async def test_in_another_transaction(websocket_client: WebsocketClient) -> None:
    """A transaction that may yet be rolled back is not the test's own."""
    atomic = transaction.atomic()
    await sync_to_async(atomic.__enter__)()
    try:
        with pytest.raises(RuntimeError, match=r"on 'default'. Leave its atomic\(\) block first"):
            await run_on_commit()
    finally:
        await sync_to_async(atomic.__exit__)(None, None, None)


def in_two_groups() -> None:
    """Broadcast to two groups after a commit that does not come."""
    broadcast("news", 1, on_commit=True)
    broadcast("sports", 2, on_commit=True)


def in_two_callbacks() -> None:
    """Leave something else to do after that."""
    for _ in range(2):
        transaction.on_commit(lambda: None)


ADVICE = "The transaction of a test is never committed: write `await run_on_commit()` first."


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("work", "lines"),
    [
        (in_two_groups, ["2 broadcasts wait for a commit, to 'news', 'sports'.", ADVICE]),
        (
            lambda: broadcast("news", 1, on_commit=True),
            ["1 broadcast waits for a commit, to 'news'.", ADVICE],
        ),
        (
            lambda: transaction.on_commit(lambda: None),
            ["1 callback waits for a commit.", ADVICE],
        ),
        (
            in_two_callbacks,
            ["2 callbacks wait for a commit.", ADVICE],
        ),
        (lambda: None, []),
    ],
    ids=["broadcasts", "broadcast", "callback", "callbacks", "nothing"],
)
@pytest.mark.parametrize("opened", ["connect", "WebsocketClient"])
async def test_a_timeout(
    opened: str, work: Any, lines: list[str], websocket_client: WebsocketClient
) -> None:
    """It names the client's groups, and says what waits for a commit."""
    await sync_to_async(work)()
    with override_settings(ROOT_URLCONF=__name__, MIDDLEWARE=[]):
        opening = connect(News) if opened == "connect" else websocket_client.connect("/ws/news/")
        async with opening as ws:
            with pytest.raises(AssertionError) as caught:
                await ws.receive(timeout=0)
    told = ["The client is in the groups 'news', 'weather'.", *lines]
    assert "\n".join([*told, "The application waits for the next event."]) in str(caught.value)
    await sync_to_async(connection.run_on_commit.clear)()


class InATransactionTimeoutTests(TestCase):
    """The same, where the test has the thread of the transaction to itself."""

    async def test_a_timeout(self) -> None:
        """What waits is found there too; a client in no group is told so."""
        async with connect(WebsocketConsumer) as ws:
            await abroadcast("news", 1, on_commit=True)
            with pytest.raises(AssertionError, match="1 broadcast waits for a commit") as caught:
                await ws.receive(timeout=0)
        assert "The client is in no group." in str(caught.value)


async def test_an_application_that_is_no_consumer() -> None:
    """Nothing is said of groups where nobody knows of any."""
    async with connect(News.as_asgi()) as ws:
        with pytest.raises(AssertionError) as caught:
            await ws.receive(timeout=0)
    assert "group" not in str(caught.value)
