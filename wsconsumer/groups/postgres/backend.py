"""
The backend for projects that have PostgreSQL and want nothing else: LISTEN and NOTIFY.

Each process that serves websockets listens on one channel, through a connection of its own that is
none of Django's; notifications for other groups are ignored. ``publish()``
has a second connection; ``publish_sync()`` uses Django's, so it is part of the caller's
transaction. Read ``payload.py`` for what travels, ``connecting.py`` for how connections are made.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from contextvars import Context
from typing import TYPE_CHECKING, Any, Final

from django.db import DEFAULT_DB_ALIAS, Error, connections

from ...counters import counters
from ...escaping import escape
from ...log_thread import log
from ...masking import mask
from ..base import Backend
from ..batching import not_accepted
from ..options import SECONDS, TIMEOUT, check_options
from ..reconnecting import Outage
from .aliases import Aliases, is_in_transaction
from .connecting import Way, check_alias, check_libpq
from .link import Link, settings
from .payload import Decoder, channel, encode, token
from .pooler import check_session
from .publisher import Publisher

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ..base import Deliver

logger = logging.getLogger("wsconsumer.groups")

OPTIONS: Final[Mapping[str, type | str]] = {"PUBLISH_USING": str, "TIMEOUT": SECONDS}
"""Each option, and what it may be."""

CHECK_EVERY: Final = 15.0
"""Seconds after which the listening connection is asked whether it lives, busy or not."""

STUCK_AFTER: Final = 30.0
"""Seconds after which PostgreSQL cuts off a process that does not read what it listens to."""

PUBLISH: Final = "SELECT pg_notify(%s, payload) FROM unnest(%s::text[]) AS payload"


class PostgresBackend(Backend):
    """
    Carries bodies through PostgreSQL. ``LOCATION`` is a database alias, "default" if empty.

    It must lead to PostgreSQL itself, or to a pool of sessions: through a pooler such as PgBouncer
    in transaction mode nothing comes in.

    ``OPTIONS``:

    - ``TIMEOUT``: seconds for connecting, and for a reply (5).
    - ``PUBLISH_USING``: the alias that ``broadcast()`` goes by in threads. Unless given it is that
      of the caller's transaction, else the default one, if it leads to the same database.
    """

    def __init__(self, location: str, prefix: str, options: Mapping[str, Any]) -> None:
        super().__init__(location, prefix, options)
        self._alias = location or DEFAULT_DB_ALIAS
        check_libpq()
        check_alias(self._alias)
        check_options("PostgreSQL", options, OPTIONS)
        self._timeout = float(options.get("TIMEOUT", TIMEOUT))
        using = options.get("PUBLISH_USING", "")
        if using:
            check_alias(using, "OPTIONS['PUBLISH_USING']")
        self._aliases = Aliases(self._alias, using, self._timeout)
        self._channel = channel(prefix)
        self._engine = f"PostgreSQL (DATABASES[{self._alias!r}])"
        self._outage = Outage(self._engine)
        self._groups: dict[bytes, str] = {}

    def describe(self) -> str:
        """Call it what the log calls it, and name the database."""
        named = connections.settings[self._alias]
        known = {
            name.lower(): mask(str(named[name]))
            for name in ("HOST", "NAME", "USER")
            if named.get(name)
        }
        return " ".join([self._engine, *(f"{name}={value}" for name, value in known.items())])

    async def start(self, deliver: Deliver) -> None:
        self._deliver = deliver
        self._attempted = asyncio.Event()
        self._way = Way(self._alias, self._timeout)
        self._publisher = Publisher(self._way, self._channel, self._timeout)
        # Not in the context of the connection that happens to be the first.
        self._listening = asyncio.create_task(self._listen(), context=Context())
        await self._attempted.wait()

    async def subscribe(self, groups: Sequence[str]) -> None:
        # LISTEN is for all groups: it is active, or the supervisor is at it.
        for group in groups:
            self._groups[token(group).encode()] = group

    async def unsubscribe(self, groups: Sequence[str]) -> None:
        for group in groups:
            self._groups.pop(token(group).encode(), None)

    async def publish(self, group: str, body: bytes) -> None:
        payloads = self._encode(group, body)
        self._refuse_if_away(group)
        try:
            await self._publisher.publish(payloads)
        except Exception as error:
            raise not_accepted(self._engine, group, error) from error

    def _refuse_if_away(self, group: str) -> None:
        """While it is known to be away nobody waits; the supervisor finds out when it is back."""
        error = self._outage.error
        if error is not None:
            raise not_accepted(self._engine, group, error) from error

    def publish_sync(self, group: str, body: bytes) -> None:
        """
        Publish through Django's connection, as a query of the calling thread.

        In a transaction it is sent at commit, and never if that is rolled back; there an error of
        the database is Django's own, as of any query, because the transaction is broken by it.
        ``TIMEOUT`` is not for this: it waits for PostgreSQL as Django's connection does.
        """
        payloads = self._encode(group, body)
        connection = connections[self._choose_alias(group)]
        if not is_in_transaction(connection):
            self._refuse_if_away(group)
        try:
            with connection.cursor() as cursor:
                cursor.execute(PUBLISH, [self._channel, payloads])
        except Error as error:
            if is_in_transaction(connection):
                raise
            # Nobody else may do so in a thread that serves no requests.
            connection.close_if_unusable_or_obsolete()
            raise not_accepted(self._engine, group, error) from error

    def _choose_alias(self, group: str) -> str:
        try:
            return self._aliases.choose()
        except ConnectionError as error:
            raise not_accepted(self._engine, group, error) from error

    async def aclose(self) -> None:
        self._listening.cancel()
        await asyncio.wait([self._listening])
        await self._publisher.aclose()
        self._groups.clear()

    def _encode(self, group: str, body: bytes) -> list[str]:
        try:
            return encode(group, body)
        except ValueError as error:
            raise not_accepted(self._engine, group, error) from error

    async def _listen(self) -> None:
        """Supervise the listening connection: open it, and open it again when it is lost."""
        try:
            while True:
                try:
                    await self._listen_once()
                except Exception as error:  # noqa: BLE001  # whatever it is, trying again is right
                    delay = self._outage.failed(error)
                    self._attempted.set()
                    await asyncio.sleep(delay)
        finally:
            # An event loop may end without aclose(); all that it does then is to cancel us.
            self._publisher.release()

    async def _listen_once(self) -> None:
        """Listen until the connection is lost; that is an exception."""
        link = await Link.open(self._way, self._prepare)
        try:
            self._outage.over()
            self._attempted.set()
            await self._receive(link)
        finally:
            link.close()

    async def _prepare(self, link: Link, told: dict[str, str]) -> None:
        if link.is_pooled:
            await check_session(link, told, self._timeout / 2)
        stuck = {"tcp_user_timeout": str(round(STUCK_AFTER * 1000))}
        await link.configure(settings(self._timeout) | stuck)
        await link.execute(f'LISTEN "{self._channel}"')

    async def _receive(self, link: Link) -> None:
        loop = asyncio.get_running_loop()
        decoder = Decoder(self._groups)
        check_at = loop.time() + CHECK_EVERY
        while True:
            payloads: list[bytes] = []
            with suppress(TimeoutError):
                async with asyncio.timeout_at(check_at):
                    payloads = await link.notifications()
            for payload in payloads:
                await self._take(decoder, payload)
            if loop.time() >= check_at:
                await link.beat(self._timeout)
                check_at = loop.time() + CHECK_EVERY

    async def _take(self, decoder: Decoder, payload: bytes) -> None:
        try:
            found = decoder.feed(payload)
        except ValueError as error:
            counters["body_refused"] += 1
            log(
                logger,
                logging.WARNING,
                "Refused what came through the channel %r of %s: %r: %s.",
                self._channel,
                self._engine,
                payload[:32],
                escape(error),
            )
            return
        if found is None:
            return
        try:
            await self._deliver(*found)
        except Exception as error:  # noqa: BLE001  # it is logged
            text = "A broadcast to '%s' was not delivered."
            log(logger, logging.ERROR, text, escape(found[0]), error=error)
