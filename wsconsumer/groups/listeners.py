"""
Taps: who is told of each broadcast that is made in this process, besides the group's members.

The test kit listens here; ``tell()`` is called once for each broadcast, on whichever thread it is
made, before it is delivered.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Tap: TypeAlias = "Callable[[str, Any], None]"

_taps: list[Tap] = []


@contextmanager
def tap(listener: Tap) -> Iterator[None]:
    """Call ``listener(group, data)`` for each broadcast that is made while the block runs."""
    _taps.append(listener)
    try:
        yield
    finally:
        _taps.remove(listener)


def tell(group: str, data: Any) -> None:
    """Tell every tap of a broadcast."""
    for listener in _taps:
        listener(group, data)
