"""``scripts/mutants.py``: which changes it makes, and that it finds what no test notices."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from scripts import mutants

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("source", "changed"),
    [
        ("a < b", ["a<=b"]),
        ("a not in b", ["ainb"]),
        ("a + b", ["a-b"]),
        ("a and b", ["(a)", "(b)"]),
        ("not a", ["(a)"]),
        ("True", ["False"]),
        ("7", ["(7 + 1)"]),
        ('"word"', ['"mutated"']),
        ("f(a)", ["None"]),
    ],
)
def test_an_expression(source: str, changed: list[str]) -> None:
    """Each kind of expression is changed in its own way."""
    line = f"x = {source}\n".encode()
    found = {mutant.apply(line).decode() for mutant in mutants.mutants(line)}
    squeezed = {text.replace(" ", "") for text in found}
    assert {f"x={text}\n".replace(" ", "") for text in changed} <= squeezed


@pytest.mark.parametrize(
    ("source", "changed"),
    [
        ("f()\n", "pass\n"),
        ("if a:\n    f()\n", "if (not (a)):\n    f()\n"),
        ("if a:\n    raise b\n", "if a:\n    pass\n"),
        ("def f():\n    return a\n", "def f():\n    return None\n"),
        ("for a in b:\n    break\n", "for a in b:\n    continue\n"),
        ("a += b\n", "pass\n"),
        ("def f(a=1):\n    pass\n", "def f(a=(1 + 1)):\n    pass\n"),
    ],
)
def test_a_statement(source: str, changed: str) -> None:
    """Each kind of statement is changed or taken away."""
    found = {mutant.apply(source.encode()).decode() for mutant in mutants.mutants(source.encode())}
    assert changed in found


@pytest.mark.parametrize(
    "source",
    ['"""A docstring."""\n', "import a\n", "def f(a: 'word') -> 'word':\n    pass\n"],
)
def test_what_is_no_behavior(source: str) -> None:
    """Docstrings, imports and annotations stay as they are."""
    assert list(mutants.mutants(source.encode())) == []


def test_a_survivor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """The change that no test notices is printed, those that one notices are not."""
    module = tmp_path / "numbered" / "signs.py"
    module.parent.mkdir()
    module.write_text("def is_positive(n):\n    return n > 0\n")
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / "test_signs.py").write_text(
        "from numbered.signs import is_positive\n\n"
        "def test_signs():\n"
        "    assert is_positive(1) is True\n"
        "    assert is_positive(-1) is False\n"
    )
    monkeypatch.setattr(mutants, "ROOT", tmp_path)
    monkeypatch.setattr(sys, "argv", ["mutants.py", "numbered/signs.py", "--", "test_signs.py"])
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")  # starts faster
    monkeypatch.delenv("DJANGO_SETTINGS_MODULE", raising=False)
    with pytest.raises(SystemExit) as exit_info:
        mutants.main()
    assert exit_info.value.code == 1
    output = capfd.readouterr().out
    assert "+    return n >= 0" in output
    assert "return None" not in output
    assert "numbered/signs.py: 1 of 3 mutants survive" in output


def test_a_folder_marks_its_tests(request: pytest.FixtureRequest) -> None:
    """The tests of this folder start programs, and say so by a marker."""
    assert request.node.get_closest_marker("processes")
