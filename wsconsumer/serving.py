"""
Whether this process serves websockets. Commands, workers and WSGI servers do not.

A process that has only imported ``asgi.py``, as a system check does, serves nobody: serving begins
with the first scope that an application of ours gets, HTTP and lifespan included.
"""

from __future__ import annotations

_serving = False


def note_serving() -> None:
    """Note that this process serves websockets."""
    global _serving  # of the process
    _serving = True


def is_serving() -> bool:
    """Return whether this process serves websockets."""
    return _serving
