"""The project of the page that a module tests: ``test_kick.py`` is for ``kick.md``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.chromium import chromium
from tests.cookbook.project import COOKBOOK, Project

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from selenium.webdriver import Chrome


@pytest.fixture
def page(request: pytest.FixtureRequest) -> str:
    """The name of the page's file."""
    return request.path.stem.removeprefix("test_").replace("_", "-") + ".md"


@pytest.fixture
def project(request: pytest.FixtureRequest, page: str, tmp_path: Path) -> Project:
    """The project on disk, for processes of its own; with the files of the module's ``MORE``."""
    if not COOKBOOK.exists():
        pytest.skip("the tests are run without the documents")
    directory = tmp_path / "project"
    directory.mkdir()
    return Project(page, directory, getattr(request.module, "MORE", {}))


@pytest.fixture
def loaded(project: Project, transactional_db: None) -> Iterator[Project]:
    """The project in this process: its settings, its URLs, its models with their tables."""
    with project.load():
        yield project


@pytest.fixture(scope="session")
def browser() -> Iterator[Chrome]:
    """A browser."""
    with chromium() as browser:
        yield browser
