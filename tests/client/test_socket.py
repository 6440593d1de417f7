"""``socket.js`` under node, and what it weighs."""

from __future__ import annotations

import gzip
import re

from tests.client.running import SOCKET_JS, node

COVERAGE = ("--experimental-test-coverage", "--test-coverage-include=**/socket.js")


def test_in_a_page() -> None:
    """All that is in `socket.test.mjs`, and it runs every line and function."""
    whole = ("--test-coverage-lines=100", "--test-coverage-functions=100")
    node("--test", *COVERAGE, *whole, "socket.test.mjs")


def test_in_a_worker() -> None:
    """There it has no document."""
    node("--test", "worker.test.mjs", WORKER="1")


def test_it_is_small() -> None:
    """At most 4 kB, gzipped as servers do it."""
    assert len(gzip.compress(SOCKET_JS.read_bytes(), 9)) <= 4_096


def test_it_imports_nothing() -> None:
    """It is one module, as it is served."""
    assert not re.search(
        r"^\s*import\b|\bimport\(|\brequire\(", SOCKET_JS.read_text(), re.MULTILINE
    )
