"""
The part of a session that knows whose it is, so that a logout finds it.

Before ``connect()`` runs, and once the connection is accepted, it asks whether its user or session
was disconnected while the handshake was under way.
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
    from .connection.connection import Connection
    from .limits import Limits


class Belonging:
    """The part of a session that belongs to a user or to a session of Django's."""

    __slots__ = ()

    if TYPE_CHECKING:
        connection: Connection
        _consumer: Any
        _hashed: dict[str, str]
        _limits: Limits

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

    def _begin_belonging(self) -> None:
        """Look again after ``connect()``, which may have set the user, and from time to time."""
        if self.connection.state is not ConnectionState.OPEN:
            return
        verdict = find_verdict(self._consumer.request)
        if verdict is not None:
            close(self, verdict.code, verdict.reason, "disconnected")
        every = self.revalidate_every
        if every is not None:
            revalidation().begin(self, every)
