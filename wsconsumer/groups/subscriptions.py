"""
Keeps what the backend is subscribed to in step with the groups that have members here.

One task makes the calls, one after the other, while there are any to make; what changes meanwhile
goes together into the next ones.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from ..log_thread import log
from ..loops import start_task

if TYPE_CHECKING:
    from collections.abc import Callable

    from .base import Backend, Deliver

logger = logging.getLogger("wsconsumer.groups")


class Subscriptions:
    """
    The backend's subscriptions, one per group.

    ``is_wanted`` tells whether a group has members. ``on_start`` is called once the backend has
    started.
    """

    def __init__(
        self,
        backend: Backend,
        deliver: Deliver,
        is_wanted: Callable[[str], bool],
        on_start: Callable[[], None],
    ) -> None:
        self.is_started = False
        self._backend = backend
        self._deliver = deliver
        self._is_wanted = is_wanted
        self._on_start = on_start
        self._subscribed: set[str] = set()
        self._changed: dict[str, None] = {}
        self._applied: asyncio.Future[None] | None = None
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Return when the backend is started."""
        await asyncio.shield(self._apply_soon())

    async def subscribe(self, name: str) -> None:
        """Return when the backend is started, and has subscribed to this group if it needs to."""
        if not (self.is_started and self._is_subscribed(name)):
            await asyncio.shield(self._apply_soon(name))

    def want(self, name: str) -> None:
        """Start the backend and subscribe to a name that is wanted, soon, unless that was done."""
        is_done = self.is_started and self._is_subscribed(name)
        if not (is_done or name in self._changed or self._task is not None):
            self._apply_soon(name)

    def unsubscribe(self, name: str) -> None:
        """Unsubscribe, soon, unless the group is wanted again by then."""
        if self._backend.needs_subscriptions:
            self._apply_soon(name)

    def _is_subscribed(self, name: str) -> bool:
        if not self._backend.needs_subscriptions:
            return True
        return name in self._subscribed and name not in self._changed

    def _apply_soon(self, *names: str) -> asyncio.Future[None]:
        """Have changes applied; return a future for when they are."""
        self._changed.update(dict.fromkeys(names))
        if self._applied is None:
            self._applied = asyncio.get_running_loop().create_future()
        if self._task is None:
            self._task = start_task(self._apply_all())
        return self._applied

    async def _apply_all(self) -> None:
        try:
            while self._applied is not None:
                changed, applied = self._changed, self._applied
                self._changed, self._applied = {}, None
                try:
                    await self._apply(changed)
                except Exception as error:  # noqa: BLE001  # it is logged
                    text = "The backend of groups failed."
                    log(logger, logging.ERROR, text, error=error)
                    applied.set_exception(error)
                    applied.exception()  # it was logged, whether anybody waits or not
                else:
                    applied.set_result(None)
        finally:
            self._task = None

    async def _apply(self, changed: dict[str, None]) -> None:
        if not self.is_started:
            await self._backend.start(self._deliver)
            self.is_started = True
            self._on_start()
        if not self._backend.needs_subscriptions:
            return
        joined = [n for n in changed if self._is_wanted(n) and n not in self._subscribed]
        if joined:
            await self._backend.subscribe(joined)
            self._subscribed.update(joined)
        # Only now: one of them may have been joined again meanwhile.
        left = [n for n in changed if not self._is_wanted(n) and n in self._subscribed]
        if left:
            # First, so that whoever joins meanwhile has them subscribed anew.
            self._subscribed.difference_update(left)
            await self._backend.unsubscribe(left)

    async def aclose(self) -> None:
        """Finish the calls under way, and close the backend."""
        if self._task is not None:
            await self._task
        if self.is_started:
            self.is_started = False
            await self._backend.aclose()
