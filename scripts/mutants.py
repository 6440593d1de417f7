"""
Change a module bit by bit, and list the changes that no test notices.

    python scripts/mutants.py wsconsumer/connection/outbox.py -- tests/connection tests/groups

The tests behind ``--``, or the fast ones, are run once to learn which of them run each line. Each
mutant is then judged by the tests that run its lines, in a copy of the tree: those of the module's
own test file first. What survives is printed as a diff, and makes the exit status 1.
"""

from __future__ import annotations

import argparse
import ast
import difflib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ROOT: Final = Path(__file__).resolve().parent.parent

FAST: Final = ["-m", "not (browsers or docs or engines or processes or servers)"]

PATIENCE: Final = 120
"""Seconds for the tests of one mutant; one that hangs is noticed, too."""

LEFT: Final = shutil.ignore_patterns(".git", ".venv*", ".*_cache", "__pycache__", "*.sqlite3")
"""What the copy does without."""

SWAPS: Final[dict[type, str]] = {
    ast.Eq: "!=", ast.NotEq: "==", ast.Lt: "<=", ast.LtE: "<", ast.Gt: ">=", ast.GtE: ">",
    ast.Is: "is not", ast.IsNot: "is", ast.In: "not in", ast.NotIn: "in",
    ast.Add: "-", ast.Sub: "+", ast.Mult: "//", ast.Div: "*", ast.FloorDiv: "*", ast.Mod: "+",
    ast.BitOr: "&", ast.BitAnd: "|", ast.And: "or", ast.Or: "and",
}  # fmt: skip

CONTEXTS: Final = """
import coverage, pytest

@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item):
    coverage.Coverage.current().switch_context(item.nodeid)
    try:
        return (yield)
    finally:
        coverage.Coverage.current().switch_context("")
"""
"""A pytest plugin that tells coverage which test runs, wherever its code runs."""


@dataclass(frozen=True)
class Mutant:
    """A change of a piece of the source: the bytes from ``start`` to ``end`` become ``text``."""

    first: int
    last: int
    start: int
    end: int
    text: str

    def apply(self, source: bytes) -> bytes:
        """Return the changed source."""
        return source[: self.start] + self.text.encode() + source[self.end :]


class Mutator(ast.NodeVisitor):
    """Finds what can be changed in a module."""

    def __init__(self, source: bytes) -> None:
        self._source = source
        self._lines = [0]
        for line in source.splitlines(keepends=True):
            self._lines.append(self._lines[-1] + len(line))
        self.mutants: list[Mutant] = []
        self.visit(ast.parse(source))

    def _at(self, line: int, column: int) -> int:
        return self._lines[line - 1] + column

    def _span(self, node: ast.expr | ast.stmt) -> tuple[int, int]:
        end = self._at(node.end_lineno or node.lineno, node.end_col_offset or 0)
        return self._at(node.lineno, node.col_offset), end

    def _text(self, node: ast.expr | ast.stmt) -> str:
        start, end = self._span(node)
        return self._source[start:end].decode()

    def _replace(self, node: ast.expr | ast.stmt, text: str) -> None:
        start, end = self._span(node)
        self.mutants.append(Mutant(node.lineno, node.end_lineno or node.lineno, start, end, text))

    def _swap(self, before: ast.expr, operator: ast.AST, after: ast.expr) -> None:
        """Put another operator between two operands."""
        if text := SWAPS.get(type(operator)):
            start, end = self._span(before)[1], self._span(after)[0]
            between = self._source[start:end].decode()
            if not between.strip("() \n").isascii() or "#" in between:
                return
            opening = len(between) - len(between.rstrip("( \n"))
            closing = len(between) - len(between.lstrip(") \n"))
            stop = end - opening
            mutant = Mutant(before.lineno, after.lineno, start + closing, stop, text)
            self.mutants.append(mutant)

    def visit_Compare(self, node: ast.Compare) -> None:
        operands = [node.left, *node.comparators]
        for before, operator, after in zip(operands, node.ops, node.comparators, strict=False):
            self._swap(before, operator, after)
        self.generic_visit(node)

    def visit_BinOp(self, node: ast.BinOp) -> None:
        self._swap(node.left, node.op, node.right)
        self.generic_visit(node)

    def visit_BoolOp(self, node: ast.BoolOp) -> None:
        for value in node.values:
            rest = [self._text(other) for other in node.values if other is not value]
            word = " and " if isinstance(node.op, ast.And) else " or "
            self._replace(node, f"({word.join(rest)})")
        self.generic_visit(node)

    def visit_UnaryOp(self, node: ast.UnaryOp) -> None:
        if isinstance(node.op, ast.Not):
            self._replace(node, f"({self._text(node.operand)})")
        self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> None:
        if isinstance(node.value, bool):
            self._replace(node, str(not node.value))
        elif isinstance(node.value, int | float):
            self._replace(node, f"({node.value!r} + 1)")
        elif isinstance(node.value, str) and node.value and "%" not in node.value:
            self._replace(node, '"mutated"')

    def visit_Expr(self, node: ast.Expr) -> None:
        if isinstance(node.value, ast.Constant):
            return  # a docstring
        self._replace(node, "pass")
        self.generic_visit(node)

    def visit_Assign(self, node: ast.Assign) -> None:
        if not isinstance(node.value, ast.Constant) or node.value.value is not None:
            self._replace(node.value, "None")
        self.visit(node.value)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value is not None:  # and never the annotation
            self.visit(node.value)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        self._replace(node, "pass")
        self.visit(node.value)

    def visit_Return(self, node: ast.Return) -> None:
        if node.value is not None and self._text(node.value) != "None":
            self._replace(node, "return None")
        self.generic_visit(node)

    def visit_Raise(self, node: ast.Raise) -> None:
        self._replace(node, "pass")
        self.generic_visit(node)

    def visit_Break(self, node: ast.Break) -> None:
        self._replace(node, "continue")

    def visit_Continue(self, node: ast.Continue) -> None:
        self._replace(node, "break")

    def visit_Delete(self, node: ast.Delete) -> None:
        self._replace(node, "pass")

    def visit_If(self, node: ast.If) -> None:
        if "TYPE_CHECKING" not in self._text(node.test):
            self._visit_condition(node)

    def visit_IfExp(self, node: ast.IfExp) -> None:
        self._visit_condition(node)

    def visit_While(self, node: ast.While) -> None:
        self._visit_condition(node)

    def _visit_condition(self, node: ast.If | ast.IfExp | ast.While) -> None:
        if not isinstance(node.test, ast.Compare | ast.UnaryOp):  # those are changed anyway
            self._replace(node.test, f"(not ({self._text(node.test)}))")
        self.generic_visit(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        self._visit_function(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> None:
        self._visit_function(node)

    def _visit_function(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        for default in (*node.args.defaults, *node.args.kw_defaults):
            if default is not None:
                self.visit(default)
        for statement in node.body:
            self.visit(statement)


class Copy:
    """A copy of the tree, in which the module is changed and the tests are run."""

    def __init__(self, folder: Path, module: Path) -> None:
        self._folder = folder
        self._module = folder / module
        self._own = f"{Path('tests', *module.parts[1:-1])}/test_{module.name}"
        shutil.copytree(ROOT, folder, ignore=LEFT, dirs_exist_ok=True)
        # Bytecode is told from its source by size and second: a mutant may have both in common.
        own = {"PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
        self._environment = {**os.environ, **own}
        self._environment.pop("PYTEST_ADDOPTS", None)

    def run(self, command: Sequence[str], timeout: float | None = None) -> int:
        """Run Python in the copy, without a word unless it is the first run; return its status."""
        return subprocess.run(
            [sys.executable, *command], cwd=self._folder, env=self._environment, timeout=timeout,
            check=False, stdout=subprocess.DEVNULL if timeout else None, stderr=subprocess.STDOUT,
        ).returncode  # fmt: skip

    def learn(self, selection: Sequence[str]) -> dict[int, list[str]]:
        """Run the tests once; return which of them run each line of the module."""
        (self._folder / "contexts.py").write_text(CONTEXTS)
        command = ["-m", "coverage", "run", "-m", "pytest", "-q", "-p", "contexts"]
        if self.run([*command, *selection]):
            sys.exit("The tests have to pass before a mutant is judged by them.")
        report = self._folder / "contexts.json"
        command = ["-m", "coverage", "json", "-q", "--show-contexts", "--fail-under=0"]
        self.run([*command, f"--include={self._module}", "-o", str(report)])
        files = json.loads(report.read_text())["files"].values()
        found = [entry["contexts"] for entry in files]
        lines = found[0] if found else {}
        return {int(line): sorted(filter(None, tests)) for line, tests in lines.items()}

    def is_noticed(self, source: bytes, tests: Sequence[str]) -> bool:
        """Tell whether a test fails with this source of the module."""
        before = self._module.read_bytes()
        self._module.write_bytes(source)
        tests = sorted(tests, key=lambda test: not test.startswith(self._own))
        command = ["-m", "pytest", "-x", "-q", "-p", "no:randomly", "-p", "no:cacheprovider"]
        try:
            return self.run([*command, *tests], PATIENCE) != 0
        except subprocess.TimeoutExpired:
            return True
        finally:
            self._module.write_bytes(before)


def mutants(source: bytes) -> Iterator[Mutant]:
    """Return the changes of a source that are Python, in the order of its lines."""
    for mutant in sorted(set(Mutator(source).mutants), key=lambda each: (each.start, each.text)):
        try:
            compile(mutant.apply(source), "mutant", "exec", dont_inherit=True)
        except SyntaxError:
            continue
        yield mutant


def diff(module: Path, source: bytes, changed: bytes) -> str:
    """Return the lines that a mutant changed."""
    before, after = source.decode().splitlines(), changed.decode().splitlines()
    lines = difflib.unified_diff(before, after, str(module), str(module), lineterm="", n=0)
    return "\n".join(list(lines)[2:])


def main() -> None:
    """Judge every mutant of a module."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").strip().partition("\n")[0])
    parser.add_argument("module", type=Path, help="such as wsconsumer/hooks.py")
    parser.add_argument("arguments", nargs="*", help="for pytest, behind --; else the fast tests")
    asked = parser.parse_args()
    source = (ROOT / asked.module).read_bytes()
    began = time.monotonic()
    survivors = total = 0
    with tempfile.TemporaryDirectory() as folder:
        copy = Copy(Path(folder), asked.module)
        tests_of = copy.learn(asked.arguments or FAST)
        everybody = sorted({test for tests in tests_of.values() for test in tests})
        for mutant in mutants(source):
            total += 1
            lines = range(mutant.first, mutant.last + 1)
            tests = {test for line in lines for test in tests_of.get(line, [])} or everybody
            if not copy.is_noticed(mutant.apply(source), sorted(tests)):
                survivors += 1
                print(diff(asked.module, source, mutant.apply(source)), flush=True)
    seconds = time.monotonic() - began
    print(f"{asked.module}: {survivors} of {total} mutants survive, after {seconds:.0f} s")
    sys.exit(survivors > 0)


if __name__ == "__main__":
    main()
