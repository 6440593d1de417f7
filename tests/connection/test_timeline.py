"""``connection/timeline.py``: times to come."""

from __future__ import annotations

from math import inf

import pytest

from wsconsumer.connection.timeline import Timeline


@pytest.mark.parametrize(
    ("now", "due"),
    [
        (0.9, []),
        (1.2, []),
        (1.25, ["a"]),
        (1.9, ["a", "b"]),
        (2, ["a", "b"]),
        (1e9, ["a", "b", "c"]),
    ],
)
def test_what_is_due(now: float, due: list[str]) -> None:
    """Times count to the fraction of a second, and who is taken is forgotten."""
    timeline: Timeline[str] = Timeline()
    for key, when in (("c", 300.5), ("a", 1.25), ("b", 1.75)):
        timeline.put(key, when)
    assert timeline.take_due(now) == due
    assert len(timeline) == 3 - len(due)
    assert timeline.take_due(now) == []


def test_another_time() -> None:
    """A key has one time, the last that it was given."""
    timeline: Timeline[str] = Timeline()
    timeline.put("a", 5)
    timeline.put("a", 9)
    assert timeline.time_of("a") == 9
    assert timeline.take_due(5) == []
    assert timeline.take_due(9) == ["a"]
    timeline.put("a", 3)
    assert timeline.take_due(9) == ["a"]


def test_who_is_dropped_leaves_nothing() -> None:
    """Who ends early is not kept until its time."""
    timeline: Timeline[str] = Timeline()
    timeline.put("a", 5)
    timeline.put("b", 5)
    timeline.drop("a")
    assert timeline.take_due(5) == ["b"]
    timeline.put("c", 7)
    timeline.drop("c")
    timeline.drop("c")
    assert not any(vars(timeline)[name] for name in ("_times", "_seconds"))
    assert timeline.time_of("c") == inf
