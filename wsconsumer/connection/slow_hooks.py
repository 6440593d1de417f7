"""Hooks that run for long, told once with where they wait."""

from __future__ import annotations

import logging
from math import inf
from typing import TYPE_CHECKING, Final, Protocol

from ..counters import counters
from ..log_thread import log
from ..waiting import describe_frames
from .watchdog import SILENCE

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextvars import Context
    from types import FrameType

    class Slow(Protocol):
        """Whoever calls a hook that has been running for more than a tick."""

        @property
        def slow_hook_seconds(self) -> float | None: ...

        def hook_frames(self) -> Sequence[FrameType]: ...

        def hook_context(self) -> Context: ...


logger = logging.getLogger("wsconsumer.consumer")

_NEVER: Final = -inf


class SlowHooks:
    """The hooks of one event loop that have been running for more than a tick."""

    def __init__(self) -> None:
        self._since: dict[Slow, tuple[object, float]] = {}
        self._named: dict[str, float] = {}

    def look_at(self, caller: Slow, call: object, now: float) -> None:
        """Look at a call, which is another object each time; ``now`` in seconds of the clock."""
        seen, since = self._since.get(caller, (None, now))
        if seen is not call:
            self._since[caller] = (call, now)
            return
        limit = caller.slow_hook_seconds
        if limit is not None and now - since > limit:
            self._since[caller] = (call, inf)  # it was told
            self._tell(caller, limit, now)

    def forget(self, caller: Slow) -> None:
        """Stop looking: the connection has ended."""
        self._since.pop(caller, None)

    def _tell(self, caller: Slow, limit: float, now: float) -> None:
        counters["hook_slow"] += 1
        frames = caller.hook_frames()
        hook = frames[0].f_code.co_qualname if frames else "A hook"
        if now - self._named.get(hook, _NEVER) < SILENCE:
            return
        self._named[hook] = now
        caller.hook_context().run(
            log,
            logger,
            logging.WARNING,
            "%s has been running for more than %g seconds, and what its connection has to handle "
            "next waits for it. Bound what it awaits with asyncio.timeout(), or spawn() it. It "
            "waits here:\n%s",
            hook,
            limit,
            describe_frames(frames),
            from_stranger=True,
        )
