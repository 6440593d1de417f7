"""The links between the pages: each leads somewhere, and the index of docs/ leaves no page out."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.documents import ROOT

if TYPE_CHECKING:
    from pathlib import Path

PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
PAGES += sorted((ROOT / "benchmarks").glob("*.md"))

pytestmark = pytest.mark.skipif(
    not (ROOT / "README.md").exists(), reason="the tests are run without the documents"
)


def targets(page: Path) -> list[tuple[Path, str]]:
    """Return the files of the repository that a page links to, each with its anchor."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    links = re.findall(r"\]\((?!https?:)([^)#]*)#?([^)]*)\)", text)
    return [((page.parent / file) if file else page, anchor) for file, anchor in links]


def anchors(page: Path) -> set[str]:
    """Return what forges make of the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading).lower().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links(page: Path) -> None:
    """Every link to a file of the repository finds it, and the heading that it names."""
    for target, anchor in targets(page):
        assert target.exists(), f"{page.name} links to {target}"
        assert not anchor or anchor in anchors(target), f"{target.name} has no {anchor}"


def test_the_index() -> None:
    """Every page of docs/ is in docs/README.md, or in the index of its own folder."""
    for index in sorted((ROOT / "docs").rglob("README.md")):
        linked = {target.resolve() for target, _ in targets(index)}
        pages = {*index.parent.glob("*.md"), *index.parent.glob("*/README.md")} - {index}
        assert pages <= linked, pages - linked
