"""
The backend for projects that have PostgreSQL and want nothing else: LISTEN and NOTIFY.

Each process that serves websockets listens on one channel, through a connection of its own that is
none of Django's; notifications for other groups are ignored. ``publish()``
has a second connection; ``publish_sync()`` uses Django's, so it is part of the caller's
transaction. Read ``payload.py`` for what travels, ``connecting.py`` for how connections are made,
``kept.py`` for what groups keep.
"""

from __future__ import annotations

import asyncio
import logging
import random
from contextlib import suppress
from contextvars import Context
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from django.db import DEFAULT_DB_ALIAS, connections

from ...escaping import escape
from ...exceptions import BackendError
from ...log_thread import log
from ...masking import mask
from ..batching import not_accepted, not_counted
from ..envelope import log_refused
from ..keeping import KeepingBackend
from ..leasing import LeasingBackend
from ..options import SECONDS, TIMEOUT, check_options
from ..reconnecting import Outage
from . import leases
from .connecting import Way, check_alias, check_libpq
from .kept import NOTHING, explain, histories, not_read, problem_of_app
from .link import Link, array, settings
from .payload import Decoder, channel, decode_position, encode, encode_kept, token
from .pooler import check_session
from .publisher import Kept as KeptBody
from .publisher import Publisher
from .threads import Threads

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from ..base import Deliver, Position
    from ..keeping import Keep, Kept
    from ..leasing import Beat, Entry
    from .wire import Statement

logger = logging.getLogger("wsconsumer.groups")

OPTIONS: Final[Mapping[str, type | str]] = {"PUBLISH_USING": str, "TIMEOUT": SECONDS}
"""Each option, and what it may be."""

CHECK_EVERY: Final = 15.0
"""Seconds after which the listening connection is asked whether it lives, busy or not."""

STUCK_AFTER: Final = 30.0
"""Seconds after which PostgreSQL cuts off a process that does not read what it listens to."""

CLEAN_EVERY: Final = 60.0
"""Seconds after which what nobody will read any more is removed, at most."""


class PostgresBackend(KeepingBackend, LeasingBackend):
    """
    Carries and keeps bodies in PostgreSQL. ``LOCATION`` is a database alias, "default" if empty.

    It must lead to PostgreSQL itself, or to a pool of sessions: through a pooler such as PgBouncer
    in transaction mode nothing comes in. To keep, it needs the tables of the app
    ``wsconsumer.groups.postgres``.

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
        self._channel = channel(prefix)
        self._threads = Threads(self._alias, using, self._channel, self._timeout)
        self._engine = f"PostgreSQL (DATABASES[{self._alias!r}])"
        self._outage = Outage(self._engine)
        self._groups: dict[bytes, str] = {}
        self._cleaning: asyncio.Task[None] | None = None

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
            raise self._not_accepted(group, error) from error

    def keeping_problems(self) -> Sequence[str]:
        problem = problem_of_app()
        return () if problem is None else (problem,)

    def leasing_problems(self) -> Sequence[str]:
        return self.keeping_problems()

    async def begin(self, process: str, seconds: float) -> None:
        await self._lease(leases.BEGIN, process, str(seconds))

    async def beat(self, process: str, seconds: float) -> Beat:
        arguments = leases.beat_arguments(process, seconds)
        return leases.beat_of(await self._lease(leases.BEAT, *arguments))

    async def admit(
        self, process: str, counts: Mapping[str, int], entries: Sequence[Entry]
    ) -> Sequence[bool] | None:
        arguments = leases.admit_arguments(process, counts, entries)
        return leases.answers_of(await self._lease(leases.ADMIT, *arguments))

    async def counted(self, keys: Sequence[str]) -> Mapping[str, Mapping[str, int]]:
        names = {token(key): key for key in keys}
        return leases.counts_of(await self._lease(leases.COUNTED, array(names)), names)

    async def leave(self, process: str) -> None:
        await self._lease(leases.LEAVE, process)

    async def _lease(self, statement: Statement, *arguments: str) -> Any:
        error = self._outage.error
        if error is not None:
            raise not_counted(self._engine, error) from error
        try:
            return await self._publisher.ask(statement, *arguments)
        except Exception as failed:
            raise not_counted(self._engine, explain(failed, self._alias)) from failed

    async def append(self, group: str, body: bytes, keep: Keep, key: str | None) -> Position:
        kept = self._encode_kept(group, body, keep, key)
        self._refuse_if_away(group)
        self._clean_now_and_then()
        try:
            position = await self._publisher.append(kept)
        except Exception as error:
            raise self._not_accepted(group, error) from error
        return decode_position(position.decode())

    async def read(self, after: Mapping[str, int | None]) -> Mapping[str, Kept]:
        self._clean_now_and_then()
        names = {token(group): group for group in after}
        offsets = [NOTHING if offset is None else offset for offset in after.values()]
        try:
            rows = await self._publisher.read(dict(zip(names, offsets, strict=True)))
        except Exception as error:
            raise self._not_read(after, error) from error
        return histories(rows, names)

    def publish_sync(self, group: str, body: bytes) -> None:
        """
        Publish through Django's connection, as a query of the calling thread.

        In a transaction it is sent at commit, and never if that is rolled back; there an error of
        the database is Django's own, as of any query, because the transaction is broken by it.
        ``TIMEOUT`` is not for this: it waits for PostgreSQL as Django's connection does.
        """
        payloads = self._encode(group, body)
        self._threads.publish(payloads, partial(self._not_accepted, group), self._outage.error)

    def append_sync(self, group: str, body: bytes, keep: Keep, key: str | None) -> Position | None:
        """
        Append through Django's connection, as ``publish_sync()`` publishes.

        In a transaction it is numbered, kept and sent at commit, and not at all if that is rolled
        back.
        """
        kept = self._encode_kept(group, body, keep, key)
        return self._threads.append(kept, partial(self._not_accepted, group), self._outage.error)

    def read_sync(self, groups: Sequence[str]) -> Mapping[str, Position]:
        return self._threads.read(groups, partial(self._not_read, groups), self._outage.error)

    def is_part_of_transaction(self, using: str) -> bool:
        try:
            return self._threads.is_part_of(using)
        except ConnectionError as error:
            raise BackendError(
                f"{self._engine} keeps nothing that is said here: {error}."
            ) from error

    def _refuse_if_away(self, group: str) -> None:
        """While it is known to be away nobody waits; the supervisor finds out when it is back."""
        error = self._outage.error
        if error is not None:
            raise self._not_accepted(group, error) from error

    def _not_accepted(self, group: str, error: BaseException) -> BackendError:
        return not_accepted(self._engine, group, explain(error, self._alias))

    def _not_read(self, groups: Iterable[str], error: BaseException) -> BackendError:
        return not_read(self._engine, groups, explain(error, self._alias))

    async def aclose(self) -> None:
        tasks = [self._listening] if self._cleaning is None else [self._listening, self._cleaning]
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        await self._publisher.aclose()
        self._groups.clear()

    def _encode(self, group: str, body: bytes) -> list[str]:
        try:
            return encode(group, body)
        except ValueError as error:
            raise self._not_accepted(group, error) from error

    def _encode_kept(self, group: str, body: bytes, keep: Keep, key: str | None) -> KeptBody:
        try:
            text = encode_kept(group, body)
        except ValueError as error:
            raise self._not_accepted(group, error) from error
        return KeptBody(token(group), text, keep.size, keep.seconds, token(key or ""))

    def _clean_now_and_then(self) -> None:
        """From the first use of a history on, remove what nobody will read."""
        if self._cleaning is None:
            self._cleaning = asyncio.create_task(self._clean(), context=Context())

    async def _clean(self) -> None:
        while True:
            # Not all processes at once: only one of them will do it.
            await asyncio.sleep(CLEAN_EVERY * random.uniform(0.5, 1))  # noqa: S311  # no secret
            if not self._outage.is_on:
                try:
                    await self._publisher.clean()
                except Exception as error:  # noqa: BLE001  # it is logged, and tried again
                    text = "What groups have kept long enough could not be removed."
                    log(logger, logging.WARNING, text, error=explain(error, self._alias))

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
            self.resumed(tuple(self._groups.values()))
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
            log_refused(
                "what came through the channel %r of %s: %r: %s.",
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
