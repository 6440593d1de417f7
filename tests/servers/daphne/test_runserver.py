"""``manage.py runserver``, which is daphne's: what a reload and Ctrl-C leave behind."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.frames import Close
from websockets.sync.client import connect

from tests.servers.harness import HOST, Tail

if TYPE_CHECKING:
    from collections.abc import Iterator

    from websockets.sync.client import ClientConnection

PATIENCE: Final = 30.0
"""Seconds that anything may take before the test gives up; the reloader looks once a second."""

ROOT: Final = Path(__file__).parents[3]

READY: Final = re.compile(rf"Listening on TCP address {re.escape(HOST)}:(\d+)")

MANAGE = """
import os, signal, sys
from django.core.management import execute_from_command_line

# Whoever runs the tests in the background ignores Ctrl-C, and so would we.
signal.signal(signal.SIGINT, signal.default_int_handler)
os.environ["DJANGO_SETTINGS_MODULE"] = "site_settings"
execute_from_command_line(sys.argv)
"""

SETTINGS = f"""
SECRET_KEY = "not a secret"
DEBUG = True
ALLOWED_HOSTS = [{HOST!r}]
INSTALLED_APPS = ["daphne", "django.contrib.contenttypes"]
ASGI_APPLICATION = "site_asgi.application"
ROOT_URLCONF = "site_urls"
DATABASES = {{"default": {{"ENGINE": "django.db.backends.sqlite3", "NAME": "db.sqlite3"}}}}
LOGGING = {{
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {{"all": {{"class": "logging.StreamHandler"}}}},
    "root": {{"handlers": ["all"], "level": "WARNING"}},
    "loggers": {{
        "daphne.server": {{"level": "INFO"}},
        "django.utils.autoreload": {{"level": "DEBUG"}},
    }},
}}
"""

ASGI = """
from wsconsumer.asgi import get_asgi_application
application = get_asgi_application()
"""

URLS = """
import os
from asgiref.sync import sync_to_async
from django.contrib.contenttypes.models import ContentType
from django.db import connection
from django.urls import path
from wsconsumer import WebsocketConsumer

def ask():
    with connection.cursor() as cursor:
        return cursor.execute("SELECT 41 + 1").fetchone()[0]

class Telling(WebsocketConsumer):
    async def connect(self):
        await self.accept()
        await self.send(str(os.getpid()))

    async def disconnect(self, code, reason):
        print(f"disconnect {code} {await sync_to_async(ask)()}", flush=True)

urlpatterns = [path("ws/", Telling.as_view())]
"""

DISCONNECTED: Final = "disconnect 1012 42\n"


class Runserver:
    """A process, and those that it starts; all that they print is kept."""

    def __init__(self, folder: Path, *options: str) -> None:
        self._urls = folder / "site_urls.py"
        self.process = subprocess.Popen(
            [sys.executable, "manage.py", "runserver", f"{HOST}:0", *options],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        assert self.process.stdout is not None
        self._output: Tail[str] = Tail(self.process.stdout, str)

    @property
    def output(self) -> str:
        """What has been printed so far."""
        return "".join(self._output.all())

    def wait_for(self, pattern: str, times: int = 1) -> list[str]:
        """Wait for so many lines with the pattern, and return what it found in them."""

        def found(lines: list[str]) -> list[str]:
            return re.findall(pattern, "".join(lines))

        is_there = self._output.wait(lambda lines: len(found(lines)) >= times, PATIENCE)
        assert is_there, f"No {pattern!r} in:\n{self.output}"
        return found(self._output.all())

    @contextmanager
    def connected(self, start: int = 1) -> Iterator[tuple[ClientConnection, int]]:
        """Open a websocket once it has started so many times; tell which process serves it."""
        port = self.wait_for(READY.pattern, start)[-1]
        with connect(f"ws://{HOST}:{port}/ws/", proxy=None) as websocket:
            yield websocket, int(websocket.recv(PATIENCE))

    def change_code(self) -> None:
        """Change a file that the reloader watches, once it does."""
        self.wait_for("site_urls.py first seen")
        later = self._urls.stat().st_mtime + 10
        os.utime(self._urls, (later, later))

    def exit_code(self) -> int:
        """Wait for its end."""
        code = self.process.wait(PATIENCE)
        self._output.join()
        return code

    def close(self) -> None:
        """Kill what is left."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(PATIENCE)
        self._output.join()


@contextmanager
def running(folder: Path, *options: str) -> Iterator[Runserver]:
    """Run a project with a consumer whose ``disconnect()`` asks the database."""
    for name, text in {
        "manage.py": MANAGE,
        "site_settings.py": SETTINGS,
        "site_asgi.py": ASGI,
        "site_urls.py": URLS,
    }.items():
        (folder / name).write_text(text)
    server = Runserver(folder, *options)
    try:
        yield server
    finally:
        server.close()


def farewell(websocket: ClientConnection) -> Close | None:
    """Return the close frame that the server ended a websocket with."""
    with pytest.raises(ConnectionClosed) as caught:
        websocket.recv(PATIENCE)
    return caught.value.rcvd


def test_a_reload(tmp_path: Path) -> None:
    """A changed file ends websockets with 1012 and ``disconnect()``, and a new process serves."""
    with running(tmp_path) as server:
        with server.connected() as (websocket, pid):
            server.change_code()
            assert farewell(websocket) == Close(1012, "")
        with server.connected(start=2) as (_, other):
            assert other != pid
        assert server.output.count(DISCONNECTED) == 1


@pytest.mark.parametrize("options", [(), ("--noreload",)], ids=["reloader", "alone"])
def test_ctrl_c(options: tuple[str, ...], tmp_path: Path) -> None:
    """Ctrl-C ends websockets with 1012 and ``disconnect()``, and the process exits quietly.

    It is sent to the process that serves. A terminal sends it to the reloader's parent as well,
    where Python kills the child after a quarter of a second, which would be a race here.
    """
    with running(tmp_path, *options) as server:
        with server.connected() as (websocket, pid):
            if not options:
                server.wait_for("site_urls.py first seen")
            os.kill(pid, signal.SIGINT)
            assert farewell(websocket) == Close(1012, "")
        assert server.exit_code() == 0
        assert server.output.count(DISCONNECTED) == 1
        assert "Traceback" not in server.output
