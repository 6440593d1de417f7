"""
The name of this process among those of a project: the host, the pid, and something random.

A host may give a pid to another process soon, and containers may all be called the same and have
pid 1: the random part tells them apart.
"""

from __future__ import annotations

import os
import secrets
import socket
from functools import cache
from typing import NamedTuple


class Process(NamedTuple):
    """A process; ``str()`` gives its name: ``"web-1:4711:5fe2a1b3"``."""

    host: str
    pid: int
    token: str

    def __str__(self) -> str:
        return f"{self.host}:{self.pid}:{self.token}"


def this_process() -> Process:
    """Return what this process is called, until its end; a fork of it is another."""
    return _process(os.getpid())


@cache
def _process(pid: int) -> Process:
    return Process(socket.gethostname(), pid, secrets.token_hex(4))
