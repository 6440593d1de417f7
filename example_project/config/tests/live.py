"""What the live tests share: the project served by daphne, and browsers that look at it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.chromium import chromium

if TYPE_CHECKING:
    from collections.abc import Iterator

    from selenium.webdriver import Chrome

PROJECT = Path(__file__).resolve().parents[2]


class Site:
    """The project served by daphne, on a free port and a database of its own."""

    def __init__(self, database: Path) -> None:
        self.environment = os.environ | {
            "DJANGO_DATABASE": str(database),
            "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        }
        self.port = "0"
        self.manage("migrate", "--verbosity=0")

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    def manage(self, *arguments: str) -> None:
        """Run one of Django's commands, in a process of its own."""
        command = [sys.executable, "manage.py", *arguments]
        subprocess.run(command, cwd=PROJECT, env=self.environment, check=True)

    def start(self) -> None:
        """Start daphne, on the port that it had before if there was one."""
        self.daphne = subprocess.Popen(
            [sys.executable, "-m", "daphne", f"--port={self.port}", "config.asgi:application"],
            cwd=PROJECT,
            env=self.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.port = self._listening()

    def _listening(self) -> str:
        """Wait until the server listens, and return the port that the system gave it."""
        assert self.daphne.stderr
        output = ""
        for line in self.daphne.stderr:
            output += line
            if listening := re.search(r"Listening on TCP address \S+:(\d+)", line):
                return listening[1]
        pytest.fail(f"daphne stopped before it listened:\n{output}")

    def stop(self) -> None:
        """Stop daphne, and see that nothing went wrong in it."""
        self.daphne.terminate()
        _, errors = self.daphne.communicate()
        assert "Traceback" not in errors, errors


@contextmanager
def serve(directory: Path) -> Iterator[Site]:
    site = Site(directory / "db.sqlite3")
    site.start()
    try:
        yield site
    finally:
        site.stop()


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Serve the project for all live tests that only look at it; yield its URL."""
    with serve(tmp_path_factory.mktemp("site")) as site:
        yield site.url


@pytest.fixture
def own_site(tmp_path: Path) -> Iterator[Site]:
    """Serve the project for one test, which may stop and start it."""
    with serve(tmp_path) as site:
        yield site


@pytest.fixture(scope="session")
def browser() -> Iterator[Chrome]:
    """A browser."""
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="session")
def other_browser() -> Iterator[Chrome]:
    """Another one, with cookies of its own."""
    with chromium() as browser:
        yield browser
