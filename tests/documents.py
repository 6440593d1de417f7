"""The blocks of code in README.md and docs/, which tests run."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final, NamedTuple

ROOT = Path(__file__).parent.parent

FILE: Final = re.compile(r"(?:# (\S+)|// (\S+)|<!-- (\S+) -->|\{# (\S+) #\})\n")
"""The first line of a block, which names its file."""


class Block(NamedTuple):
    """A block of code: its language, and the file that its first line names."""

    page: str
    language: str
    file: str
    code: str


def blocks(page: Path) -> list[Block]:
    """Return the blocks of code of a page."""
    found = re.findall(r"^```(\w*)\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)
    result = []
    for language, code in found:
        name = FILE.match(code) if language != "sh" else None
        result.append(Block(page.name, language, name[name.lastindex or 0] if name else "", code))
    return result


def block_of(page: str, language: str) -> Block:
    """Return the only block in a language of a page, named from the root."""
    (found,) = (block for block in blocks(ROOT / page) if block.language == language)
    return found
