"""``groups/reloads.py``: a crowd that has to reload does not do so at once."""

from __future__ import annotations

from wsconsumer.groups.reloads import LONGEST, PER_SECOND, Reloads
from wsconsumer.test import advance


async def test_a_few_reload_at_once() -> None:
    """One client, or a small group, has nothing to wait for."""
    assert Reloads().spread(1) == 0
    assert Reloads().spread(PER_SECOND // 3) == 0


async def test_a_big_group_takes_its_time() -> None:
    """The time grows with the members, up to a limit."""
    assert Reloads().spread(20 * PER_SECOND) == 20
    assert Reloads().spread(10_000 * PER_SECOND) == LONGEST


async def test_a_crowd_that_comes_one_by_one() -> None:
    """After a restart each is told for itself; they are spread all the same, until it is over."""
    reloads = Reloads()
    told = [reloads.spread(10 * PER_SECOND) for _ in range(10)]
    assert told == sorted(told)
    assert told[0] == 10
    assert told[-1] > 50
    await advance(100)
    assert reloads.spread(1) == 0


async def test_at_least() -> None:
    """Where more reloads may follow, one alone takes its time as well."""
    assert Reloads().spread(1, 10) == 10
    assert Reloads().spread(20 * PER_SECOND, 10) == 20
