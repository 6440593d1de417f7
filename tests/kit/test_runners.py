"""
The kit under every kind of test: pytest-asyncio, unittest, Django's test cases, pytest-django.

What needs a configuration or a database of its own is in ``test_other_runners.py``.
"""

from __future__ import annotations

import asyncio
import threading
import unittest
from typing import TYPE_CHECKING

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import Group, User
from django.db import connections
from django.http import HttpRequest, HttpResponse
from django.test import TestCase, TransactionTestCase, override_settings
from django.urls import path

from tests.kit.groups import GroupsConsumer, converse
from wsconsumer import WebsocketConsumer
from wsconsumer.test import Websocket, WebsocketClient, WebsocketTestMixin, connect, database
from wsconsumer.test.database import shared_database, shared_database_for_fixture

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class WhoConsumer(WebsocketConsumer):
    """Says who is there."""

    async def connect(self) -> None:
        await self.accept()
        await self.send(str(self.user))


def groups(request: HttpRequest) -> HttpResponse:
    """Say how many groups there are."""
    return HttpResponse(str(Group.objects.count()))


urlpatterns = [
    path("groups/", groups),
    path("ws/groups/", GroupsConsumer.as_view()),
    path("ws/who/", WhoConsumer.as_view()),
]


# pytest-asyncio in auto mode, pytest-django, a database in memory


@pytest.fixture
def _group(db: None) -> None:
    Group.objects.create(name="fixture")


@pytest.fixture
async def opened(_group: None) -> AsyncIterator[Websocket]:
    """Open a websocket in a fixture."""
    async with connect(GroupsConsumer) as websocket:
        yield websocket


@pytest.mark.usefixtures("_group")
async def test_in_a_transaction() -> None:
    """With ``db`` the consumer shares the test's open transaction."""
    async with connect(GroupsConsumer) as websocket:
        await converse(websocket)


@pytest.mark.usefixtures("transactional_db", "_group")
async def test_with_committed_rows() -> None:
    """With ``transactional_db`` the consumer uses the test's connection too."""
    async with connect(GroupsConsumer) as websocket:
        await converse(websocket)


async def test_in_a_fixture(opened: Websocket) -> None:
    """A websocket from an async fixture is as good, and so is the test's database."""
    await converse(opened)


@pytest.mark.usefixtures("_group")
@override_settings(ROOT_URLCONF=__name__)
async def test_outside_the_block(websocket_client: WebsocketClient) -> None:
    """With the fixture ``websocket_client`` all that the test awaits shares its database."""
    assert await Group.objects.acount() == 1
    await websocket_client.aforce_login(await User.objects.acreate_user("ada"))
    async with websocket_client.connect("/ws/who/") as websocket:
        assert await websocket.receive() == "ada"


@pytest.mark.usefixtures("_group")
async def test_nested() -> None:
    """Websockets in each other's blocks share the database."""
    async with connect(GroupsConsumer) as outer, connect(GroupsConsumer) as inner:
        await converse(inner)
        await outer.send("")
        assert await outer.receive() == "body consumer fixture"


async def test_tasks_share_a_thread() -> None:
    """Websockets in tasks never use the test's connections at the same time."""

    async def visit() -> threading.Thread:
        async with shared_database():
            await asyncio.sleep(0)  # so that the others are here too
            return await sync_to_async(threading.current_thread)()

    threads = await asyncio.gather(visit(), visit(), visit())
    assert len({*threads}) == 1
    assert threading.current_thread() not in threads


async def test_left_in_another_task() -> None:
    """A block that is entered in one task and left in another is no error."""
    block = connect(WebsocketConsumer)
    websocket = await asyncio.create_task(block.__aenter__())
    assert websocket.accepted
    await asyncio.create_task(block.__aexit__(None, None, None))


async def test_sync_code_that_nobody_awaits() -> None:
    """The end of a test waits for sync code whose consumer was cancelled."""
    started, finish, log = asyncio.Event(), threading.Event(), []
    loop = asyncio.get_running_loop()

    def work() -> None:
        loop.call_soon_threadsafe(started.set)
        finish.wait()
        log.append("done")

    async with shared_database():
        task = asyncio.create_task(sync_to_async(work)())
        await started.wait()
        task.cancel()
        await asyncio.wait([task])
        finish.set()
    assert log == ["done"]


async def test_sync_code_that_never_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """It does not keep a test from ending."""
    monkeypatch.setattr(database, "PATIENCE", 0.01)
    started, finish = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def work() -> None:
        loop.call_soon_threadsafe(started.set)
        finish.wait()

    async with shared_database():
        task = asyncio.create_task(sync_to_async(work)())
        await started.wait()
    assert not task.done()
    finish.set()
    await task


def test_a_connection_of_the_test_stays_open(db: None) -> None:
    """No signal of a handshake closes it, and afterwards Django may close it again."""
    own = connections["default"]
    with shared_database_for_fixture():
        assert "close_if_unusable_or_obsolete" in vars(own)
        assert own.allow_thread_sharing
    assert "close_if_unusable_or_obsolete" not in vars(own)
    assert not own.allow_thread_sharing


# unittest and Django


class IsolatedTests(unittest.IsolatedAsyncioTestCase):
    """Without Django's and pytest's help."""

    async def asyncSetUp(self) -> None:
        self.websocket = await self.enterAsyncContext(connect(WebsocketConsumer))

    async def test_websockets(self) -> None:
        """A websocket from ``asyncSetUp()`` is open in the test, beside the test's own."""
        assert self.websocket.accepted
        async with connect(WebsocketConsumer) as other:
            assert other.accepted
        await self.websocket.close()


class DjangoTests(WebsocketTestMixin):
    """What Django's two kinds of test case have in common."""

    async def test_rows(self) -> None:
        """Test and consumer see each other's rows."""
        await Group.objects.acreate(name="fixture")
        async with self.websocket_client.connect("/ws/groups/") as websocket:
            await converse(websocket)

    async def test_user(self) -> None:
        """A user who is logged in in the test is known to the consumer."""
        await self.websocket_client.aforce_login(await User.objects.acreate_user("ada"))
        async with self.websocket_client.connect("/ws/who/") as websocket:
            assert await websocket.receive() == "ada"

    async def test_a_client_for_each_test(self) -> None:
        """It is of the class that the test case names, and has no cookies to begin with."""
        assert type(self.websocket_client) is self.websocket_client_class
        assert not self.websocket_client.cookies
        self.websocket_client.cookies["a"] = "b"


@override_settings(ROOT_URLCONF=__name__)
class InATransactionTests(DjangoTests, TestCase):
    """Django's ``TestCase``."""

    bob: User

    @classmethod
    def setUpTestData(cls) -> None:
        cls.bob = User.objects.create_user("bob")

    async def test_data_of_the_class(self) -> None:
        """The consumer sees what ``setUpTestData()`` made."""
        await self.websocket_client.aforce_login(self.bob)
        async with self.websocket_client.connect("/ws/who/") as websocket:
            assert await websocket.receive() == "bob"


class OwnClient(WebsocketClient):
    """A client of the project's own."""


@override_settings(ROOT_URLCONF=__name__)
class CommittingTests(DjangoTests, TransactionTestCase):
    """Django's ``TransactionTestCase``."""

    websocket_client_class = OwnClient
