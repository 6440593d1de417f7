"""``groups/leases.py``: what is its own; the contract is run by the memory backend."""

from __future__ import annotations

import asyncio

from wsconsumer.groups.leases import Leases
from wsconsumer.groups.leasing import TOLD_FOR


class Clock:
    """A clock that tests move."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


async def test_a_lapsed_process_is_told_of_for_a_while() -> None:
    """Then it is forgotten."""
    clock, loop = Clock(), asyncio.get_running_loop()
    leases = Leases(clock)
    leases.begin("p", "a", 30, loop)
    leases.begin("p", "b", 20, loop)
    clock.now += 20
    assert leases.beat("p", "a", 2 * TOLD_FOR) == (True, ["b"])
    clock.now += TOLD_FOR - 1
    assert leases.beat("p", "a", 2 * TOLD_FOR) == (True, ["b"])
    clock.now += 1
    assert leases.beat("p", "a", 2 * TOLD_FOR) == (True, [])


async def test_a_loop_that_was_closed() -> None:
    """What it had counts no more, whatever its lease says."""
    leases = Leases()
    loop = asyncio.new_event_loop()
    leases.begin("p", "a", 30, asyncio.get_running_loop())
    leases.begin("p", "b", 30, loop)
    leases.admit("p", "b", {"k": 1}, [])
    assert leases.admit("p", "a", {}, [[("k", 1)]]) == [False]
    loop.close()
    assert leases.beat("p", "a", 30) == (True, ["b"])
    assert leases.admit("p", "a", {}, [[("k", 1)]]) == [True]
