"""Fixtures for the whole suite."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from wsconsumer.counters import counters

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def _fresh_counters() -> Iterator[None]:
    """Count from zero in each test."""
    before = dict(counters)
    counters.update(dict.fromkeys(counters, 0))
    yield
    counters.update(before)
