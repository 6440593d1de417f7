"""The kit under other configurations, databases and runners, in processes of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.engines import Postgres

ROOT = Path(__file__).parent.parent.parent


INNER = """
import asyncio
from urllib.request import urlopen
import pytest, pytest_asyncio
from django.contrib.auth.models import Group
from django.test import TestCase, TransactionTestCase
from websockets.asyncio.client import connect as aconnect
from tests.kit.groups import GroupsConsumer, converse
from wsconsumer.test import LiveWebsocketTestCase, WebsocketClient, WebsocketTestMixin, connect
"""

DATABASE_TESTS = f'''{INNER}
from django.contrib.auth.mixins import PermissionRequiredMixin
from django.contrib.auth.models import Permission, User
from wsconsumer import WebsocketConsumer, abroadcast
from wsconsumer.test import run_on_commit

class EditorsConsumer(PermissionRequiredMixin, WebsocketConsumer):
    permission_required = "auth.change_group"

    async def connect(self):
        await self.join("news")

@pytest.fixture
def editor(db):
    editor = User.objects.create_user("ada")
    editor.user_permissions.add(Permission.objects.get(codename="change_group"))
    return editor

async def test_a_permission_and_a_commit(editor):
    """Both are of the test's own transaction."""
    async with connect(EditorsConsumer, user=editor) as websocket:
        await abroadcast("news", "hello", on_commit=True)
        await websocket.expect_nothing()
        await run_on_commit()
        assert await websocket.receive() == "hello"

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

@pytest.mark.asyncio
async def test_a_websocket_of_another_loop(for_the_module):
    with pytest.raises(RuntimeError, match="the same loop_scope"):
        await for_the_module.send("")
"""


LINKS = (
    "SELECT count(*) FROM pg_stat_activity "
    "WHERE datname = current_database() AND pid <> pg_backend_pid()"
)
PERSISTENT_TESTS = f"""{INNER}
import logging, time
from functools import wraps
from asgiref.sync import sync_to_async
from django.db import connection
from django.http import HttpResponse
from django.test import override_settings
from django.urls import path
from wsconsumer import WebsocketConsumer
from wsconsumer.test import real_engine

LINKS = {LINKS!r}

class Counting(logging.Handler):
    def emit(self, record):
        Group.objects.count()

def counting(view):
    @wraps(view)
    def wrapper(*args, **kwargs):
        Group.objects.count()
        return view(*args, **kwargs)
    return wrapper

class MemberConsumer(WebsocketConsumer):
    async def connect(self):
        await self.join("room")
        await in_any_thread()
        await self.broadcast("room", str(await Group.objects.acount()))

    async def receive(self, data):
        raise RuntimeError("for the log")

async def in_any_thread():
    await asyncio.to_thread(Group.objects.count)
    await sync_to_async(Group.objects.count, thread_sensitive=False)()

@counting
def page(request):
    return HttpResponse("a page")

async def async_page(request):
    await in_any_thread()
    return HttpResponse(str(await Group.objects.acount()))

urlpatterns = [
    path("ws/member/", counting(MemberConsumer.as_view())),
    path("page/", page),
    path("async-page/", async_page),
]

@override_settings(ROOT_URLCONF=__name__)
class LiveTests(LiveWebsocketTestCase):
    def count_links(self):
        with connection.cursor() as cursor:
            cursor.execute(LINKS)
            return cursor.fetchone()[0]

    def expect_no_links(self):
        deadline = time.monotonic() + 20
        while self.count_links() and time.monotonic() < deadline:
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_sleep(0.02)")  # it is PostgreSQL that has to end them
        assert self.count_links() == 0

    async def test_live(self):
        await sync_to_async(self.expect_no_links)()
        await self.converse()
        assert await sync_to_async(self.count_links)()

    async def test_live_again(self):
        await self.test_live()

    async def converse(self):
        logger, handler = logging.getLogger("wsconsumer.consumer"), Counting()
        logger.addHandler(handler)
        self.addCleanup(logger.removeHandler, handler)
        async with aconnect(self.websocket_url_for("/ws/member/")) as websocket:
            assert await websocket.recv() == "0"
            await websocket.send("fail")
            await websocket.wait_closed()
        for name, text in (("page", b"a page"), ("async-page", b"0")):
            response = await asyncio.to_thread(urlopen, self.live_server_url + f"/{{name}}/")
            with response:
                assert response.read() == text

@real_engine()
class EngineTests(LiveTests):
    test_live = LiveTests.converse
    test_live_again = None
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

    def set_database(self, settings: dict[str, Any], groups: str = "memory.Memory") -> None:
        (self.directory / "inner_settings.py").write_text(
            "from tests.settings import *\n"
            "ALLOWED_HOSTS = []\n"
            "ROOT_URLCONF = 'tests.kit.test_runners'\n"
            f"DATABASES = {{'default': {settings!r}}}\n"
            f"WSCONSUMER = {{'GROUPS': {{'BACKEND': 'wsconsumer.groups.{groups}Backend'}}}}\n"
        )

    def pytest(self, tests: str, *options: str, **ini: str) -> str:
        """Run tests with pytest, and return what it prints."""
        (self.directory / "pytest.ini").write_text(
            "[pytest]\nfilterwarnings = error\n"
            "asyncio_default_fixture_loop_scope = function\n"
            + "".join(f"{name} = {value}\n" for name, value in ini.items())
        )
        return self._run(tests, "pytest", "-p", "no:cacheprovider", "-q", *options)

    def django(self, tests: str, *options: str) -> str:
        """Run tests with Django's own runner, and return what it prints."""
        return self._run(tests, "django", "test", *options)

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
    assert "7 passed" in output


def test_django_runner(inner_with_database: Inner) -> None:
    """Django's test cases and the live one, on each kind of database."""
    assert "Ran 7 tests" in inner_with_database.django(DJANGO_TESTS)


@pytest.mark.parametrize("mode", ["strict", "auto"])
def test_modes_and_scopes(inner: Inner, mode: str) -> None:
    """pytest-asyncio in both modes, with event loops and websockets for a test and for a module."""
    assert "7 passed" in inner.pytest(MODES_TESTS, asyncio_mode=mode)


def test_without_pytest_django(inner: Inner) -> None:
    """Both fixtures work where there is no pytest-django, and no test with a database."""
    output = inner.pytest(WITHOUT_DATABASE_TESTS, "-p", "no:django", asyncio_mode="auto")
    assert "2 passed" in output


MEMBERS = """
import logging
from django.test import SimpleTestCase
from wsconsumer import WebsocketConsumer
from wsconsumer.log_thread import log_thread
from wsconsumer.test import connect

class Member(WebsocketConsumer):
    async def connect(self):
        await self.join("lobby")

class Joining:
    async def test_a_member(self):
        with self.assertNoLogs("wsconsumer.groups"):
            async with connect(Member) as websocket:
                assert websocket.accepted
            log_thread().flush()

class OneTests(Joining, SimpleTestCase):
    pass

class TwoTests(Joining, SimpleTestCase):
    pass
"""


def test_members_in_processes_that_share_out_tests(inner: Inner) -> None:
    """They are no workers of a server, and nobody is warned: Django's, and those of xdist."""
    assert "Ran 2 tests" in inner.django(MEMBERS, "--parallel", "2")
    assert "2 passed" in inner.pytest(MEMBERS, "-n", "2", asyncio_mode="auto")


@pytest.mark.parametrize("runner", ["django", "pytest"])
def test_persistent_connections(inner: Inner, postgres: Postgres, runner: str) -> None:
    """When tests end no connection of the live server keeps their database from being dropped."""
    inner.set_database({**postgres.settings, "CONN_MAX_AGE": 600}, "postgres.Postgres")
    output = (
        inner.django(PERSISTENT_TESTS) if runner == "django" else inner.pytest(PERSISTENT_TESTS)
    )
    assert "Ran 3 tests" in output or "3 passed" in output
    assert not postgres.query("SELECT datname FROM pg_database WHERE datname = 'test_postgres'")
