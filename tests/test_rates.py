"""``rates.py``: token buckets."""

from __future__ import annotations

import pytest

from wsconsumer.rates import Bucket, Rate, parse_rate


@pytest.mark.parametrize(
    ("text", "rate"),
    [("20/s", Rate(20, 1)), ("100/m", Rate(100, 60)), ("500/h", Rate(500, 3600))],
)
def test_rates(text: str, rate: Rate) -> None:
    """A rate is a number of messages per second, minute or hour."""
    assert parse_rate(text) == rate


CASES = [
    ("a burst", "3/s", [0, 0, 0, 0], 3),
    ("a full bucket holds no more", "3/s", [9, 9, 9, 9], 3),
    ("evenly for ever", "3/s", [number / 3 for number in range(90)], 90),
    ("one comes back", "3/s", [0, 0, 0, 0.3, 0.34, 0.34], 4),
    ("a minute", "2/m", [0, 0, 29, 30, 31, 60], 4),
    ("rounding", "10/s", [1e6] * 11, 10),
    ("one", "1/h", [0, 3599, 3600], 2),
]


@pytest.mark.parametrize(
    ("rate", "times", "taken"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
def test_tokens(rate: str, times: list[float], taken: int) -> None:
    """A bucket holds what its rate has in a period; each token is back an interval later."""
    bucket = Bucket(parse_rate(rate))
    assert sum(bucket.take(100 + time) for time in times) == taken
