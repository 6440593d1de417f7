"""``revalidate_every``: websockets whose session or user has ended without a word."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import Group, User
from django.contrib.sessions.models import Session
from django.test import TestCase, override_settings
from django.urls import path

from tests.fakes import CONNECT, Wire, close, disconnect, scope
from tests.test_disconnecting import ADA, Broken, Ended, Introduced, session
from wsconsumer import WebsocketConsumer, revalidating
from wsconsumer.connection.monitor import monitor
from wsconsumer.counters import counters
from wsconsumer.revalidating import SLOTS, Round, revalidation, subject_of
from wsconsumer.test import WebsocketClient, advance, connect
from wsconsumer.validity import PartlyUnknown

if TYPE_CHECKING:
    from collections.abc import Iterator


class Telling(WebsocketConsumer):
    """Never ends to connect."""

    async def connect(self) -> None:
        await self.accept()
        await asyncio.get_running_loop().create_future()


urlpatterns = [
    path("ws/telling/", Telling.as_view()),
    path("ws/", Ended.as_view()),
    path("ws/soon/", Ended.as_view(revalidate_every=5)),
    path("ws/never/", Ended.as_view(revalidate_every=None)),
]


@pytest.fixture(autouse=True)
def _urls() -> Iterator[None]:
    with override_settings(ROOT_URLCONF=__name__):
        yield


async def checked() -> None:
    """Wait until what is due has been checked."""
    async with asyncio.timeout(5):
        while (task := revalidation()._task) is not None:  # noqa: SLF001  # to wait for it
            await asyncio.wait([task])


def test_slots() -> None:
    """Each slot of a period comes once in it, however irregular the looks are."""
    each = Round(60, now=100)
    assert each.next == 106
    assert each.take_due(106) == {0}
    assert each.take_due(125) == {1, 2, 3}
    assert each.next == 130
    assert each.take_due(130 + 600) == set(range(SLOTS))
    assert each.next == 736


@pytest.fixture
def page(db: Any, websocket_client: WebsocketClient) -> WebsocketClient:
    """A browser that Ada is logged in with."""
    websocket_client.force_login(User.objects.create_user("ada"))
    return websocket_client


@pytest.mark.parametrize(
    ("ended", "reason"),
    [
        (lambda: Session.objects.all().delete(), "the session has ended"),
        (lambda: User.objects.update(is_active=False), "the user may not log in any more"),
        (lambda: User.objects.update(password="x"), "the password was changed"),
    ],
    ids=["session", "user", "password"],
)
async def test_what_nobody_told(ended: Any, reason: str, page: WebsocketClient) -> None:
    """Within a minute it is noticed, and the websocket is closed with 4401."""
    async with page.connect("/ws/") as ws, page.connect("/ws/never/") as other:
        await ws.advance(60)
        await checked()
        await ws.expect_nothing()
        await sync_to_async(ended)()
        await ws.advance(60)
        await checked()
        assert (await ws.receive_close(), ws.close_reason) == (4401, reason)
        await other.expect_nothing()
    assert counters["session_ended"] == 1


async def test_a_period_of_its_own(page: WebsocketClient) -> None:
    """A class or a view may look more often."""
    async with page.connect("/ws/soon/") as soon, page.connect("/ws/") as ws:
        await sync_to_async(Session.objects.all().delete)()
        await soon.advance(5)
        await checked()
        assert await soon.receive_close() == 4401
        await ws.advance(20)
        await checked()
        assert list(revalidation()._rounds) == [60]  # noqa: SLF001  # what nobody has is forgotten
        await ws.advance(40)
        await checked()
        assert await ws.receive_close() == 4401


async def test_a_user_whom_the_consumer_sets(page: WebsocketClient) -> None:
    """Whoever is the user by then is checked."""
    async with connect(Introduced) as ws:
        await ws.send("I am Ada")
        await ws.receive()
        await sync_to_async(User.objects.all().delete)()
        await ws.advance(60)
        await checked()
        await ws.expect_nothing()  # this one was never in the database

    class Loaded(WebsocketConsumer):
        async def receive(self, data: str | bytes) -> None:
            self.request.user = await User.objects.acreate_user("bob")
            await self.send("hello")

    async with connect(Loaded) as ws:
        await ws.send("I am Bob")
        await ws.receive()
        await sync_to_async(User.objects.all().delete)()
        await ws.advance(60)
        await checked()
        assert await ws.receive_close() == 4401


@pytest.mark.parametrize("user", [None, ADA, Group(pk=1)], ids=["nobody", "unsaved", "another"])
async def test_those_without_a_user_cost_nothing(user: Any) -> None:
    """Visitors, users of another model and users of no database are asked for nowhere."""
    async with connect(Ended, user=user, session=session("v" * 32)) as ws:
        # No test without a mark may ask the database, so this would be a failure.
        await ws.advance(60)
        await checked()
        await ws.expect_nothing()
    assert counters["revalidation_failed"] == 0


async def test_a_database_that_is_away(
    page: WebsocketClient, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody is closed, the log says so once, and it is counted and tried again."""
    asked: list[int] = []

    def fail(subjects: Any) -> Any:
        asked.append(len(subjects))
        raise OSError("no route to host")

    async with page.connect("/ws/") as ws:
        with monkeypatch.context() as patched:
            patched.setattr(revalidating, "find_ended", fail)
            for _ in range(3):  # the last slot of a period may be due right after it
                await ws.advance(60)
                await checked()
        await ws.expect_nothing()
        assert caplog.text.count("The sessions and users of websockets could not be checked") == 1
        assert counters["revalidation_failed"] == len(asked) >= 2
        await sync_to_async(Session.objects.all().delete)()
        await ws.advance(60)
        await checked()
        assert await ws.receive_close() == 4401


async def test_a_connect_that_goes_on(page: WebsocketClient) -> None:
    """A websocket is checked from ``accept()`` on, however long ``connect()`` takes."""
    async with page.connect("/ws/telling/") as ws:
        await sync_to_async(Session.objects.all().delete)()
        await ws.advance(60)
        await checked()
        assert await ws.receive_close() == 4401


async def test_an_engine_of_sessions_that_fails(
    page: WebsocketClient, caplog: pytest.LogCaptureFixture
) -> None:
    """It is logged and counted, and the other websockets are checked."""
    broken: Any = Broken()
    broken._session_cache = {"_auth_user_id": "1"}  # noqa: SLF001  # as if it was loaded
    wire = Wire(CONNECT)
    app = Ended.as_asgi()(scope(session=broken), wire.receive, wire.send)
    task = asyncio.create_task(app)
    await wire.until_sent(1)
    async with page.connect("/ws/") as ws:
        broken.is_broken = True
        await sync_to_async(Session.objects.all().delete)()
        await ws.advance(60)
        await checked()
        assert await ws.receive_close() == 4401
    assert len(wire.sent) == 1
    wire.put(disconnect())
    await task
    text = "Ended: the session and user of a websocket could not be checked."
    assert caplog.messages.count(text) == counters["revalidation_failed"] >= 1


async def test_a_batch_that_fails_in_part(
    page: WebsocketClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is known is acted on, and one batch is not the others' matter."""
    monkeypatch.setattr(revalidating, "BATCH", 1)
    monkeypatch.setattr(revalidating, "_slot_of", lambda _: 0)
    failures: list[Exception] = [OSError(), PartlyUnknown(["the session has ended"])]

    def fail(subjects: Any) -> Any:
        raise failures.pop(0)

    monkeypatch.setattr(revalidating, "find_ended", fail)
    async with page.connect("/ws/") as first, page.connect("/ws/") as second:
        await first.advance(6)
        await checked()
        assert await second.receive_close() == 4401
        await first.expect_nothing()
    assert counters["revalidation_failed"] == 2


async def test_a_database_that_never_answers(
    page: WebsocketClient, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is told of while it is waited for, once."""
    is_asked, may_answer = threading.Event(), threading.Event()

    def wait(subjects: Any) -> Any:
        is_asked.set()
        may_answer.wait(10)
        return ["the session has ended"] * len(subjects)

    monkeypatch.setattr(revalidating, "find_ended", wait)
    try:
        async with page.connect("/ws/") as ws:
            await ws.advance(60)
            assert counters["revalidation_failed"] == 0
            await asyncio.to_thread(is_asked.wait, 10)
            revalidation()._late_at = 0.0  # noqa: SLF001  # as if it had been 30 seconds
            for _ in range(2):
                await ws.advance(1)
                assert counters["revalidation_failed"] == 1
            assert "no answer within 30 seconds" in caplog.text
            may_answer.set()
            await checked()
            assert await ws.receive_close() == 4401
    finally:
        may_answer.set()


async def test_a_user_who_changed_meanwhile(
    page: WebsocketClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was asked about somebody else closes nobody."""
    user = await User.objects.acreate_user("bob")

    class Changing(Ended):
        async def receive(self, data: str | bytes) -> None:
            self.request.user = user

    def find_ended(subjects: Any) -> Any:
        return ["ended"] * len(subjects)

    bob = await User.objects.acreate_user("carl")
    async with connect(Changing, user=bob) as ws:
        watched = monitor().sessions[0]
        before = subject_of(watched)
        assert before is not None
        await ws.send("change")
        await ws.settle()
        check = revalidating.Check(watched, before)
        await revalidating._close_ended([check], find_ended([before]))  # noqa: SLF001  # its last step
        await ws.expect_nothing()


async def test_slices_and_batches(page: WebsocketClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many there are, the event loop has its turn and a query its bounds."""
    monkeypatch.setattr(revalidating, "SLICE", 1)
    monkeypatch.setattr(revalidating, "BATCH", 1)
    async with page.connect("/ws/") as ws, page.connect("/ws/") as other:
        await sync_to_async(Session.objects.all().delete)()
        await ws.advance(60)
        await checked()
        for each in (ws, other):
            assert await each.receive_close() == 4401


async def test_without_the_kit(monkeypatch: pytest.MonkeyPatch) -> None:
    """In production a handshake thread asks."""
    names = []

    def find_ended(subjects: Any) -> Any:
        names.append(threading.current_thread().name)
        return ["gone"] * len(subjects)

    monkeypatch.setattr(revalidating, "find_ended", find_ended)
    wire = Wire(CONNECT)
    user = User(pk=123)
    user._state.adding = False  # noqa: SLF001  # as if it was loaded
    task = asyncio.create_task(Ended.as_asgi()(scope(user=user), wire.receive, wire.send))
    await wire.until_sent(1)
    await advance(60)
    await checked()
    await wire.until_sent(2)
    assert wire.sent[1] == close(4401, "gone")
    assert names[0].startswith("wsconsumer-handshake")
    wire.put(disconnect())
    await task


class DjangoTests(TestCase):
    """Under Django's own test case."""

    def setUp(self) -> None:
        self.client_ = WebsocketClient()
        self.client_.force_login(User.objects.create_user("ada"))

    async def test_it_sees_the_data_of_the_test(self) -> None:
        """What the test has changed counts, without a commit."""
        async with self.client_.connect("/ws/") as ws:
            await ws.advance(60)
            await checked()
            await ws.expect_nothing()
            await User.objects.aupdate(is_active=False)
            await ws.advance(60)
            assert await ws.receive_close() == 4401
