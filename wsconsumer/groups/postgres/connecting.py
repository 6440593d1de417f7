"""
The way to a database: what Django and libpq know of it, its hosts, and a connection to one of them.

None of this may stop the event loop. An engine may ask a cloud for the password, names are
resolved, libpq reads service, password and certificate files: all of it happens in threads. Each
host has its share of the time, and one that failed is the last to be tried next time.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

from django.core.exceptions import ImproperlyConfigured
from django.db import connections

from ...escaping import quote
from ...loops import in_thread
from ...masking import mask
from ..batching import answering

try:
    import psycopg
    from psycopg import pq
    from psycopg.conninfo import conninfo_attempts, make_conninfo
except ImportError as error:
    raise ImproperlyConfigured(
        "The postgres backend of groups needs psycopg 3, which can't be imported: "
        f"{error}. Write: pip install 'wsconsumer[postgres]'"
    ) from error

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from concurrent.futures import Future

    from psycopg.pq.abc import PGconn

T = TypeVar("T")

DEFAULTS: Final = {
    "fallback_application_name": "wsconsumer",
    "keepalives_idle": "30",
    "keepalives_interval": "10",
    "keepalives_count": "3",
}
"""What libpq is told where the database's ``OPTIONS`` say nothing else."""

ASKED_FOR: Final = 60.0
"""Seconds for which a question to the engine stands: an answer may be late, but not much older."""

_PLACE: Final = ("host", "hostaddr", "port")
_NO_SSLMODE: Final = "unconnected"


def check_alias(alias: object, name: str = "LOCATION") -> None:
    """Raise ``ImproperlyConfigured`` if this is no alias of a PostgreSQL database."""
    if not isinstance(alias, str) or alias not in connections.settings:
        got = quote(mask(alias))
        raise ImproperlyConfigured(
            f"WSCONSUMER['GROUPS'] names the postgres backend, whose {name} is an alias in "
            f"DATABASES, got {got}. There are {', '.join(map(repr, connections))}."
        )
    if connections.create_connection(alias).vendor != "postgresql":
        raise ImproperlyConfigured(
            "WSCONSUMER['GROUPS'] names the postgres backend, which needs a PostgreSQL database, "
            f"but DATABASES[{alias!r}] is {connections.settings[alias]['ENGINE']!r}. Name the "
            f"alias of one in {name}, or another BACKEND."
        )


def check_libpq() -> None:
    """Raise ``ImproperlyConfigured`` for a libpq that has no pipeline mode."""
    if not psycopg.Pipeline.is_supported():
        raise ImproperlyConfigured(
            "The postgres backend of groups needs libpq 14 or later, got version "
            f"{pq.version()}. Write: pip install 'psycopg[binary]'"
        )


def parameters(alias: str) -> dict[str, str]:
    """
    Return what libpq needs to know to connect, as Django has it in its settings now.

    What ``OPTIONS`` say to Django or psycopg, such as ``pool`` or ``isolation_level``, is left out.
    """
    known = {option.keyword.decode() for option in pq.Conninfo.get_defaults()}
    given = connections.create_connection(alias).get_connection_params()
    return DEFAULTS | {
        name: str(value) for name, value in given.items() if name in known and value is not None
    }


def attempts(alias: str) -> list[dict[str, str]]:
    """Return what to tell libpq in one attempt after the other: one for each address of a host."""
    try:
        given = parameters(alias)
    finally:
        # An engine may have looked into a database; nobody else closes what this thread opened.
        connections.close_all()
    found: list[Any] = conninfo_attempts({**given, **_place(given)})
    return found


def _place(given: dict[str, str]) -> dict[str, str]:
    """
    Return hosts, addresses and ports, whether they were given, or are in a service file or the
    environment. Only libpq knows those files, and it tells of a connection: of one that it refuses
    to make before it looks for the host.
    """
    refused = pq.PGconn.connect_start(make_conninfo(**given | {"sslmode": _NO_SSLMODE}).encode())
    known = {option.keyword.decode(): option.val for option in refused.info}
    refused.finish()
    return {name: value.decode() for name in _PLACE if (value := known.get(name))}


class Way:
    """The way to the database of an alias; ``timeout`` is in seconds, for all hosts together."""

    def __init__(self, alias: str, timeout: float) -> None:
        self._alias = alias
        self._timeout = timeout
        self._asked: Future[list[dict[str, str]]] | None = None
        self._asked_at = 0.0
        self._failed_at: dict[str, float] = {}

    async def open(self, attempt: Callable[[dict[str, str]], Awaitable[T]]) -> T:
        """
        Return what the first attempt that succeeds returns.

        It is called with what to tell libpq, and raises if this host won't do. To find out what to
        try has a time of its own: an engine that is slow to answer must not use up the hosts'.
        """
        loop = asyncio.get_running_loop()
        async with answering(self._timeout):
            found = await self._ask()
        until = loop.time() + self._timeout
        found.sort(key=lambda told: self._failed_at.get(_address(told), 0.0))
        failures: list[tuple[str, Exception]] = []
        for left, told in zip(range(len(found), 0, -1), found, strict=True):
            address = _address(told)
            try:
                async with answering((until - loop.time()) / left):
                    return await attempt(told)
            except Exception as error:  # noqa: BLE001  # whatever it is, another host may do
                failures.append((address, error))
                self._failed_at[address] = loop.time()
        raise _failure(failures)

    async def _ask(self) -> list[dict[str, str]]:
        """
        Return the attempts, in the order of the settings.

        The engine is asked once at a time. An answer that is too late for one attempt is that of
        the next, which would wait for the same in vain.
        """
        now = asyncio.get_running_loop().time()
        if self._asked is None or now - self._asked_at > ASKED_FOR:
            self._asked = in_thread(partial(attempts, self._alias))
            self._asked_at = now
        asked = self._asked
        try:
            answer = await asyncio.wrap_future(asked)
            return answer.copy()
        finally:
            if asked.done() and self._asked is asked:
                self._asked = None


def _address(told: dict[str, str]) -> str:
    return " ".join(told[name] for name in _PLACE if told.get(name)) or "the local socket"


def _failure(failures: list[tuple[str, Exception]]) -> Exception:
    """Return one error for all attempts; what a single one failed with is that error."""
    (_, last) = failures[-1]
    if len(failures) == 1:
        return last
    told = "; ".join(
        f"{address}: {type(error).__name__}: {str(error).strip()}" for address, error in failures
    )
    failure = ConnectionError(told)
    failure.__cause__ = last
    return failure


async def connect(told: dict[str, str]) -> PGconn:
    """
    Return a connection of libpq's.

    Its own code blocks now and then (files, Kerberos), so it runs in threads. psycopg's C build
    keeps the interpreter's lock meanwhile, so what takes long, to resolve names, was done before.
    """
    step = in_thread(partial(pq.PGconn.connect_start, make_conninfo(**told).encode()))
    pgconn: PGconn = await asyncio.wrap_future(step)
    try:
        while (status := await asyncio.wrap_future(polled := in_thread(pgconn.connect_poll))) != (
            pq.PollingStatus.OK
        ):
            if status == pq.PollingStatus.FAILED:
                raise psycopg.OperationalError(pgconn.get_error_message())
            writes = status == pq.PollingStatus.WRITING
            await ready(pgconn.socket, to_read=not writes, to_write=writes)
    except BaseException:
        # Not while a thread is still at work with it.
        polled.add_done_callback(lambda _: pgconn.finish())
        raise
    pgconn.nonblocking = 1
    return pgconn


async def ready(socket: int, *, to_read: bool = True, to_write: bool = False) -> None:
    """Wait until there is something to read, or room to write."""
    loop = asyncio.get_running_loop()
    event = asyncio.Event()
    if to_read:
        loop.add_reader(socket, event.set)
    if to_write:
        loop.add_writer(socket, event.set)
    try:
        await event.wait()
    finally:
        loop.remove_reader(socket)
        loop.remove_writer(socket)
