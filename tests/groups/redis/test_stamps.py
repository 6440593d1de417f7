"""``groups/redis/stamps.py``: what comes again, or too late, is told apart."""

from __future__ import annotations

import threading

import pytest

from wsconsumer.groups.redis.stamps import REMEMBERED, Recent, Stamps


def test_what_comes_again() -> None:
    """It is taken once, on each channel."""
    recent, stamps = Recent(0), Stamps()
    one = stamps.next() + b"body"
    assert recent.take(b"a", one) == b"body"
    assert recent.take(b"a", one) is None
    assert recent.take(b"b", one) == b"body"


def test_the_same_body_again() -> None:
    """What was published twice is taken twice."""
    recent, stamps = Recent(0), Stamps()
    for _ in range(2):
        assert recent.take(b"a", stamps.next() + b"body") == b"body"


def test_what_comes_too_late() -> None:
    """Of one publisher, nothing is taken after what was later."""
    recent, stamps, others = Recent(0), Stamps(), Stamps()
    early, late, other = stamps.next(), stamps.next(), others.next()
    assert recent.take(b"a", late) == b""
    assert recent.take(b"a", early) is None
    assert recent.take(b"a", other) == b""


def test_a_thread_is_a_publisher() -> None:
    """What threads publish at once has no order, so none of it is too late."""
    recent, stamps = Recent(0), Stamps()
    early = stamps.next()
    made: list[bytes] = []
    thread = threading.Thread(target=lambda: made.append(stamps.next()))
    thread.start()
    thread.join()
    assert recent.take(b"a", made[0]) == b""
    assert recent.take(b"a", early) == b""


@pytest.mark.parametrize(
    ("ages", "is_known"),
    [
        ([], True),
        ([REMEMBERED - 1], True),
        ([REMEMBERED], True),
        ([REMEMBERED, REMEMBERED + 1], True),
        ([REMEMBERED, 2 * REMEMBERED], False),
    ],
    ids=["at once", "soon", "once", "once and soon", "twice"],
)
def test_what_is_forgotten(ages: list[float], is_known: bool) -> None:
    """A number is remembered for some seconds, not for ever."""
    recent, stamps = Recent(0), Stamps()
    one = stamps.next()
    recent.take(b"a", one)
    for now in ages:
        recent.forget(now)
    assert (recent.take(b"a", one) is None) is is_known


def test_what_has_no_stamp() -> None:
    """It is none of ours."""
    with pytest.raises(ValueError, match=r"expected a stamp of 16 bytes, got b'short'"):
        Recent(0).take(b"a", b"short")
