"""The project of the page that a module tests: ``test_kick.py`` is for ``kick.md``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.chromium import chromium
from tests.cookbook.project import COOKBOOK, Project, files_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from selenium.webdriver import Chrome

    from wsconsumer.test.live import LiveServer


@pytest.fixture
def page(request: pytest.FixtureRequest) -> str:
    """The name of the page's file."""
    return request.path.stem.removeprefix("test_").replace("_", "-") + ".md"


@pytest.fixture
def project(request: pytest.FixtureRequest, page: str, tmp_path: Path) -> Project:
    """The project on disk, for processes of its own; with the files of the module's ``MORE``."""
    if not COOKBOOK.exists():
        pytest.skip("the tests are run without the documents")
    files = files_of(page) | getattr(request.module, "MORE", {})
    return Project(tmp_path / "project", files)


@pytest.fixture
def loaded(project: Project, transactional_db: None) -> Iterator[Project]:
    """The project in this process: its settings, its URLs, its models with their tables."""
    with project.load():
        yield project


@pytest.fixture
def site(loaded: Project, request: pytest.FixtureRequest) -> LiveServer:
    """The loaded project behind daphne, in a thread of this process."""
    server: LiveServer = request.getfixturevalue("live_websocket_server")
    return server


@pytest.fixture(scope="session")
def browser() -> Iterator[Chrome]:
    """A browser."""
    with chromium() as browser:
        yield browser
