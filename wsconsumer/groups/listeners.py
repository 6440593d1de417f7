"""
Who is notified of each broadcast that is made in this process, besides the group's members.

The test kit listens here. A listener is called once for each broadcast, in the thread that makes
it, before it is delivered.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Listener: TypeAlias = "Callable[[str, Any], None]"

_listeners: list[Listener] = []


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Call ``listener(group, data)`` for each broadcast that is made while the block runs."""
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)


def listen(listener: Listener) -> None:
    """Call it for each broadcast from now on, however often this is said."""
    if listener not in _listeners:
        _listeners.append(listener)


def notify(group: str, data: Any) -> None:
    """Tell every listener of a broadcast."""
    for listener in _listeners:
        listener(group, data)
