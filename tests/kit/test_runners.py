"""
The kit under every kind of test: pytest-asyncio, unittest, Django's test cases, pytest-django.

What needs a configuration or a database of its own runs in a process of its own: see ``inner``.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
import unittest
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import Group, User
from django.db import connections
from django.http import HttpRequest, HttpResponse
from django.test import TestCase, TransactionTestCase, override_settings
from django.urls import path

from wsconsumer import WebsocketConsumer
from wsconsumer.test import Websocket, WebsocketClient, WebsocketTestMixin, connect, database
from wsconsumer.test.database import shared_database, shared_database_for_fixture

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

ROOT = Path(__file__).parent.parent


class GroupsConsumer(WebsocketConsumer):
    """Makes a group of each message that is not empty, and says which there are."""

    async def receive(self, data: str | bytes) -> None:
        if data:
            await Group.objects.acreate(name=str(data))
        names = [group.name async for group in Group.objects.order_by("name")]
        await self.send(" ".join(names))


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


async def converse(websocket: Websocket) -> None:
    """Let the consumer see the test's rows, and the test see the consumer's."""
    await websocket.send("")
    assert await websocket.receive() == "fixture"
    await Group.objects.acreate(name="body")
    await websocket.send("consumer")
    assert await websocket.receive() == "body consumer fixture"
    assert await Group.objects.acount() == 3


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


# Other configurations, other databases, other runners

INNER = """
import asyncio
from urllib.request import urlopen
import pytest, pytest_asyncio
from django.contrib.auth.models import Group
from django.test import TestCase, TransactionTestCase
from websockets.asyncio.client import connect as aconnect
from tests.kit.test_runners import GroupsConsumer, converse
from wsconsumer.test import LiveWebsocketTestCase, WebsocketClient, WebsocketTestMixin, connect
"""

DATABASE_TESTS = f'''{INNER}
@pytest.fixture
def group():
    Group.objects.create(name="fixture")

async def test_db(db, group):
    """A transaction that is never committed, on the connection of the fixtures."""
    async with connect(GroupsConsumer) as websocket:
        await converse(websocket)

async def test_db_outside_the_block(db, group, websocket_client):
    await Group.objects.acreate(name="outside")
    async with websocket_client.connect("/ws/groups/") as websocket:
        await websocket.send("")
        assert await websocket.receive() == "fixture outside"

async def test_transactional_db(transactional_db, group):
    async with connect(GroupsConsumer) as websocket:
        await converse(websocket)

def test_nothing_was_committed(transactional_db):
    """Whatever runs before: what is rolled back or flushed is gone."""
    assert not Group.objects.exists()

async def test_live(live_websocket_server, group):
    async with aconnect(live_websocket_server.websocket_url_for("/ws/groups/")) as websocket:
        await Group.objects.acreate(name="body")
        await websocket.send("websocket")
        assert await websocket.recv() == "body fixture websocket"
    assert await Group.objects.acount() == 3
    page = await asyncio.to_thread(urlopen, live_websocket_server.url + "/groups/")
    with page:
        assert page.read() == b"3"

async def test_live_left_open(live_websocket_server, group):
    websocket = await aconnect(live_websocket_server.websocket_url_for("/ws/groups/"))
    await websocket.send("")
    assert await websocket.recv() == "fixture"
    websocket.transport.pause_reading()  # this end is left open, and asks for nothing
    websocket.transport.abort()
'''

DJANGO_TESTS = f"""{INNER}
class Rows:
    async def test_rows(self):
        await Group.objects.acreate(name="fixture")
        async with self.websocket_client.connect("/ws/groups/") as websocket:
            await converse(websocket)

    async def test_no_rows(self):
        assert not await Group.objects.aexists()

class InATransactionTests(Rows, WebsocketTestMixin, TestCase):
    pass

class CommittingTests(Rows, WebsocketTestMixin, TransactionTestCase):
    pass

class LiveTests(Rows, WebsocketTestMixin, LiveWebsocketTestCase):
    async def test_live(self):
        await Group.objects.acreate(name="test")
        async with aconnect(self.websocket_url_for("/ws/groups/")) as websocket:
            await websocket.send("websocket")
            assert await websocket.recv() == "test websocket"
"""

MODES_TESTS = f"""{INNER}
@pytest_asyncio.fixture
async def for_one_test():
    async with connect(GroupsConsumer) as websocket:
        yield websocket

@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def for_the_module():
    async with connect(GroupsConsumer) as websocket:
        yield websocket

@pytest.fixture
def group(db):
    Group.objects.create(name="fixture")

@pytest.mark.asyncio
async def test_function_scope(group, for_one_test):
    await converse(for_one_test)

@pytest.mark.asyncio
async def test_two(group, for_one_test):
    async with connect(GroupsConsumer) as websocket:
        await converse(websocket)
        await for_one_test.send("")
        assert await for_one_test.receive() == "body consumer fixture"

@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("number", [1, 2])
async def test_module_scope(group, for_the_module, number):
    await converse(for_the_module)

@pytest.mark.asyncio(loop_scope="module")
async def test_module_scope_beside_another(group, for_the_module):
    async with connect(GroupsConsumer) as websocket:
        await converse(websocket)

@pytest.mark.asyncio
async def test_another_loop(group, for_the_module):
    async with connect(GroupsConsumer) as websocket:
        await converse(websocket)
"""


WITHOUT_DATABASE_TESTS = """
import django
from django.test.utils import setup_test_environment
django.setup()
setup_test_environment()
from websockets.sync.client import connect

async def test_client(websocket_client):
    async with websocket_client.connect("/ws/who/") as websocket:
        assert await websocket.receive() == "AnonymousUser"

def test_live(live_websocket_server):
    with connect(live_websocket_server.websocket_url_for("/ws/who/")) as websocket:
        assert websocket.recv() == "AnonymousUser"
"""


class Inner:
    """A project in a directory of its own, and its tests."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.set_database({"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"})

    def set_database(self, settings: dict[str, Any]) -> None:
        (self.directory / "inner_settings.py").write_text(
            "from tests.settings import *\n"
            "ALLOWED_HOSTS = []\n"
            "ROOT_URLCONF = 'tests.kit.test_runners'\n"
            f"DATABASES = {{'default': {settings!r}}}\n"
        )

    def pytest(self, tests: str, *options: str, **ini: str) -> str:
        """Run tests with pytest, and return what it prints."""
        (self.directory / "pytest.ini").write_text(
            "[pytest]\nfilterwarnings = error\n"
            "asyncio_default_fixture_loop_scope = function\n"
            + "".join(f"{name} = {value}\n" for name, value in ini.items())
        )
        return self._run(tests, "pytest", "-p", "no:cacheprovider", "-q", *options)

    def django(self, tests: str) -> str:
        """Run tests with Django's own runner, and return what it prints."""
        return self._run(tests, "django", "test")

    def _run(self, tests: str, *arguments: str) -> str:
        (self.directory / "test_inner.py").write_text(tests)
        done = subprocess.run(
            [sys.executable, "-W", "error", "-m", *arguments],
            cwd=self.directory,
            env={
                **os.environ,
                "DJANGO_SETTINGS_MODULE": "inner_settings",
                "PYTHONPATH": os.pathsep.join([str(self.directory), str(ROOT)]),
            },
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        output = done.stdout + done.stderr
        assert done.returncode == 0, output
        assert "Warning" not in output, output
        return output


@pytest.fixture
def inner(tmp_path: Path) -> Inner:
    """A project of its own."""
    return Inner(tmp_path)


@pytest.fixture(params=["in memory", "in a file", "postgresql"])
def inner_with_database(request: pytest.FixtureRequest, inner: Inner, tmp_path: Path) -> Inner:
    """A project with each kind of database."""
    sqlite: dict[str, Any] = {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}
    if request.param == "in a file":
        inner.set_database({**sqlite, "TEST": {"NAME": str(tmp_path / "test.sqlite3")}})
    elif request.param == "postgresql":
        inner.set_database(request.getfixturevalue("postgres").settings)
    return inner


def test_pytest_django(inner_with_database: Inner) -> None:
    """``db``, ``transactional_db`` and the live server, on each kind of database."""
    output = inner_with_database.pytest(DATABASE_TESTS, asyncio_mode="auto")
    assert "6 passed" in output


def test_django_runner(inner_with_database: Inner) -> None:
    """Django's test cases and the live one, on each kind of database."""
    assert "Ran 7 tests" in inner_with_database.django(DJANGO_TESTS)


@pytest.mark.parametrize("mode", ["strict", "auto"])
def test_modes_and_scopes(inner: Inner, mode: str) -> None:
    """pytest-asyncio in both modes, with event loops and websockets for a test and for a module."""
    assert "6 passed" in inner.pytest(MODES_TESTS, asyncio_mode=mode)


def test_without_pytest_django(inner: Inner) -> None:
    """Both fixtures work where there is no pytest-django, and no test with a database."""
    output = inner.pytest(WITHOUT_DATABASE_TESTS, "-p", "no:django", asyncio_mode="auto")
    assert "2 passed" in output
