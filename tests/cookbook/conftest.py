"""The project of the page that a module tests: ``test_kick.py`` is for ``kick.md``."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.chromium import chromium
from tests.cookbook.project import COOKBOOK, Project, files_of
from tests.engines import Redis

if TYPE_CHECKING:
    from collections.abc import Iterator

    from selenium.webdriver import Chrome

    from wsconsumer.test.live import LiveServer


@pytest.fixture
def page(request: pytest.FixtureRequest) -> str:
    """The name of the page's file."""
    return request.path.stem.removeprefix("test_").replace("_", "-") + ".md"


@pytest.fixture
def built(request: pytest.FixtureRequest, page: str, tmp_path: Path) -> Project:
    """The page's project, with the files of the module's ``MORE``, on disk."""
    if not COOKBOOK.exists():
        pytest.skip("the tests are run without the documents")
    files = files_of(page) | getattr(request.module, "MORE", {})
    return Project(tmp_path / "project", files)


@pytest.fixture
def project(built: Project) -> Project:
    """The project, to run in processes of its own."""
    return built


@pytest.fixture
def loaded(built: Project, transactional_db: None) -> Iterator[Project]:
    """The project in this process: its settings, its URLs, its models with their tables."""
    with built.load():
        yield built


@pytest.fixture
def site(loaded: Project, request: pytest.FixtureRequest) -> LiveServer:
    """The loaded project behind daphne, in a thread of this process."""
    server: LiveServer = request.getfixturevalue("live_websocket_server")
    return server


@pytest.fixture(scope="session")
def directory() -> Iterator[Path]:
    """A directory with a short path, as a Unix socket wants it."""
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


@pytest.fixture
def redis(directory: Path) -> Iterator[Redis]:
    """A Redis server."""
    server = Redis(directory)
    yield server
    server.stop()


@pytest.fixture(scope="session")
def browser() -> Iterator[Chrome]:
    """A browser."""
    with chromium() as browser:
        yield browser
