"""``loops.py``: one object for each event loop."""

from __future__ import annotations

import asyncio

from wsconsumer.groups.hub import hub
from wsconsumer.loops import PerLoop, end_loop


async def test_one_for_each_loop() -> None:
    """It is made when first asked for, and kept; another loop has another."""
    per_loop: PerLoop[object] = PerLoop(object)
    assert per_loop.peek() is None
    mine = per_loop.get()
    assert per_loop.get() is mine
    assert per_loop.peek() is mine

    async def other() -> object:
        return per_loop.get()

    assert await asyncio.to_thread(asyncio.run, other()) is not mine
    assert per_loop.pop() is mine
    assert per_loop.pop() is None


def test_closed_loops_are_forgotten() -> None:
    """What belonged to a closed loop goes when the next one asks."""
    per_loop: PerLoop[object] = PerLoop(object)

    async def ask() -> int:
        per_loop.get()
        return len(per_loop)

    assert [asyncio.run(ask()) for _ in range(3)] == [1, 1, 1]


async def test_a_server_that_tells_no_lifespan_ends_the_loop() -> None:
    """What a loop has beside the connections is closed: its next hub is another one."""
    before = hub()
    await end_loop()
    assert hub() is not before
    await end_loop()
