"""
Reading histories from the engine, for the groups of one event loop that keep.

Whoever asks in one turn of the loop is read for together. Read ``Readings.read`` first, and
``kept.py`` for what a group makes of it.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, Protocol

from ..exceptions import BackendError
from ..loops import start_task
from .reconnecting import Outage

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .keeping import KeepingBackend, Kept

LOOK_EVERY: Final = 60.0
"""Seconds between two looks for a last broadcast that was lost."""


class Reader(Protocol):
    """A group whose history is read."""

    @property
    def name(self) -> str:
        """Its name."""

    @property
    def is_over(self) -> bool:
        """Whether nobody is left who needs it."""

    def look_for_more(self) -> None:
        """Ask to be read, if something may be missing."""

    def begin_read(self) -> int | None:
        """Begin to read; return after which offset, or ``None`` for only where it stands."""

    def give_up_read(self) -> None:
        """What was asked was not answered; it is asked again."""

    def adopt(self, kept: Kept) -> bool:
        """Go on where the history is; return whether it has to be read again."""


class Readings:
    """
    Reads histories for the groups of one event loop, one read at a time for all that wait.

    A read that fails is tried again until it succeeds or nobody is left: a group whose gap is never
    closed would be deaf. If only some groups can't be read, the others don't wait for them.
    """

    def __init__(self, backend: KeepingBackend) -> None:
        self._backend = backend
        self._waiting: dict[Reader, asyncio.Future[None]] = {}
        self._put_off: dict[Reader, asyncio.Future[None]] = {}
        self._retry: asyncio.TimerHandle | None = None
        self._outage = Outage("The history of groups")
        self._groups: set[Reader] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None
        self.turn: Final = asyncio.Lock()
        """Whoever hands over what a member missed, one after the other: it may be much."""

    def watch(self, group: Reader) -> None:
        """Look now and then whether the last broadcast to a group was lost."""
        self._groups.add(group)
        if self._timer is None:
            self._start_timer()

    def forget(self, group: Reader) -> None:
        """Look no more: nobody is in it."""
        self._groups.discard(group)
        if not self._groups and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _start_timer(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(LOOK_EVERY, self._on_timer)

    def _on_timer(self) -> None:
        self._start_timer()
        self.look()

    def look(self) -> None:
        """Ask for what may be missing in any group."""
        for group in self._groups:
            group.look_for_more()

    def read(self, group: Reader) -> asyncio.Future[None]:
        """Have a group's history read; return a future for when a read that begins now is over."""
        if group in self._put_off:
            return self._put_off[group]
        if group not in self._waiting:
            self._waiting[group] = asyncio.get_running_loop().create_future()
        self._start_reading()
        return self._waiting[group]

    def _start_reading(self) -> None:
        if self._task is None:
            self._task = start_task(self._read_all())

    async def _read_all(self) -> None:
        try:
            while self._waiting:
                # One turn later, so that all that ask in this one are read together.
                await asyncio.sleep(0)
                await self._read_waiting()
        finally:
            self._task = None

    async def _read_waiting(self) -> None:
        batch, self._waiting = self._waiting, {}
        for group in [group for group in batch if group.is_over]:
            batch.pop(group).set_result(None)
        if not batch:
            return
        try:
            found = await self._backend.read({group.name: group.begin_read() for group in batch})
        except Exception as error:  # noqa: BLE001  # whatever it is, it is tried again
            delay = self._outage.failed(error)
            for group, done in batch.items():
                group.give_up_read()
                chain(self._waiting.setdefault(group, done), done)
            await asyncio.sleep(delay)
            return
        self._settle(batch, found)

    def _settle(
        self,
        batch: Mapping[Reader, asyncio.Future[None]],
        found: Mapping[str, Kept | BackendError],
    ) -> None:
        for group, done in batch.items():
            kept = found.get(group.name, BackendError("the backend did not read it"))
            if isinstance(kept, BackendError):
                self._read_later(group, done, kept)
            else:
                if group.adopt(kept):
                    self.read(group)
                done.set_result(None)
        if not self._put_off:
            self._outage.over()

    def _read_later(self, group: Reader, done: asyncio.Future[None], error: BackendError) -> None:
        group.give_up_read()
        if group in self._waiting:  # asked for again, meanwhile
            chain(done, self._waiting.pop(group))
        self._put_off[group] = done
        if self._retry is None:
            delay = self._outage.failed(error)
            self._retry = asyncio.get_running_loop().call_later(delay, self._read_put_off)

    def _read_put_off(self) -> None:
        self._retry = None
        self._waiting.update(self._put_off)
        self._put_off.clear()
        self._start_reading()

    async def aclose(self) -> None:
        """Read no more."""
        for timer in (self._timer, self._retry):
            if timer is not None:
                timer.cancel()
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})


def chain(first: asyncio.Future[None], second: asyncio.Future[None]) -> None:
    """Have the second future done when the first is; they may be the same."""
    if first is not second:
        first.add_done_callback(lambda _: second.set_result(None))
