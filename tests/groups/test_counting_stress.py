"""The memory backend: counts while processes come, go and are killed; others in their folders."""

from __future__ import annotations

import pytest

from tests.groups.counting_stress import Stress, quick
from wsconsumer.groups.leases import leases
from wsconsumer.groups.memory import MemoryBackend

PREFIX = "stress"


async def lose() -> None:
    """Lose everything."""
    leases.clear(PREFIX)


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("loses", [False, True])
async def test_counts(seed: int, loses: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """No limit is passed, and in the end the count is the truth."""
    quick(monkeypatch)
    leases.clear(PREFIX)
    stress = Stress(lambda: MemoryBackend("", PREFIX, {}), seed)
    await stress.run(300, lose if loses else None)
    leases.clear(PREFIX)
