"""Deploys: two versions of a project share a Redis, while groups begin to keep."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.groups import rolling
from wsconsumer.test import real_engine

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_django import Settings

    from tests.engines import Redis


@pytest.fixture(autouse=True)
def _engine(own: Redis, settings: Settings) -> Iterator[None]:
    settings.WSCONSUMER = {
        "GROUPS": {
            "BACKEND": "wsconsumer.groups.redis.RedisBackend",
            "LOCATION": own.url,
            "PREFIX": "contract",
        }
    }
    with real_engine():
        yield


@pytest.mark.parametrize("scenario", rolling.scenarios, ids=lambda each: each.__name__)
async def test_rolling(scenario: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody is told that nothing is missing when something is."""
    await rolling.run(scenario, monkeypatch)
