"""What holds for every page of the cookbook."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.cookbook.project import COOKBOOK
from tests.documents import blocks

if TYPE_CHECKING:
    from tests.cookbook.project import Project

HERE = Path(__file__).parent
PAGES = sorted(page.name for page in COOKBOOK.glob("*.md") if page.name != "README.md")


def test_of(page: str) -> Path:
    """Return the file that tests a page."""
    return HERE / f"test_{page.removesuffix('.md').replace('-', '_')}.py"


test_of.__test__ = False  # type: ignore[attr-defined]


def test_the_index() -> None:
    """The index links to every page, once, and to nothing that is not there."""
    links = re.findall(r"^- \[[^]]+\]\(([\w-]+\.md)\)", (COOKBOOK / "README.md").read_text(), re.M)
    assert sorted(links) == PAGES


def test_every_page_has_a_test() -> None:
    """A page is there for each test, and a test for each page."""
    own = {"test_pages.py", "test_channels.py"}
    assert {file.name for file in HERE.glob("test_*.py")} - own == {test_of(p).name for p in PAGES}


@pytest.mark.parametrize("page", PAGES)
def test_what_is_not_python_is_run(page: str) -> None:
    """Each file that is not Python, and each command, is named in the page's test."""
    source = test_of(page).read_text()
    for block in blocks(COOKBOOK / page):
        if block.language == "sh":
            for command in block.code.splitlines():
                assert command in source or command.startswith("pip install ")
        elif block.language != "python":
            assert block.file in source
        assert block.file or block.language == "sh"


@pytest.mark.parametrize("page", PAGES)
def test_the_files_are_a_project(page: str, project: Project) -> None:
    """It passes Django's checks and its own tests, and every Python file can be imported."""
    files = [file for file in project.files if file.endswith(".py")]
    modules = [file.removesuffix(".py").replace("/", ".") for file in files]
    imports = "".join(f"import {module}\n" for module in modules)
    project.shell(
        f"from django.core.management import call_command\n{imports}"
        "call_command('check', fail_level='WARNING')"
    )
    if any(file.endswith("/tests.py") for file in files):
        project.manage("test")
