"""
Whether a server is the one to publish at: a replica takes PUBLISH, and passes it on to nobody.

So behind a name that a failover has moved, the old server looks well for ever. It is asked for its
role: with HELLO, which every user may call, or else with ROLE.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from redis.exceptions import RedisError, ResponseError

from ...log_thread import log

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

logger = logging.getLogger("wsconsumer.groups")

Command: TypeAlias = "tuple[str | bytes | int, ...]"

QUESTIONS: Final[tuple[Command, ...]] = (("HELLO", 2), ("ROLE",))
"""The commands that tell the role; the first that is answered counts."""

REPLICA: Final = (b"replica", b"slave")
"""What HELLO and ROLE call a replica."""


class ReplicaError(RedisError):
    """The server is a replica."""


def read_role(reply: Any) -> bytes | None:
    """Return the role that a reply to one of the questions tells, if it does."""
    if not isinstance(reply, list) or not reply:
        return None
    at = reply.index(b"role") + 1 if b"role" in reply else 0
    role = reply[at]
    return role if isinstance(role, bytes) else None


class Watch:
    """Asks a server for its role; warns once, in the server's name, if that can't be told."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._has_warned = False
        self._has_warned_of_failovers = False

    async def check(self, ask: Callable[[Command], Awaitable[Any]]) -> None:
        """Raise ``ReplicaError`` if the server that ``ask`` asks is a replica."""
        for question in QUESTIONS:
            try:
                reply = await ask(question)
            except ResponseError:
                continue  # forbidden, or unknown there
            if self.judge(reply):
                return
        self.warn()

    def judge(self, reply: Any) -> bool:
        """Return whether a reply tells a role; raise ``ReplicaError`` if it is a replica's."""
        role = read_role(reply)
        if role in REPLICA:
            raise ReplicaError(
                "it is a replica, and what is published there reaches no other server. LOCATION "
                "must lead to the primary"
            )
        return role is not None

    def warn(self) -> None:
        """Log that the server does not tell its role."""
        if not self._has_warned:
            self._has_warned = True
            log(
                logger,
                logging.WARNING,
                "%s tells its role neither by HELLO nor by ROLE. If it becomes a replica, what is "
                "broadcast reaches nobody else, and that will not be noticed. Let the user call "
                "one of them (ACL: +hello or +role).",
                self._name,
            )

    def warn_of_failovers(self) -> None:
        """Log that a history can't tell under which primary it began."""
        if not self._has_warned_of_failovers:
            self._has_warned_of_failovers = True
            log(
                logger,
                logging.WARNING,
                "%s does not let groups that keep call INFO, which tells a new primary from an old "
                "one. If a replica takes over that lags behind, its history may seem to go on, and "
                "members are not told of what is missing. Let the user call it (ACL: +info).",
                self._name,
            )


async def ping(ask: Callable[[Command], Awaitable[Any]]) -> None:
    """Find out whether the server is there, and no more: in a cluster the map tells its role."""
    await ask(("PING",))
