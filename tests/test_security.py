"""``docs/security.md``: each point of it names the tests that hold it, and there are such tests."""

from __future__ import annotations

import ast
import re
from functools import cache

import pytest

from tests.documents import ROOT

PAGE = ROOT / "docs" / "security.md"
NAME = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")

pytestmark = pytest.mark.skipif(not PAGE.exists(), reason="the tests are run without the documents")


@cache
def names_in(file: str) -> set[str]:
    """Return the names of a file's tests; none, if there is no such file."""
    path = ROOT / file
    if not path.exists():
        return set()
    tree = ast.parse(path.read_text())
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    return {node.name for node in ast.walk(tree) if isinstance(node, functions)}


def points() -> dict[str, str]:
    """Return the points of the page: what stands below each heading that says what is done."""
    text, _, _ = PAGE.read_text().partition("## What is not done")
    headings = re.split(r"^#{2,3} (.+)\n", text, flags=re.MULTILINE)[1:]
    pairs = zip(headings[::2], headings[1::2], strict=True)
    return {heading: body for heading, body in pairs if body.strip()}


def test_each_test_exists() -> None:
    """A test that is renamed or deleted can't be what a promise rests on."""
    named = NAME.findall(PAGE.read_text())
    assert len(named) > 40
    assert [f"{file}::{name}" for file, name in named if name not in names_in(file)] == []


def test_whatever_looks_like_a_test_is_read_as_one() -> None:
    """A name with a mistake in it is not overlooked."""
    text = PAGE.read_text()
    assert len(NAME.findall(text)) == text.count("`tests/")


def test_each_point_is_held() -> None:
    """What stands on the page without a test would be a hope."""
    assert len(points()) > 20
    assert [heading for heading, body in points().items() if not NAME.search(body)] == []
