"""A clock that tests advance: timers of the event loop fire at once."""

from __future__ import annotations

import asyncio
from math import inf
from typing import Any


async def advance(seconds: float) -> None:
    """
    Move the running event loop's clock forward; everything due on the way happens, in order.

    Timers, ``asyncio.sleep()``, timeouts and whatever this package times follow it; the wall clock
    (``time.time()``, ``timezone.now()``) and other threads do not.
    """
    if not 0 <= seconds < inf:
        raise ValueError(
            f"advance() expects a finite number of seconds, at least 0, got {seconds}."
        )
    loop: Any = asyncio.get_running_loop()
    if not isinstance(loop, asyncio.BaseEventLoop):
        raise TypeError(
            f"advance() expects an event loop of asyncio, whose clock it can move, got "
            f"{type(loop).__module__}.{type(loop).__qualname__}. Run this test with asyncio's own "
            "loop."
        )
    end = loop.time() + seconds
    await _turns_and_timers(loop)
    while (due := _next_timer(loop)) is not None and due <= end:
        _set(loop, max(due, loop.time()))
        await _turns_and_timers(loop)
    _set(loop, end)
    await _turns_and_timers(loop)


async def turns(number: int = 10) -> None:
    """Run everything that needs neither time nor input."""
    for _ in range(number):
        await asyncio.sleep(0)


async def _turns_and_timers(loop: Any) -> None:
    await turns()
    # A timer that real time has made due in this turn of the loop runs behind us in it, and may set
    # the next one.
    while any(isinstance(handle, asyncio.TimerHandle) for handle in loop._ready):  # noqa: SLF001  # asyncio has no public one
        await turns()


def _next_timer(loop: Any) -> float | None:
    whens = [handle.when() for handle in loop._scheduled if not handle.cancelled()]  # noqa: SLF001  # asyncio has no public one
    return min(whens, default=None)


def _set(loop: Any, now: float) -> None:
    """Continue the loop's clock from ``now``; never run it backwards."""
    real = type(loop).time
    offset = max(now - real(loop), getattr(loop, "_advanced", 0.0))
    loop._advanced = offset  # noqa: SLF001  # an attribute of ours on the loop
    loop.time = lambda: real(loop) + offset
