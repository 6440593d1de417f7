"""
``wsconsumer.test.live``: daphne and the whole project, in the process of the tests.

Other databases than one in memory, and Django's own runner: see ``test_other_runners.py``.
"""

from __future__ import annotations

import asyncio
import http.client
import subprocess
import sys
import threading
import unittest
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
from asgiref.sync import sync_to_async
from django.conf import settings
from django.contrib.auth.models import Group
from django.db import connections
from django.http import HttpRequest, HttpResponse
from django.test import modify_settings, override_settings
from django.urls import path
from websockets.asyncio.client import connect as aconnect
from websockets.exceptions import ConnectionClosedError
from websockets.sync.client import connect

from wsconsumer import WebsocketConsumer
from wsconsumer.handshake import running
from wsconsumer.test import LiveWebsocketTestCase, live, plugin

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from wsconsumer.test.live import LiveServer


class GroupsConsumer(WebsocketConsumer):
    """Makes a group of each message that is not empty, and says which there are."""

    ended: list[int] = []  # noqa: RUF012  # emptied by a fixture

    async def receive(self, data: str | bytes) -> None:
        if data:
            await Group.objects.acreate(name=str(data))
        names = [group.name async for group in Group.objects.order_by("name")]
        await self.send(" ".join(names))

    async def disconnect(self, code: int, reason: str) -> None:
        self.ended.append(code)


class ThreadConsumer(WebsocketConsumer):
    """Says in which thread its sync code runs."""

    async def connect(self) -> None:
        await self.accept()
        thread = await sync_to_async(threading.current_thread)()
        await self.send(thread.name)


def groups(request: HttpRequest) -> HttpResponse:
    """Say which groups there are."""
    return HttpResponse(" ".join(Group.objects.order_by("name").values_list("name", flat=True)))


def persistent(request: HttpRequest) -> HttpResponse:
    """Use a connection that Django keeps, as with a ``CONN_MAX_AGE`` of ``None``."""
    with connections["sqlite"].cursor() as cursor:
        cursor.execute("SELECT 1")
    connections["sqlite"].close_at = None
    used.append(connections["sqlite"])
    return HttpResponse()


used: list[Any] = []

urlpatterns = [
    path("groups/", groups),
    path("persistent/", persistent),
    path("ws/groups/", GroupsConsumer.as_view()),
    path("ws/thread/", ThreadConsumer.as_view()),
]


@pytest.fixture(autouse=True)
def _settings() -> Iterator[None]:
    GroupsConsumer.ended.clear()
    with override_settings(ROOT_URLCONF=__name__):
        yield


def get(url: str) -> tuple[int, bytes]:
    """Return the status and the body of a page."""
    parts = urlsplit(url)
    client = http.client.HTTPConnection(parts.netloc, timeout=10)
    client.request("GET", parts.path)
    with closing(client), client.getresponse() as response:
        return response.status, response.read()


@override_settings(ROOT_URLCONF=__name__, ALLOWED_HOSTS=[])
class LiveTests(LiveWebsocketTestCase):
    """The test case."""

    def test_urls(self) -> None:
        """The URLs are those of one port on localhost."""
        port = urlsplit(self.live_server_url).port
        assert self.live_server_url == f"http://localhost:{port}"
        assert self.websocket_url == f"ws://localhost:{port}"
        assert self.websocket_url_for("/ws/groups/") == f"ws://localhost:{port}/ws/groups/"
        assert self.websocket_url_for("ws/groups/") == f"ws://localhost:{port}/ws/groups/"

    def test_database(self) -> None:
        """Test, page and websocket see each other's rows."""
        Group.objects.create(name="test")
        with connect(self.websocket_url_for("/ws/groups/")) as websocket:
            websocket.send("websocket")
            assert websocket.recv() == "test websocket"
        assert Group.objects.filter(name="websocket").exists()
        assert get(f"{self.live_server_url}/groups/") == (200, b"test websocket")

    def test_an_empty_database(self) -> None:
        """Nothing is there that another test made."""
        with connect(self.websocket_url_for("/ws/groups/")) as websocket:
            websocket.send("websocket")
            assert websocket.recv() == "websocket"

    async def test_async(self) -> None:
        """An async test works too."""
        await Group.objects.acreate(name="test")
        async with aconnect(self.websocket_url_for("/ws/groups/")) as websocket:
            await websocket.send("")
            assert await websocket.recv() == "test"


@contextmanager
def left_open(url: str) -> Iterator[None]:
    """Open a websocket, let something else happen, and see that the websocket was ended."""
    with connect(url) as websocket:
        websocket.send("")
        websocket.recv()
        yield
        assert GroupsConsumer.ended == [1006]
        with pytest.raises(ConnectionClosedError):
            websocket.recv()


@pytest.mark.usefixtures("transactional_db")
def test_what_a_test_leaves_open() -> None:
    """It has ended, and nothing of it is left, when the next test of the class begins."""

    class Leaving(LiveWebsocketTestCase):
        def test_a(self) -> None:
            self.enterClassContext(left_open(self.websocket_url_for("/ws/groups/")))

        def test_b(self) -> None:
            assert GroupsConsumer.ended == [1006]

    result = unittest.TestResult()
    unittest.TestLoader().loadTestsFromTestCase(Leaving)(result)
    assert result.testsRun == 2
    assert not result.errors
    assert not result.failures


@pytest.mark.usefixtures("transactional_db")
def test_the_end() -> None:
    """What is left of the websockets ends with the server, and nobody listens any more."""
    with live.serve() as server:
        ending = left_open(server.websocket_url_for("/ws/groups/"))
        ending.__enter__()
    ending.__exit__(None, None, None)
    with pytest.raises(ConnectionRefusedError):
        get(server.url)


def test_fixture(live_websocket_server: LiveServer) -> None:
    """The fixture is the server; a test that uses it may commit rows."""
    Group.objects.create(name="test")
    with connect(live_websocket_server.websocket_url_for("/ws/groups/")) as websocket:
        websocket.send("websocket")
        assert websocket.recv() == "test websocket"
    assert get(f"{live_websocket_server.url}/groups/") == (200, b"test websocket")


@pytest.mark.usefixtures("live_websocket_server")
@pytest.mark.parametrize("number", [1, 2])
def test_fixture_of_parameters(number: int) -> None:
    """Each of them begins with an empty database."""
    Group.objects.create(name="test")
    assert Group.objects.count() == 1


@pytest.mark.usefixtures("transactional_db", "live_websocket_server")
def test_both_fixtures() -> None:
    """A test may say itself that it wants a database that commits."""
    Group.objects.create(name="test")


@pytest.mark.parametrize("is_installed", [True, False])
@pytest.mark.parametrize("name", ["live_websocket_server", "websocket_client"])
def test_tests_that_commit(name: str, is_installed: bool) -> None:
    """pytest-django, where it is installed, is told of the tests that need to commit."""
    manager = SimpleNamespace(has_plugin={"django": is_installed}.__getitem__)
    item: Any = SimpleNamespace(
        fixturenames=["a", name], config=SimpleNamespace(pluginmanager=manager)
    )
    plugin.pytest_itemcollected(item)
    commits = is_installed and name == "live_websocket_server"
    assert item.fixturenames == [*(["transactional_db"] if commits else []), "a", name]


@pytest.mark.usefixtures("transactional_db")
def test_host() -> None:
    """Another host is what the URLs say, and allowed as long as it is served."""
    with override_settings(ALLOWED_HOSTS=[]):
        with live.serve("127.0.0.1") as server:
            assert urlsplit(server.url).hostname == "127.0.0.1"
            assert settings.ALLOWED_HOSTS == ["127.0.0.1"]
            with connect(server.websocket_url_for("/ws/groups/")):
                pass
        assert settings.ALLOWED_HOSTS == []


@pytest.mark.usefixtures("transactional_db")
def test_static_files(tmp_path: Path) -> None:
    """Static files are served as they lie in the project, without ``collectstatic``."""
    (tmp_path / "socket.js").write_text("let websocket")
    with (
        modify_settings(INSTALLED_APPS={"append": "django.contrib.staticfiles"}),
        override_settings(STATIC_URL="/static/", STATICFILES_DIRS=[tmp_path]),
        live.serve() as server,
    ):
        assert get(f"{server.url}/static/socket.js") == (200, b"let websocket")
        with connect(server.websocket_url_for("/ws/groups/")):
            pass


def test_lanes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unless the database is in memory sync code runs in lanes, which end with the server."""
    monkeypatch.setattr(live, "_has_database_in_memory", lambda: False)
    with live.serve() as server, connect(server.websocket_url_for("/ws/thread/")) as websocket:
        name = websocket.recv()
        assert str(name).startswith("wsconsumer-lane-")
        assert name in {thread.name for thread in threading.enumerate()}
    assert name not in {thread.name for thread in threading.enumerate()}


@pytest.mark.usefixtures("transactional_db", "sqlite")
def test_pages_leave_no_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unless the database is in memory, a page's connection is closed with its thread."""
    monkeypatch.setattr(live, "_has_database_in_memory", lambda: False)
    used.clear()
    with live.serve() as server:
        assert get(f"{server.url}/persistent/") == (200, b"")
    assert [connection.connection for connection in used] == [None]


def use_sqlite() -> Any:
    """Use a connection of this thread to the database in a file, and return it."""
    with connections["sqlite"].cursor() as cursor:
        cursor.execute("SELECT 1")
    return connections["sqlite"]


@pytest.mark.usefixtures("transactional_db", "sqlite")
def test_other_threads_leave_no_connection() -> None:
    """Connections of any thread are closed when a test ends, but for the test's own."""
    with live.serve() as server, ThreadPoolExecutor(1) as executor:
        own, other = use_sqlite(), executor.submit(use_sqlite).result()
        server.end_connections()
        assert other.connection is None
        assert own.connection is not None
        assert executor.submit(use_sqlite).result() is other
    assert other.connection is None
    assert own.connection is not None
    own.close()


def test_without_daphne(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says what to install."""
    monkeypatch.setitem(sys.modules, "daphne.server", None)
    with pytest.raises(ImportError, match=r'pip install "wsconsumer\[daphne\]"'):
        live.Daphne()


@pytest.mark.parametrize("module", ["wsconsumer.test", "wsconsumer.test.plugin"])
def test_importing_costs_nothing(module: str) -> None:
    """No settings are touched and no server is imported before something is served."""
    program = (
        f"import sys, {module}; from django.conf import settings; assert not settings.configured; "
        "found = {'daphne', 'twisted', 'pytest_django'} & set(sys.modules); "
        "sys.exit(f'imported {found}' if found else 0)"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", program], check=True, timeout=60)


async def test_what_runs_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """An application that does not end by itself is cancelled; its caller is not told."""
    monkeypatch.setattr(running, "GRACE", 0)

    async def application(scope: Any, receive: Any, send: Any) -> None:
        began.set()
        await asyncio.get_running_loop().create_future()

    async def cancelled_by_the_server() -> asyncio.Task[None]:
        began.clear()
        task = asyncio.create_task(served({}, None, None))
        await began.wait()
        task.cancel()
        await asyncio.wait([task])
        return task

    served: Any = live.Running(application)
    began = asyncio.Event()
    task = asyncio.create_task(served({}, None, None))
    await began.wait()
    await served.end()
    assert task.done()
    assert not task.cancelled()
    assert (await cancelled_by_the_server()).cancelled()
