"""What is said, once, about a daphne that is not the one we know."""

from __future__ import annotations

import logging
from functools import cache

from ...log_thread import log

logger = logging.getLogger("wsconsumer.server")


@cache
def explain_fallback(expectation: str) -> None:
    """Log what was expected of daphne, and what its absence means."""
    log(logger, logging.WARNING, "This daphne can't be adapted: expected %s", expectation)
