"""
The backend for Redis, Valkey and whatever speaks their protocol.

A broadcast is one command, and nothing of it stays in Redis. To a group that keeps it is one
script: see ``scripts.py``. Read ``node.py`` for how a server is listened to, ``publisher.py`` and
``threads.py`` for publishing, ``cluster.py`` for several servers, ``location.py`` for the settings.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

from redis.exceptions import RedisError

from ...exceptions import BackendError
from ..batching import not_accepted, not_counted
from ..envelope import log_malformed
from ..keeping import KeepingBackend
from ..leasing import LeasingBackend
from . import leases
from .cluster import Cluster
from .letters import PLAIN, SHARDED
from .location import Location, database
from .node import Node
from .role import Watch
from .scripts import (
    APPEND,
    READ,
    RIGHTS,
    append_command,
    is_forbidden,
    kept_of,
    position_of,
    read_command,
    split_position,
    without_position,
)
from .sentinels import Opener
from .slots import KEYS_EVERY, is_moving
from .threads import threads_publisher

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from ..base import Deliver, Position
    from ..keeping import Keep, Kept
    from ..leasing import Beat, Entry
    from .role import Command
    from .threads import ClusterThreads, Threads

_MORE: Final = "more rights than others: to the keys of the prefix, such as ~{wsconsumer:*, and"


ARGUMENT: Final = 50
"""Bytes of an argument of a script, about."""

_ENCODED: Final = {ord(char): f"%{ord(char):X}" for char in "%{}"}
"""In a cluster, braces would choose the slot by a part of a name."""


def new_epoch() -> str:
    """Return a name that no other history has."""
    return secrets.token_hex(4)


class RedisBackend(KeepingBackend, LeasingBackend):
    """
    Carries and keeps bodies in Redis 6 or later, or Valkey.

    ``LOCATION`` is a URL: ``redis://user:password@host:6379``, ``rediss://`` for TLS, or
    ``unix:///path/to/socket``. Parameters of redis-py's connections go behind it, such as
    ``rediss://host?ssl_ca_certs=/path``; ``max_connections`` (100) bounds those of threads. Groups
    are channels named ``PREFIX:group``, so the user needs the right to ``&PREFIX:*``, to the
    commands of publish/subscribe and to PING; for groups that keep, see ``scripts.RIGHTS``. Without
    a ``PREFIX`` it is ``wsconsumer``, or ``wsconsumer/1`` where the URL has the database 1.

    ``OPTIONS``:

    - ``TIMEOUT``: seconds for connecting, and for a reply (5).
    - ``CLUSTER``: true for a Redis Cluster of version 7 or later, whose sharded publish/subscribe
      is used. ``LOCATION`` then is some of its servers: a list, or separated by commas.
    - ``SENTINEL``: the name of the master that Sentinels watch, such as ``"mymaster"``.
      ``LOCATION`` then is the Sentinels, in the same way; user and password in the first URL are
      those of the master.
    - ``SENTINEL_USERNAME``, ``SENTINEL_PASSWORD``: those of the Sentinels, if they ask for them.

    Of several URLs, the first gives user, password, TLS and parameters; the others may be just
    ``host:port``.
    """

    def __init__(
        self, location: str | Sequence[str], prefix: str, options: Mapping[str, Any]
    ) -> None:
        self._given = location
        self._location = Location.read(location, options)
        super().__init__(self._location.url, prefix, options)
        self._prefix = f"{prefix}:".translate(_ENCODED).encode()
        self._processes = self._channel(leases.GROUP)
        self._commands = SHARDED if self._location.is_cluster else PLAIN
        self._watch = Watch(self._location.name)
        self._engine: Node | Cluster | None = None

    @classmethod
    def default_prefix(cls, location: str | Sequence[str]) -> str:
        """Return one with the database's number, which keeps sites apart elsewhere in Redis."""
        prefix = super().default_prefix(location)
        number = database(location)
        return f"{prefix}/{number}" if number else prefix

    def describe(self) -> str:
        """Call it what the log calls it."""
        return self._location.name

    def warnings(self) -> Sequence[str]:
        """Tell that publish/subscribe knows no databases."""
        number = database(self._given)
        if not number:
            return ()
        is_default = self.prefix == self.default_prefix(self._given)
        meaning = (
            f"it is a part of the channels' names ({self.prefix}:...), so processes of this site "
            "that name another number, or none, are not reached"
            if is_default
            else f"the number separates nothing: all sites with the PREFIX {self.prefix!r} hear "
            "each other"
        )
        return (
            f"WSCONSUMER['GROUPS']['LOCATION'] has the database {number}, but Redis' "
            f"publish/subscribe knows no databases: {meaning}. Leave the number out, and give "
            "each site a PREFIX of its own.",
        )

    async def start(self, deliver: Deliver) -> None:
        self._deliver = deliver
        self._engine = self._make_engine()
        await self._engine.tried()

    def _make_engine(self) -> Node | Cluster:
        location = self._location
        if location.is_cluster:
            return Cluster(location, self._take, self._on_interrupted, self._on_resumed)
        return Node(
            location.name,
            Opener(location),
            location.timeout,
            PLAIN,
            self._take,
            self._watch.check,
            self._on_interrupted,
            self._on_resumed,
        )

    async def subscribe(self, groups: Sequence[str]) -> None:
        await self._started().subscribe([self._channel(group) for group in groups])

    async def unsubscribe(self, groups: Sequence[str]) -> None:
        await self._started().unsubscribe([self._channel(group) for group in groups])

    async def publish(self, group: str, body: bytes) -> None:
        await self._started().publish(self._channel(group), without_position(body))

    def publish_sync(self, group: str, body: bytes) -> None:
        channel = self._channel(group)
        with self._asking(channel) as threads:
            threads.publish(channel, without_position(body))

    @contextmanager
    def _asking(self, channel: bytes) -> Iterator[Threads | ClusterThreads]:
        """Yield what threads ask; raise ``BackendError`` for what it raises."""
        if self._engine is not None:
            self._engine.refuse_if_away(channel)
        try:
            yield threads_publisher(self._location, self._commands.publish)
        except (RedisError, OSError) as error:
            raise not_accepted(self._location.name, channel.decode(), error) from error

    # Keeping

    async def append(self, group: str, body: bytes, keep: Keep, key: str | None) -> Position:
        channel = self._channel(group)
        command = self._append(channel, body, keep, key)
        return position_of(await self._run(channel, command, len(APPEND) + len(body)))

    def append_sync(self, group: str, body: bytes, keep: Keep, key: str | None) -> Position:
        channel = self._channel(group)
        return position_of(self._run_sync(channel, self._append(channel, body, keep, key)))

    def _append(self, channel: bytes, body: bytes, keep: Keep, key: str | None) -> Command:
        return append_command(self._commands.publish, channel, body, keep, key, new_epoch())

    async def read(self, after: Mapping[str, int | None]) -> Mapping[str, Kept | BackendError]:
        found = await asyncio.gather(*map(self._read, after, after.values()))
        return dict(zip(after, found, strict=True))

    async def _read(self, group: str, after: int | None) -> Kept | BackendError:
        channel = self._channel(group)
        command = read_command(channel, after, new_epoch())
        try:
            return self._kept(await self._run(channel, command, len(READ)))
        except BackendError as error:
            return error

    def read_sync(self, groups: Sequence[str]) -> Mapping[str, Position]:
        return {group: self._read_sync(group).position for group in groups}

    def _read_sync(self, group: str) -> Kept:
        channel = self._channel(group)
        return self._kept(self._run_sync(channel, read_command(channel, None, new_epoch())))

    def _kept(self, reply: Any) -> Kept:
        kept, is_server_known = kept_of(reply)
        if not is_server_known:
            self._watch.warn_of_failovers()
        return kept

    async def _run(self, channel: bytes, command: Command, size: int) -> Any:
        """Return the reply to a script; while the keys move within a cluster, wait for them."""
        deadline = time.monotonic() + self._location.timeout
        while True:
            try:
                return await self._started().run(channel, command, size)
            except BackendError as error:
                _judge(error, deadline)
            await asyncio.sleep(KEYS_EVERY)

    def _run_sync(self, channel: bytes, command: Command) -> Any:
        """Do the same in a thread without an event loop."""
        deadline = time.monotonic() + self._location.timeout
        while True:
            try:
                with self._asking(channel) as threads:
                    return threads.run(channel, command)
            except BackendError as error:
                _judge(error, deadline)
            time.sleep(KEYS_EVERY)

    # Leases

    async def begin(self, process: str, seconds: float) -> None:
        await self._lease(leases.beat_command(self._processes, process, seconds, begins=True))

    async def beat(self, process: str, seconds: float) -> Beat:
        command = leases.beat_command(self._processes, process, seconds, begins=False)
        return leases.beat_of(await self._lease(command))

    async def admit(
        self, process: str, counts: Mapping[str, int], entries: Sequence[Entry]
    ) -> Sequence[bool] | None:
        command = leases.admit_command(self._processes, process, counts, entries)
        answers = await self._lease(command)
        return None if answers is None else list(map(bool, answers))

    async def counted(self, keys: Sequence[str]) -> Mapping[str, Mapping[str, int]]:
        found = await self._lease(leases.counted_command(self._processes, keys))
        return dict(zip(keys, map(leases.counts_of, found), strict=True))

    async def leave(self, process: str) -> None:
        await self._lease(leases.leave_command(self._processes, process))

    async def _lease(self, command: Command) -> Any:
        try:
            return await self._run(self._processes, command, len(command) * ARGUMENT)
        except BackendError as error:
            cause = error.__cause__
            more = f" It needs {_MORE} {leases.RIGHTS}." if is_forbidden(cause) else ""
            raise not_counted(self._location.name, cause, more) from cause

    async def aclose(self) -> None:
        if self._engine is not None:
            await self._engine.aclose()

    def _started(self) -> Node | Cluster:
        assert self._engine is not None, "start() comes first"  # noqa: S101
        return self._engine

    def _channel(self, group: str) -> bytes:
        return self._prefix + group.translate(_ENCODED).encode()

    def _group(self, channel: bytes) -> str:
        group = channel[len(self._prefix) :].decode()
        return unquote(group) if "%" in group else group

    async def _take(self, channel: bytes, came: bytes) -> None:
        try:
            position, body = split_position(came)
        except ValueError as error:
            log_malformed(self._group(channel), error)
            return
        await self._deliver(self._group(channel), body, position)

    def _on_interrupted(self, channels: Iterable[bytes]) -> None:
        self.interrupted([self._group(channel) for channel in channels])

    def _on_resumed(self, channels: Iterable[bytes]) -> None:
        self.resumed([self._group(channel) for channel in channels])


def _judge(error: BackendError, deadline: float) -> None:
    """Raise an error of a script, unless there is time yet for what it says to pass."""
    if is_forbidden(error.__cause__):
        raise BackendError(f"{error} Groups that keep need {_MORE} {RIGHTS}.") from error.__cause__
    if not is_moving(error.__cause__) or time.monotonic() > deadline:
        raise error
