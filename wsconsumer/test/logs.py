"""``logs_in_place()``: log records at once, where a test looks for them."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from ..log_thread import log_thread

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def logs_in_place() -> Iterator[None]:
    """
    Emit log records where they are made, and not in their thread, while the block runs.

    For ``assertLogs`` around an application that a test calls by itself. ``connect()`` does it.
    """
    with log_thread().in_place():
        yield
