"""
Whether this process serves websockets, and takes new ones. Commands, workers and WSGI servers serve
none.

A process that has only imported ``asgi.py``, as a system check does, serves nobody: serving begins
with the first scope that an application of ours gets, HTTP and lifespan included.
"""

from __future__ import annotations

_serving = False
_draining = False


def note_serving() -> None:
    """Note that this process serves websockets."""
    global _serving  # of the process
    _serving = True


def is_serving() -> bool:
    """Return whether this process serves websockets."""
    return _serving


def note_draining() -> None:
    """Note that this process is going to stop, and takes no new websockets."""
    global _draining  # of the process
    _draining = True


def is_draining() -> bool:
    """Return whether this process is going to stop, and takes no new websockets."""
    return _draining
