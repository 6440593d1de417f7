"""
A started backend and the bodies that it received, for the tests in ``contract.py``.

If an expected body does not arrive, the error shows those that did.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ..groups.base import Backend, Position

WAIT: Final = 10.0
"""Seconds after which a body counts as lost."""


class Listener:
    """A started backend, and the bodies that it received."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.came: list[tuple[str, bytes]] = []
        self.positions: list[Position | None] = []
        self.resumed: list[str] = []
        self.at_once = 0
        self.most_at_once = 0
        self.open = asyncio.Event()
        self.open.set()
        self.fails_on: bytes | None = None
        self._arrived = asyncio.Event()

    async def deliver(self, group: str, body: bytes, position: Position | None = None) -> None:
        """Note a body; wait while ``open`` is not set; raise for the body ``fails_on``."""
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            self.came.append((group, body))
            self.positions.append(position)
            self._arrived.set()
            await self.open.wait()
            if body == self.fails_on:
                raise ValueError("a deliver that fails")
        finally:
            self.at_once -= 1

    def of(self, group: str) -> list[bytes]:
        """Return the bodies of a group, in order of arrival."""
        return [body for name, body in self.came if name == group]

    async def until(self, group: str, body: bytes) -> None:
        """Wait until this body has arrived for this group."""
        await self._until(lambda: (group, body) in self.came, f"{body[:32]!r} for {group!r}")

    async def until_count(self, count: int) -> None:
        """Wait until this many bodies have arrived, for any group."""
        await self._until(lambda: len(self.came) >= count, f"a count of {count}")

    async def _until(self, came: Callable[[], bool], what: str) -> None:
        try:
            async with asyncio.timeout(WAIT):
                while not came():
                    self._arrived.clear()
                    await self._arrived.wait()
        except TimeoutError:
            last = [(group, body[:32]) for group, body in self.came[-5:]]
            raise AssertionError(
                f"Expected {what} within {WAIT:g} seconds. Received so far: {len(self.came)}, "
                f"the last of them {last}."
            ) from None


@contextmanager
def noticing() -> Iterator[list[str]]:
    """Collect Python's warnings and logged warnings, in the block and at its end."""
    noticed: list[str] = []

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            noticed.append(record.getMessage())

    handler = Handler(logging.WARNING)
    gc.collect()
    logging.getLogger().addHandler(handler)
    try:
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            yield noticed
            gc.collect()
        noticed += [str(warning.message) for warning in warned]
    finally:
        logging.getLogger().removeHandler(handler)
