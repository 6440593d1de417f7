"""
What the limits of a consumer set up for its connection, once, before ``connect()``.

Those that are off cost nothing afterwards. Time is watched by the monitor's ticker, and rates by a
``receive`` of their own: see ``connection/``.
"""

from __future__ import annotations

import asyncio
import random
import sys
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from asgiref.sync import sync_to_async

from .cancellation import Cause
from .clients import User, entry_of, is_counted, user_of
from .connection.own_client import close_for_denial
from .connection.rating import rated
from .groups.hub import hub
from .protocol import CloseCode, ConnectionState
from .rates import Bucket, parse_rate
from .reporting import log_crowd, log_rate, log_undecided
from .waiting import frames_of_coroutine, frames_of_hook

if TYPE_CHECKING:
    from contextvars import Context
    from types import FrameType

    from .cancellation import Cancellations
    from .connection.connection import Connection
    from .connection.monitor import Monitor
    from .groups.leasing import Entry
    from .groups.registry import Registry
    from .limits import Limits
    from .observing import Account
    from .protocol import Event

JITTER: Final = 0.1
"""How much of a ``max_lifetime`` one connection lives longer or shorter than another."""

BYTES_PER_CHARACTER: Final = 4
"""What a character takes in UTF-8, at the most."""


LOOK_AGAIN_AFTER: Final = 0.5
"""Seconds after which a connection too many is looked at again: a page that reloads leaves soon."""

COME_BACK_AFTER: Final = 30
"""Seconds that it is told to wait: those of a process that was killed are forgotten by then."""


class Place:
    """One of the connections that a user or an address may have, from ``take()`` on."""

    __slots__ = ("_entry", "_registry")

    def __init__(self, entry: Entry) -> None:
        self._entry = entry
        self._registry: Registry | None = None

    async def take(self) -> bool:
        """Return whether there was one, looking twice."""
        if not self._entry:  # of nobody, from nowhere
            return True
        registry = hub().registry()
        if not await registry.enter(self._entry):
            await asyncio.sleep(LOOK_AGAIN_AFTER)
            if not await registry.enter(self._entry):
                return False
        self._registry = registry
        return True

    def give_back(self) -> None:
        """Leave it to others."""
        if self._registry is not None:
            self._registry.leave(self._entry)
            self._registry = None


class Limiting:
    """The part of a session that keeps to the limits of its consumer."""

    __slots__ = ()

    if TYPE_CHECKING:
        connection: Connection
        handling: Event | None
        account: Account
        context: Context
        _cancellations: Cancellations
        _consumer: Any
        _limits: Limits
        _loop: asyncio.AbstractEventLoop
        _monitor: Monitor
        _place: Place | None

    def _begin_limits(self) -> None:
        limits, now = self._limits, self._loop.time()
        if limits.connect_timeout is not None:
            self._monitor.connecting.put(self, now + limits.connect_timeout)
        if limits.max_lifetime is not None:
            jitter = random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311  # no secret
            self._monitor.deadlines.add(
                self.connection,
                now + limits.max_lifetime * jitter,
                CloseCode.TIMED_OUT.value,
                "the lifetime is over",
                "lifetime_closed",
            )
        self._limit_rates()
        if limits.idle_timeout is not None:
            self._monitor.idling.add(self, limits.idle_timeout, now)

    # max_connections_per_user, max_connections_per_address

    def count_as(self, entry: Entry) -> Place:
        """Let the connection count for these keys, each with its limit."""
        self._place = Place(entry)  # type: ignore[misc]  # the session has the slot
        return self._place

    async def _let_in(self) -> object:
        """Call ``connect()``, unless connections are limited and this is one too many."""
        place = self._place
        if place is None and is_counted(self._consumer):  # no handshake, which has its threads
            place = self.count_as(await sync_to_async(entry_of)(self._consumer))
        if place is None or await place.take():
            return await self.account.hooks.connect()
        log_crowd(self._consumer)
        after = [(b"retry-after", b"%d" % COME_BACK_AFTER)]
        status = HTTPStatus.TOO_MANY_REQUESTS
        await self.connection.deny(status, after, b"", close_for_denial(status, after))
        return None

    def _let_go(self) -> None:
        """Count the connection no more: it has ended, whatever its hooks still do."""
        if self._place is not None:
            self._place.give_back()

    @property
    def is_busy(self) -> bool:
        """Whether the client waits for us, so that it is not idle."""
        return self.handling is not None

    # connect_timeout

    def give_up_connecting(self) -> None:
        """Cancel a ``connect()`` that has not decided in time; what it leaves undecided is 503."""
        if self.connection.state is ConnectionState.CONNECTING:
            timeout, frames = self._limits.connect_timeout, self.hook_frames()
            self.context.run(log_undecided, self._consumer, timeout, frames)
            self._cancellations.request(Cause.UNDECIDED)

    async def _end_connecting(self) -> None:
        self._monitor.connecting.drop(self)
        self._cancellations.take_back()  # connect() swallowed it
        if self.connection.state is ConnectionState.CONNECTING:
            await self.connection.reject(503)

    # max_message_size

    @property
    def _short(self) -> int:
        """How long a message may be in any case, in characters or bytes."""
        limit = self._limits.max_message_size
        return sys.maxsize if limit is None else limit // BYTES_PER_CHARACTER

    async def _is_too_big(self, data: str | bytes) -> bool:
        """Close if a message that is not short is too big."""
        limit = self._limits.max_message_size
        if limit is None or _has_at_most(data, limit):
            return False
        await self.connection.close(CloseCode.MESSAGE_TOO_BIG, f"at most {limit} bytes")
        return True

    # rate_limit

    def _limit_rates(self) -> None:
        limits, rates = self._limits, []
        if limits.rate_limit is not None:
            rates.append((limits.rate_limit, Bucket(parse_rate(limits.rate_limit))))
        if limits.rate_limit_per_user is not None:
            key = _key_of_user(self._consumer)
            if key is not None:
                bucket = self._monitor.user_buckets.lend(self, key, limits.rate_limit_per_user)
                rates.append((limits.rate_limit_per_user, bucket))
        if rates:
            receive = self.connection.receive
            self.connection.read_through(rated(receive, rates, self._loop, self._end_flood))

    async def _end_flood(self, rate: str) -> None:
        """Close a connection whose client sends too much."""
        if self.connection.state is ConnectionState.OPEN:
            log_rate(self._consumer, rate)
            after = f"after={parse_rate(rate).seconds}"
            await self.connection.close(CloseCode.RATE_LIMITED, after)

    # slow_hook_seconds

    @property
    def slow_hook_seconds(self) -> float | None:
        """After how many seconds a hook is slow."""
        return self._limits.slow_hook_seconds

    def hook_frames(self) -> list[FrameType]:
        """Return where the hook of the loop waits, outermost first."""
        return frames_of_hook(frames_of_coroutine(self._cancellations.coroutine()))

    def hook_context(self) -> Context:
        """Return the context of the connection, for what others find out about its hooks."""
        return self.context


def _has_at_most(data: str | bytes, limit: int) -> bool:
    """Return whether a message has so many bytes, encoding no text that need not be."""
    if len(data) > limit:
        return False
    if isinstance(data, bytes) or data.isascii() or len(data) * BYTES_PER_CHARACTER <= limit:
        return True
    return len(data.encode(errors="surrogatepass")) <= limit


def _key_of_user(consumer: Any) -> tuple[type, User] | None:
    """Return what names the user of a connection to a class; ``None`` for an anonymous one."""
    user = user_of(consumer.request)
    return None if user is None else (type(consumer), user)
