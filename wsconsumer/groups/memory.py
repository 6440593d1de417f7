"""
The backend of a single process: what is published reaches every event loop of this process.

Usually that is the one loop that the server runs; a live server for tests is a second one. Nothing
leaves the process, and whoever broadcasts in another one, such as a management command, is told.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar

from django.core.exceptions import ImproperlyConfigured

from ..serving import is_serving
from .base import Backend

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .base import Deliver

logger = logging.getLogger("wsconsumer.groups")

_lock = threading.Lock()
_started: dict[MemoryBackend, None] = {}


class MemoryBackend(Backend):
    """Carries bodies within this process. Takes no ``LOCATION`` and no ``OPTIONS``."""

    needs_subscriptions: ClassVar[bool] = False

    def __init__(self, location: str, prefix: str, options: Mapping[str, Any]) -> None:
        super().__init__(location, prefix, options)
        if location or options:
            raise ImproperlyConfigured(
                "WSCONSUMER['GROUPS'] names the memory backend, which takes no LOCATION and no "
                f"OPTIONS, got {location!r} and {dict(options)!r}. Leave them out, or name the "
                "BACKEND that you mean."
            )

    async def start(self, deliver: Deliver) -> None:
        self._deliver = deliver
        self.loop = asyncio.get_running_loop()
        with _lock:
            _forget_closed()
            _started[self] = None

    async def subscribe(self, groups: Sequence[str]) -> None:
        """Do nothing: the hub knows its groups."""

    async def unsubscribe(self, groups: Sequence[str]) -> None:
        """Do nothing: the hub knows its groups."""

    async def publish(self, group: str, body: bytes) -> None:
        for backend in self._peers():
            if backend is not self:
                backend.hand_over(group, body)
        await self._deliver(group, body)

    def publish_sync(self, group: str, body: bytes) -> None:
        peers = self._peers()
        if not peers and not is_serving():
            _explain_alone()
        for backend in peers:
            backend.hand_over(group, body)

    async def aclose(self) -> None:
        with _lock:
            _started.pop(self, None)

    def _peers(self) -> list[MemoryBackend]:
        with _lock:
            _forget_closed()
            return [backend for backend in _started if backend.prefix == self.prefix]

    def hand_over(self, group: str, body: bytes) -> None:
        """Deliver on this backend's own loop, from any thread, in the order of the calls."""
        delivery = self._deliver(group, body)
        try:
            asyncio.run_coroutine_threadsafe(delivery, self.loop)
        except RuntimeError:  # the loop is being closed, and takes its connections with it
            delivery.close()


def _forget_closed() -> None:
    """Forget the backends of loops that were closed without ``aclose()``; call it locked."""
    for backend in tuple(_started):
        if backend.loop.is_closed():
            del _started[backend]


@cache
def _explain_alone() -> None:
    logger.warning(
        "A broadcast was made in a process that serves no websockets, and the memory backend of "
        "groups reaches this process only. Name a backend that carries to others in "
        "WSCONSUMER['GROUPS'], such as wsconsumer.groups.redis.RedisBackend."
    )
