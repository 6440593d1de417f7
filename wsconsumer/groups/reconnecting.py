"""
An engine that is away: how long to wait before the next attempt, and what the log says of it.

Each outage is two log lines, however many attempts it takes: when it begins, and when it is over.
"""

from __future__ import annotations

import logging
import random
import time
from typing import Final
from weakref import WeakSet

from .. import metrics
from ..counters import counters
from ..escaping import escape
from ..log_thread import log

logger = logging.getLogger("wsconsumer.groups")

FIRST_DELAY: Final = 0.1
"""The longest that the first wait can be, in seconds; each further one can be twice as long."""

MAX_DELAY: Final = 10.0
"""Seconds that no wait is longer than."""


_away: WeakSet[Outage] = WeakSet()
metrics.gauges["engine_away"] = _away.__len__


class Outage:
    """Keeps the account of one connection's outages; ``engine`` is the name that the log says."""

    def __init__(self, engine: str) -> None:
        self._engine = engine
        self._attempts = 0
        self._since = 0.0
        self.error: BaseException | None = None
        """What the last attempt failed with, while the engine is away."""

    @property
    def is_on(self) -> bool:
        """Whether the engine is away."""
        return self._attempts > 0

    def failed(self, error: BaseException) -> float:
        """
        Note that the connection was lost, or an attempt failed; return seconds to wait.

        The wait is random between nothing and a bound that doubles ("full jitter"), so that many
        processes don't come back all at once.
        """
        if not self._attempts:
            self._since = time.monotonic()
            _away.add(self)
            counters["engine_lost"] += 1
            log(
                logger,
                logging.WARNING,
                "%s is away: %s: %s. Websockets stay open; what is broadcast to groups meanwhile "
                "is lost. Trying again, at least every %d seconds.",
                self._engine,
                type(error).__name__,
                escape(error).rstrip("."),
                MAX_DELAY,
            )
        self.error = error
        bound = min(MAX_DELAY, FIRST_DELAY * 2 ** min(self._attempts, 16))
        self._attempts += 1
        return random.uniform(0, bound)  # noqa: S311  # jitter is no secret

    def over(self) -> None:
        """Note that all is well (again)."""
        if self._attempts:
            log(
                logger,
                logging.WARNING,
                "%s is back after %.1f seconds. Attempts: %d.",
                self._engine,
                time.monotonic() - self._since,
                self._attempts,
            )
            self._forget()

    def replaced(self) -> None:
        """Note that it is waited for no more: others of its kind do its work."""
        if self._attempts:
            text = "%s is waited for no more: others took over."
            log(logger, logging.WARNING, text, self._engine)
            self._forget()

    def _forget(self) -> None:
        _away.discard(self)
        self._attempts = 0
        self.error = None
