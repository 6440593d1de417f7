"""docs/operations.md: it has every metric, counter, field, logger and line, and no other."""

from __future__ import annotations

import ast
import asyncio
import json
import logging
import re
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import wsconsumer
from tests.documents import ROOT, blocks
from tests.fakes import disconnect, run, text
from wsconsumer import WebsocketConsumer, metrics, signals
from wsconsumer.counters import COUNTERS
from wsconsumer.log_fields import FIELDS, ConnectionFilter
from wsconsumer.log_thread import LOGGERS
from wsconsumer.prometheus import METRICS

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = ROOT / "docs" / "operations.md"
PACKAGE = Path(wsconsumer.__file__).parent

pytestmark = pytest.mark.skipif(not PAGE.exists(), reason="the tests are run without the documents")


def rows(title: str) -> list[list[str]]:
    """Return the cells of the tables in a section, without their heads."""
    section = PAGE.read_text().partition(f"\n## {title}\n")[2].partition("\n## ")[0]
    lines = section.splitlines()
    heads = [before for before, line in pairwise(lines) if line.startswith("|---")]
    tables = [line for line in lines if line.startswith("| ") and line not in heads]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in tables]


def test_every_metric() -> None:
    """The table is what the collector has, but for the counters, which have one of their own."""
    described = {
        name: [f"`{name}`", kind, ", ".join(f"`{label}`" for label in labels), text]
        for name, (kind, text, labels) in METRICS.items()
        if name.removeprefix("wsconsumer_").removesuffix("_total") not in COUNTERS
    }
    assert rows("Metrics") == list(described.values())


def test_every_outcome() -> None:
    """The page names what a handshake can come to."""
    page = PAGE.read_text()
    assert [name for name in metrics.OUTCOMES if f"`{name}`" not in page] == []


def test_every_counter() -> None:
    """Each counter has a row, and each row is of a counter."""
    found = {name.strip("`") for name, _, _ in rows("Counters")}
    missing = COUNTERS.keys() - found
    assert not missing, f"write in docs/operations.md what these mean: {missing}"
    assert found == COUNTERS.keys()


def test_what_is_watched() -> None:
    """What to watch is there to be watched."""
    watched = [name for row in rows("What to watch") for name in re.findall(r"`(wsc\w+)`", row[0])]
    assert len(watched) > 8
    assert set(watched) <= METRICS.keys()


def test_every_field() -> None:
    """The fields of log records are those that they have."""
    fields = [row for row in rows("Log records") if len(row) == 2]
    assert {name.strip("`"): text for name, text in fields} == FIELDS


def test_every_signal() -> None:
    """So are the signals."""
    found = {name.strip("`") for name, *_ in rows("Signals")}
    assert found == {name for name in vars(signals) if name.startswith("websocket_")}


def test_every_logger() -> None:
    """So are the loggers."""
    found = {row[0].strip("`") for row in rows("Log lines") if row[0].startswith("`wsconsumer")}
    assert found == set(LOGGERS)


def quoted() -> list[str]:
    """Return what the table of lines quotes of them."""
    return [row[0].strip('"') for row in rows("Log lines") if row[0].startswith('"')]


LOUD = re.compile(r"logging\.(WARNING|ERROR)")

ELSEWHERE = {"databases.py", "verdicts.py"}
"""What these log is a sentence that is made elsewhere, or Django's own."""


def lines() -> Iterator[tuple[str, str]]:
    """Yield the file and the text of all that is logged at WARNING or ERROR."""
    for file in PACKAGE.rglob("*.py"):
        name = file.relative_to(PACKAGE).as_posix()
        if name.split("/")[0] in ("test", "management") or name in ELSEWHERE:
            continue
        for function in ast.walk(ast.parse(file.read_text())):
            if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                for line in _lines_of(function):
                    yield name, line


def _lines_of(function: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[str]:
    assigned = [node for node in ast.walk(function) if isinstance(node, ast.Assign)]
    assigned.sort(key=lambda node: node.lineno)
    for node in ast.walk(function):
        if isinstance(node, ast.Call):
            loud = [ast.unparse(part) for part in (node.func, *node.args)]
            levels = [i for i, part in enumerate(loud) if LOUD.search(part)]
            if levels and levels[0] < len(node.args):
                text: Any = node.args[levels[0]]
            elif loud[0] in ("logger.warning", "logger.exception", "logger.error"):
                text = node.args[0]
            else:
                continue
            name = ast.unparse(text)
            for before in assigned:  # the last of them is what the name means here
                if before.lineno < node.lineno and ast.unparse(before.targets[0]) == name:
                    text = before.value
            yield _text(text)


def _text(node: ast.expr) -> str:
    if isinstance(node, ast.JoinedStr):
        return "".join(_text(part) for part in node.values)
    if isinstance(node, ast.FormattedValue):
        return "%s"
    assert isinstance(node, ast.Constant), ast.unparse(node)
    assert isinstance(node.value, str)
    return node.value


def test_every_line() -> None:
    """Each line at WARNING or ERROR has its row, and each row quotes a line."""
    written = list(lines())
    assert len(written) > 35
    missing = [(file, line) for file, line in written if not any(part in line for part in quoted())]
    assert not missing, f"write in docs/operations.md what to do: {missing}"
    assert [part for part in quoted() if not any(part in line for _, line in written)] == []


def test_json(caplog: pytest.LogCaptureFixture) -> None:
    """What the formatter of the page writes can be read back, and has the fields."""
    found = formatted(caplog)
    failed, ended = (line for line in found if line["level"] in ("ERROR", "INFO"))
    assert ended["logger"] == "wsconsumer.access"
    assert {name: ended[name] for name in ("code", "user_id", "path")} == {
        "code": 1011,
        "user_id": None,
        "path": "/ws/",
    }
    assert failed["connection_id"] == ended["connection_id"]
    assert "ValueError: no" in failed["traceback"]
    assert "token" not in json.dumps(found)


def formatted(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    """Run a connection that fails; return its records as the page's formatter writes them."""

    class Failing(WebsocketConsumer):
        async def receive(self, data: str | bytes) -> None:
            raise ValueError("no")

    caplog.set_level(logging.INFO, "wsconsumer.access")
    asked = {"path": "/ws/", "query_string": b"token"}
    asyncio.run(run(Failing.as_asgi(), text("go"), disconnect(), **asked))
    (block,) = (block for block in blocks(PAGE) if block.file == "mysite/json_logs.py")
    namespace: dict[str, Any] = {}
    exec(block.code, namespace)  # noqa: S102  # it is ours
    formatter = namespace["JsonFormatter"]()
    for record in caplog.records:
        ConnectionFilter().filter(record)
    return [json.loads(formatter.format(record)) for record in caplog.records]
