"""``throttle.py``: what is said seldom."""

from __future__ import annotations

from wsconsumer.throttle import Seldom, Throttle


def test_the_throttle() -> None:
    """It opens again when its seconds are over."""
    now = 100.0
    throttle = Throttle(60, lambda: now)
    assert [throttle.take(), throttle.take()] == [True, False]
    now = 159.9
    assert not throttle.is_open
    now = 160.0
    assert throttle.is_open
    assert [throttle.take(), throttle.take()] == [True, False]
    throttle.reset()
    assert [throttle.take(), throttle.take()] == [True, False]


def test_what_is_said_seldom_says_how_often_it_happened() -> None:
    """The first time is said at once; those after it are counted until it is said again."""
    now = 100.0
    seldom = Seldom(60, lambda: now)
    assert [seldom.count() for _ in range(4)] == [1, 0, 0, 0]
    now = 160.0
    assert [seldom.count(), seldom.count()] == [4, 0]
    seldom.reset()
    assert seldom.count() == 1
