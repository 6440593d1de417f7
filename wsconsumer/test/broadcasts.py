"""``captured_broadcasts()``: what was broadcast to which group, without a group or a socket."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from ..groups.listeners import listening
from .engine import in_memory

if TYPE_CHECKING:
    from collections.abc import Iterator


class Broadcast(NamedTuple):
    """One broadcast, as it was made."""

    group: str
    data: Any


@contextmanager
def captured_broadcasts() -> Iterator[list[Broadcast]]:
    """
    Record the broadcasts that are made in this process while the block runs, in order.

    They stay in this process, as with ``connect()``, unless ``real_engine`` is around the block.
    """
    broadcasts: list[Broadcast] = []

    def record(group: str, data: Any) -> None:
        broadcasts.append(Broadcast(group, data))

    with in_memory(), listening(record):
        yield broadcasts
