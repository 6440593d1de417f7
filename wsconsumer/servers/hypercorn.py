"""
How a worker of hypercorn learns that it is to stop: its parent sets an event, and sends no signal.
"""

from __future__ import annotations

import multiprocessing
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from multiprocessing.synchronize import Event


def shutdown_event() -> Event | None:
    """Return the event, if this process is a worker of hypercorn."""
    process: Any = multiprocessing.current_process()
    target = getattr(process, "_target", None)
    if getattr(target, "__module__", "").partition(".")[0] != "hypercorn":
        return None
    event: Event | None = getattr(process, "_kwargs", {}).get("shutdown_event")
    return event
