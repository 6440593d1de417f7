"""Closing the connection of a session from outside of it."""

from __future__ import annotations

from contextvars import Context
from typing import TYPE_CHECKING, Final

from ..connection.deadlines import Deadline
from ..connection.monitor import monitor
from ..protocol import ConnectionState

if TYPE_CHECKING:
    from ..connection.monitor import Watched

CLOSABLE: Final = (ConnectionState.CONNECTING, ConnectionState.OPEN)
"""The states in which a connection can be closed."""


def close(session: Watched, code: int, reason: str, counter: str) -> None:
    """Close the connection of a session from outside: once it is accepted, if it is not yet."""
    deadlines, connection = monitor().deadlines, session.connection
    if connection.state is ConnectionState.CONNECTING:
        deadlines.add(connection, connection.loop.time(), code, reason, counter)
    else:
        deadlines.close(connection, Deadline(code, reason, counter, Context()))
