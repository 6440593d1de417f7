"""
The part of a session that knows whose it is, so that a logout finds it.

Before ``connect()`` runs, once the connection is accepted, and when ``connect()`` has returned, it
asks whether its user or session was disconnected meanwhile. What an open connection needs begins
with ``accept()``: a ``connect()`` that has accepted may go on for hours.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .connected import answering  # noqa: F401  # it hears orders, as what follows does
from .disconnecting import close
from .identities import hash_of_session
from .protocol import ConnectionState
from .refusals import STATUS, find_verdict, log_refused
from .revalidating import revalidation

if TYPE_CHECKING:
    import asyncio
    from contextvars import Context

    from .connection.connection import Connection
    from .connection.monitor import Monitor
    from .limits import Limits
    from .observing import Account


class Belonging:
    """The part of a session that belongs to a user or to a session of Django's."""

    __slots__ = ()

    if TYPE_CHECKING:
        account: Account
        connection: Connection
        context: Context
        _consumer: Any
        _hashed: dict[str, str]
        _limits: Limits
        _loop: asyncio.AbstractEventLoop
        _monitor: Monitor

    def hash_of(self, key: str) -> str:
        """Return the hash of the key of the session, which is made only once."""
        found = self._hashed.get(key)
        if found is None:
            found = self._hashed[key] = hash_of_session(key)
        return found

    @property
    def revalidate_every(self) -> float | None:
        """Seconds within which the session and the user are checked again."""
        return self._limits.revalidate_every

    async def _is_refused(self) -> bool:
        """Deny a connection whose user or session was disconnected meanwhile."""
        verdict = find_verdict(self._consumer.request)
        if verdict is None:
            return False
        log_refused(self._consumer.request, verdict)
        await self.connection.deny(STATUS, (), b"", (verdict.code, f"{STATUS}"))
        return True

    def on_accepted(self) -> None:
        """Begin, once, with what the connection needs while it is open, if it is."""
        connection = self.connection
        if not self.account.on_accepted() or connection.state is not ConnectionState.OPEN:
            return
        if connection.speaks_own:
            self._monitor.heartbeats.add(connection, self._loop.time(), self.context)
        every = self.revalidate_every
        if every is not None:
            revalidation().begin(self, every)
        self._close_if_refused()

    def _close_if_refused(self) -> None:
        """Look again: ``connect()`` may have set the user."""
        if self.connection.state is ConnectionState.OPEN:
            verdict = find_verdict(self._consumer.request)
            if verdict is not None:
                close(self, verdict.code, verdict.reason, "disconnected")
