"""The account of outages: how long to wait, and what the log says."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING

from wsconsumer.counters import counters
from wsconsumer.groups.reconnecting import Outage

if TYPE_CHECKING:
    import pytest


def test_an_outage_is_two_lines(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log says once that the engine is away, and once that it is back, and after how long."""
    clock = iter([1000.0, 1150.5])
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    away = Outage("The engine")
    assert not away.is_on
    for number in range(5):
        away.failed(ConnectionError(f"attempt {number}"))
        assert away.is_on
    away.over()
    assert not away.is_on
    first, last = caplog.messages
    assert first.startswith("The engine is away: ConnectionError: attempt 0. Websockets stay open")
    assert last.startswith("The engine is back after 150.5 seconds. Attempts: 5.")
    assert {record.levelname for record in caplog.records} == {"WARNING"}
    assert counters["engine_lost"] == 1


def test_all_well_is_no_news(caplog: pytest.LogCaptureFixture) -> None:
    """An engine that was never away is not back."""
    well = Outage("The engine")
    well.over()
    well.replaced()
    assert caplog.messages == []


def test_each_outage_is_told(caplog: pytest.LogCaptureFixture) -> None:
    """A second outage has lines of its own."""
    away = Outage("The engine")
    for _ in range(2):
        away.failed(OSError("no"))
        away.over()
    assert [message.split()[3] for message in caplog.messages] == ["away:", "back"] * 2
    assert counters["engine_lost"] == 2


def test_the_last_error_is_kept_while_it_lasts() -> None:
    """What the last attempt failed with can be told to those who publish meanwhile."""
    away = Outage("The engine")
    away.failed(OSError("first"))
    away.failed(OSError("second"))
    assert str(away.error) == "second"
    away.over()
    assert away.error is None


def test_one_that_is_replaced_is_not_back(caplog: pytest.LogCaptureFixture) -> None:
    """The outage of a server that others replaced ends with a line that says so."""
    away = Outage("One of them")
    away.failed(OSError("no"))
    away.replaced()
    assert not away.is_on
    assert caplog.messages[1:] == ["One of them is waited for no more: others took over."]


def test_waits_are_random_and_grow(monkeypatch: pytest.MonkeyPatch) -> None:
    """A wait is anything from nothing to a bound, which doubles until it is ten seconds."""
    bounds: list[tuple[float, float]] = []

    def uniform(low: float, high: float) -> float:
        bounds.append((low, high))
        return high

    monkeypatch.setattr(random, "uniform", uniform)
    away = Outage("The engine")
    waits = [away.failed(OSError("no")) for _ in range(30)]
    assert waits[:8] == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10.0]
    assert set(waits[8:]) == {10.0}
    assert {low for low, _ in bounds} == {0}
