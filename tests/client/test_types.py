"""
``socket.d.ts``, by TypeScript's compiler.

``tests/messages/test_typescript.py`` tries it with the interfaces of routes.
"""

from __future__ import annotations

import re
import shutil
from typing import TYPE_CHECKING

import pytest

from tests import npm
from tests.client.running import HERE, SOCKET_JS

if TYPE_CHECKING:
    from pathlib import Path

TYPES = SOCKET_JS.with_suffix(".d.ts")


@pytest.mark.timeout(npm.TIMEOUT)
def test_a_program_without_types_of_its_own(tmp_path: Path) -> None:
    """A program that is right compiles, and each mistake in it is found."""
    for file in (TYPES, HERE / "untyped.ts"):
        shutil.copy(file, tmp_path)
    assert npm.typescript_errors(tmp_path) == []


def test_all_that_is_exported_has_a_type() -> None:
    """Both files export the same classes."""
    found = [
        set(re.findall(r"^export class (\w+)", file.read_text(), re.M))
        for file in (TYPES, SOCKET_JS)
    ]
    assert found[0] == found[1]
