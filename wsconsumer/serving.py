"""Whether this process serves websockets. Commands, workers and WSGI servers do not."""

from __future__ import annotations

import threading

_serving = threading.Event()


def note_serving() -> None:
    """Note that this process serves websockets."""
    _serving.set()


def is_serving() -> bool:
    """Return whether this process serves websockets."""
    return _serving.is_set()
