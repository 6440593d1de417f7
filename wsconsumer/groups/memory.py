"""
The backend of a single process: what is published reaches every event loop of this process.

Usually that is the one loop that the server runs; a live server for tests is a second one. Nothing
leaves the process: a broadcast in a process that serves no websockets logs a warning, and so does
the first group in a process that is one of several workers.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from concurrent.futures import Future, wait
from functools import cache, partial
from typing import TYPE_CHECKING, Any, ClassVar

from django.core.exceptions import ImproperlyConfigured

from ..escaping import quote
from ..log_thread import log
from ..masking import mask
from ..serving import is_serving
from ..workers import evidence_of_workers
from .budget import PATIENCE, is_backlog
from .histories import histories
from .keeping import KeepingBackend
from .leases import leases
from .leasing import LeasingBackend
from .names import RESERVED

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .base import Deliver, Position
    from .keeping import Keep, Kept
    from .leasing import Beat, Entry

logger = logging.getLogger("wsconsumer.groups")

_lock = threading.Lock()
_started: dict[MemoryBackend, None] = {}


class MemoryBackend(KeepingBackend, LeasingBackend):
    """Carries and keeps bodies within this process. Takes no ``LOCATION`` and no ``OPTIONS``."""

    needs_subscriptions: ClassVar[bool] = False
    is_local: ClassVar[bool] = True

    def __init__(self, location: str, prefix: str, options: Mapping[str, Any]) -> None:
        super().__init__(location, prefix, options)
        if location or options:
            raise ImproperlyConfigured(
                "WSCONSUMER['GROUPS'] names the memory backend, which takes no LOCATION and no "
                f"OPTIONS, got {quote(mask(location))} and {quote(list(options))}. Leave them out, "
                "or name the BACKEND that you mean."
            )

        self._pending = 0
        self._pending_bytes = 0
        self._is_waited_for = True

    def describe(self) -> str:
        """Say how far it reaches."""
        return "the memory of each process, which reaches no other"

    async def start(self, deliver: Deliver) -> None:
        self._deliver = deliver
        self.loop = asyncio.get_running_loop()
        with _lock:
            _forget_closed()
            _started[self] = None
        _explain_workers()

    async def subscribe(self, groups: Sequence[str]) -> None:
        """Do nothing: the hub knows its groups."""

    async def unsubscribe(self, groups: Sequence[str]) -> None:
        """Do nothing: the hub knows its groups."""

    async def publish(self, group: str, body: bytes) -> None:
        peers = self._peers()
        slow = [] if len(peers) == 1 else self._hand_over_to_others(peers, group, body)
        await self._deliver(group, body)
        if slow:
            await asyncio.wait(map(asyncio.wrap_future, slow), timeout=PATIENCE)

    def publish_sync(self, group: str, body: bytes) -> None:
        peers = self._peers()
        if not group.startswith(RESERVED):  # what is not the project's own call is no mistake
            self.explain_if_alone("A broadcast was made", peers)
        slow = {delivery for backend in peers if (delivery := backend.hand_over(group, body))}
        self._wait(peers, slow)

    def _wait(self, peers: Sequence[MemoryBackend], slow: set[Future[None]]) -> None:
        """Wait for deliveries that are behind, once: then not again until there are none."""
        if wait(slow, PATIENCE).not_done:
            for backend in peers:
                backend.stop_waiting()

    async def append(self, group: str, body: bytes, keep: Keep, key: str | None) -> Position:
        slow: list[Future[None]] = []
        own: list[Position] = []

        def publish(position: Position) -> None:
            if self._pending:
                self.hand_over(group, body, position)  # behind those that threads handed over
            else:
                own.append(position)
            slow.extend(self._hand_over_to_others(self._peers(), group, body, position))

        position = histories.append((self.prefix, group), body, keep, key, publish)
        if own:
            await self._deliver(group, body, position)
        if slow:
            await asyncio.wait(map(asyncio.wrap_future, slow), timeout=PATIENCE)
        return position

    def append_sync(self, group: str, body: bytes, keep: Keep, key: str | None) -> Position:
        peers = self._peers()
        self.explain_if_alone("A broadcast was made", peers)
        slow: set[Future[None]] = set()

        def publish(position: Position) -> None:
            for backend in peers:
                if delivery := backend.hand_over(group, body, position):
                    slow.add(delivery)

        position = histories.append((self.prefix, group), body, keep, key, publish)
        self._wait(peers, slow)
        return position

    async def read(self, after: Mapping[str, int | None]) -> Mapping[str, Kept]:
        return {group: histories.read((self.prefix, group), after[group]) for group in after}

    def read_sync(self, groups: Sequence[str]) -> Mapping[str, Position]:
        stands = {group: histories.read((self.prefix, group), None) for group in groups}
        return {group: kept.position for group, kept in stands.items()}

    async def begin(self, process: str, seconds: float) -> None:
        leases.begin(self.prefix, process, seconds, self.loop)

    async def beat(self, process: str, seconds: float) -> Beat:
        return leases.beat(self.prefix, process, seconds)

    async def admit(
        self, process: str, counts: Mapping[str, int], entries: Sequence[Entry]
    ) -> Sequence[bool] | None:
        return leases.admit(self.prefix, process, counts, entries)

    async def counted(self, keys: Sequence[str]) -> Mapping[str, Mapping[str, int]]:
        return leases.counted(self.prefix, keys)

    async def leave(self, process: str) -> None:
        leases.leave(self.prefix, process)

    async def aclose(self) -> None:
        with _lock:
            _started.pop(self, None)

    def explain_if_alone(self, what: str, peers: Sequence[MemoryBackend] | None = None) -> None:
        """Say once that what was done reaches nobody, if no websockets are served here."""
        if not (self._peers() if peers is None else peers) and not is_serving():
            _explain_alone(what)

    def _peers(self) -> list[MemoryBackend]:
        with _lock:
            _forget_closed()
            return [backend for backend in _started if backend.prefix == self.prefix]

    def _hand_over_to_others(
        self,
        peers: list[MemoryBackend],
        group: str,
        body: bytes,
        position: Position | None = None,
    ) -> list[Future[None]]:
        others = (
            backend.hand_over(group, body, position) for backend in peers if backend is not self
        )
        return [delivery for delivery in others if delivery is not None]

    def hand_over(
        self, group: str, body: bytes, position: Position | None = None
    ) -> Future[None] | None:
        """
        Deliver on this backend's own loop, from any thread, in the order of the calls.

        Return the delivery if the publisher has to wait for it, since many are on their way.
        """
        delivering = self._deliver(group, body, position)
        try:
            delivery = asyncio.run_coroutine_threadsafe(delivering, self.loop)
        except RuntimeError:  # the loop is being closed, and takes its connections with it
            delivering.close()
            return None
        with _lock:
            self._pending += 1
            self._pending_bytes += len(body)
            is_waited_for = self._is_waited_for and self.is_behind
        delivery.add_done_callback(partial(self._delivered, len(body)))
        return delivery if is_waited_for else None

    @property
    def is_behind(self) -> bool:
        """Whether many broadcasts are on their way to this loop."""
        return is_backlog(self._pending, self._pending_bytes)

    def _delivered(self, size: int, delivery: Future[None]) -> None:
        with _lock:
            self._pending -= 1
            self._pending_bytes -= size
            if not self._pending:
                self._is_waited_for = True

    def stop_waiting(self) -> None:
        """Let threads go on, after one waited without success, until nothing is on its way here."""
        with _lock:
            self._is_waited_for = not self._pending


def _forget_closed() -> None:
    """Forget the backends of loops that were closed without ``aclose()``; call it locked."""
    for backend in tuple(_started):
        if backend.loop.is_closed():
            del _started[backend]


@cache
def _explain_workers() -> None:
    evidence = evidence_of_workers()
    if evidence is not None:
        log(
            logger,
            logging.WARNING,
            "%s, and the memory backend of groups reaches this process only: members in others "
            "miss what is broadcast here, and websockets in others stay open after a logout. Name "
            "a backend that carries to them in WSCONSUMER['GROUPS'], such as "
            "wsconsumer.groups.redis.RedisBackend.",
            evidence,
        )


@cache
def _explain_alone(what: str) -> None:
    logger.warning(
        "%s in a process that serves no websockets, and the memory backend of groups reaches this "
        "process only. Name a backend that carries to others in WSCONSUMER['GROUPS'], such as "
        "wsconsumer.groups.redis.RedisBackend.",
        what,
    )
