"""
Publishing from threads that have no event loop: connections that they take in turn.

There is a bounded number of them. A thread waits for one, within ``TIMEOUT``; connections that have
idled are not trusted, since a balancer may have forgotten them, and no reply would ever come.
"""

from __future__ import annotations

import os
import threading
import time
from contextlib import contextmanager, suppress
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from redis.crc import key_slot
from redis.exceptions import MovedError, RedisError, ResponseError

from .role import QUESTIONS, ReplicaError, Watch
from .sentinels import SyncOpener
from .slots import MAP, MOVES, SLOTS, read_ranges, share, size, spread
from .stamps import Stamps

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .location import Address, Location
    from .role import Command
    from .slots import Ranges

IDLE: Final = 10.0
"""Seconds after which a connection that was not used is closed instead of used again."""

CHECK_EVERY: Final = 5.0
"""Seconds after which a connection is asked again whether it leads to a replica, and a cluster's
map is requested again."""


class Kept:
    """A connection, and when it was last used and last found to lead to no replica."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection
        self._used_at = time.monotonic()
        self._checked_at = -CHECK_EVERY

    def used(self) -> None:
        """Note that it was of use now."""
        self._used_at = time.monotonic()

    def checked(self) -> None:
        """Note that it leads to no replica now."""
        self._checked_at = time.monotonic()

    def is_to_be_checked(self) -> bool:
        """Tell whether to ask what it leads to."""
        return time.monotonic() - self._checked_at >= CHECK_EVERY

    def is_good(self) -> bool:
        """Tell whether it can be trusted."""
        if time.monotonic() - self._used_at > IDLE:
            return False
        try:
            return not self.connection.can_read(0)  # a reply that nobody asked for
        except (RedisError, OSError):
            return False


class Threads:
    """Publishes at one server, or the one that Sentinels name."""

    def __init__(self, location: Location, word: str, address: Address | None = None) -> None:
        self._opener = SyncOpener(location, address)
        self._word = word
        self._timeout = location.timeout
        self._free: list[Kept] = []
        self._places = threading.Semaphore(location.max_connections)
        self._watch = Watch(location.name)
        # In a cluster the map tells the roles.
        self._questions = () if location.is_cluster else QUESTIONS

    def publish(self, channel: bytes, body: bytes) -> None:
        """Return when the server has taken it; raise what prevented it."""
        self.run(channel, (self._word, channel, body))

    def run(self, channel: bytes, command: Command) -> Any:
        """Return the reply to a command; raise what prevented it."""
        with self._taken() as kept:
            questions = self._questions[: kept.is_to_be_checked()]
            connection = kept.connection
            commands = connection.pack_commands([*questions, command])
            connection.send_packed_command(commands, check_health=False)
            for question in questions:
                self._read_role(kept, question)
            return connection.read_response(disable_decoding=True)

    @contextmanager
    def _taken(self) -> Iterator[Kept]:
        if not self._places.acquire(timeout=self._timeout):
            raise TimeoutError(f"no connection was free within {self._timeout:.1f} seconds")
        try:
            kept = self._free_one() or Kept(self._opener.connect())
            try:
                yield kept
            except ResponseError:
                self._give_back(kept)
                raise
            except BaseException:
                kept.connection.disconnect()
                raise
            self._give_back(kept)
        finally:
            self._places.release()

    def _free_one(self) -> Kept | None:
        with suppress(IndexError):  # other threads take from it as well
            while True:
                kept = self._free.pop()
                if kept.is_good():
                    return kept
                kept.connection.disconnect()
        return None

    def _give_back(self, kept: Kept) -> None:
        kept.used()
        self._free.append(kept)

    def _read_role(self, kept: Kept, question: Command) -> None:
        is_told = False
        try:
            with suppress(ResponseError):  # forbidden, or unknown there
                is_told = self._watch.judge(kept.connection.read_response(disable_decoding=True))
        except ReplicaError:
            self._opener.failed()
            raise
        if is_told:
            kept.checked()
        else:
            self._questions = tuple(other for other in self._questions if other != question)
            if not self._questions:
                self._watch.warn()


class ClusterThreads:
    """Publishes in a cluster, each channel at its server."""

    def __init__(self, location: Location, word: str) -> None:
        self._location = location
        self._word = word
        self._slots: dict[int, Address] = {}
        self._servers: dict[Address, Threads] = {}
        self._stamps = Stamps()
        self._asked_at = -CHECK_EVERY
        self._asking = threading.Lock()

    def publish(self, channel: bytes, body: bytes) -> None:
        """Return when the server has taken it; raise what prevented it."""
        self.run(channel, (self._word, channel, self._stamps.next() + body))

    def run(self, channel: bytes, command: Command) -> Any:
        """Return the reply to a command at a channel's server; raise what prevented it."""
        slot = key_slot(channel)
        for _ in range(MOVES):
            address = self._find(slot)
            if address is None:
                break
            try:
                return self._server(address).run(channel, command)
            except MovedError as error:
                self._slots[slot] = (error.host or address[0], error.port)
            except (RedisError, OSError):
                self._slots = {}  # the next one asks for the map
                raise
        raise RedisError(f"no server was found to have slot {slot}")

    def _server(self, address: Address) -> Threads:
        # Of two that meet here, one is used.
        return self._servers.setdefault(address, Threads(self._location, self._word, address))

    def _find(self, slot: int) -> Address | None:
        """Return who has a slot; one thread asks for the map, for all."""
        home = self._slots.get(slot)
        if home is None:
            with self._asking:
                return self._slots.get(slot) or self._ask().get(slot)
        is_old = time.monotonic() - self._asked_at >= CHECK_EVERY
        if is_old and self._asking.acquire(blocking=False):  # others go by the old one meanwhile
            try:
                with suppress(RedisError, OSError):  # so does this one then
                    return self._ask().get(slot)
            finally:
                self._asking.release()
        return home

    def _ask(self) -> dict[int, Address]:
        self._asked_at = time.monotonic()
        failed: Exception = RedisError("no slot has a server")
        fullest: Ranges = ()
        addresses = tuple(dict.fromkeys((*self._servers, *self._location.addresses)))
        location = self._location.within(share(self._location.timeout, len(addresses)))
        for address in addresses:
            try:
                ranges = read_ranges(_ask_one(location, address), address[0])
            except (RedisError, OSError) as error:
                failed = error
                continue
            fullest = max(fullest, ranges, key=size)
            if size(fullest) == SLOTS:
                break
        if not fullest:
            raise failed
        self._slots = slots = spread(fullest)
        self._let_go(set(slots.values()))
        return slots

    def _let_go(self, homes: set[Address]) -> None:
        """Forget servers that have nothing any more; their connections close with them."""
        for address in [*self._servers]:
            if address not in homes:
                self._servers.pop(address, None)


def _ask_one(location: Location, address: Address) -> Any:
    connection = SyncOpener(location, address).connect()
    try:
        connection.send_command(*MAP, check_health=False)
        return connection.read_response(disable_decoding=True)
    finally:
        connection.disconnect()


def threads_publisher(location: Location, word: str) -> Threads | ClusterThreads:
    """Return this process's publisher for threads that have no event loop."""
    return _publisher(os.getpid(), location, word)


@cache
def _publisher(pid: int, location: Location, word: str) -> Threads | ClusterThreads:
    """Make one once; a forked process has another pid."""
    kind = ClusterThreads if location.is_cluster else Threads
    return kind(location, word)


def forget_publishers() -> None:
    """Let go of all of them; their connections close with them."""
    _publisher.cache_clear()
