"""
Commands for channels, sent together with a PING behind them, and what their answer says so far.

Replies come in the order of the commands, so the answer to the PING says that all before it were
answered. Read ``node.py`` for who sends them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterable

    from redis.exceptions import ResponseError

SUBSCRIBE_AT_ONCE: Final = 1_000
"""Channels in one command."""


class Commands(NamedTuple):
    """The commands of publish/subscribe, and the kinds of message that answer them."""

    subscribe: str
    unsubscribe: str
    publish: str
    message: bytes
    begun: bytes
    ended: bytes
    at_once: int


PLAIN: Final = Commands(
    "SUBSCRIBE", "UNSUBSCRIBE", "PUBLISH",
    b"message", b"subscribe", b"unsubscribe", SUBSCRIBE_AT_ONCE,
)  # fmt: skip
SHARDED: Final = Commands(
    "SSUBSCRIBE", "SUNSUBSCRIBE", "SPUBLISH", b"smessage", b"ssubscribe", b"sunsubscribe", 1
)
"""In a cluster, one channel a command: all of a command must be of one slot."""


class Letter:
    """
    Commands that were sent together, with a PING behind them, and what is known of the answer.

    ``at_once`` is how many channels each command has.
    """

    def __init__(
        self, word: str, channels: Iterable[bytes], at_once: int, pong: asyncio.Future[None]
    ) -> None:
        self.word = word
        self.at_once = at_once
        self.pong = pong
        self.open = dict.fromkeys(channels)
        """Channels that the answer has not named yet."""
        self.errors: list[ResponseError] = []

    def commands(self) -> list[tuple[Any, ...]]:
        """Return the commands, with the PING."""
        names = list(self.open)
        parts = [names[at : at + self.at_once] for at in range(0, len(names), self.at_once)]
        return [*((self.word, *part) for part in parts), ("PING",)]

    def answered(self, channel: bytes) -> None:
        """Note that the server has done it for a channel."""
        self.open.pop(channel, None)

    def refused(self, error: ResponseError) -> None:
        """Note the error reply to one of the commands; raise it if that was the PING."""
        self.errors.append(error)
        if len(self.errors) > len(self.open):
            raise error
