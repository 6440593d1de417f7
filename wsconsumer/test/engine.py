"""
What carries broadcasts while tests run: the memory backend, unless a test asks for ``real_engine``.

Through the engine of the settings, a test's broadcast would reach whoever else uses it, such as a
development server. So whatever of the kit is in use, broadcasts of the whole process stay in it,
and an event loop has a hub of the kit's own, which ends with its last websocket.
"""

from __future__ import annotations

from collections import Counter
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any, Final
from unittest import TestCase

from django.test.utils import TestContextDecorator

from .. import refusals
from ..groups.hub import exchange_hub
from ..groups.loading import use_instead
from ..loops import PerLoop
from ..serving import note_serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping

    from ..groups.hub import Hub

_MEMORY: Final[Mapping[str, Any]] = {}
"""The settings of the memory backend."""


_uses: Counter[str] = Counter()
"""How many blocks keep to the "memory" backend, use the "engine", and let groups have "members"."""


def _use(what: str, change: int) -> None:
    _uses[what] += change
    use_instead(_MEMORY if _uses["memory"] and not _uses["engine"] else None)


@contextmanager
def in_memory() -> Iterator[None]:
    """Keep the broadcasts of this process in it while the block runs."""
    note_serving()  # or the memory backend would warn that nobody is here to hear
    _use("memory", 1)
    try:
        yield
    finally:
        _use("memory", -1)


@contextmanager
def with_members() -> Iterator[None]:
    """Do the same, and let groups have members: ``real_engine`` comes too late in the block."""
    _use("members", 1)
    try:
        with in_memory():
            yield
    finally:
        _use("members", -1)


class real_engine(TestContextDecorator):  # noqa: N801  # as Django's override_settings
    """
    Broadcast through the engine that ``WSCONSUMER["GROUPS"]`` names, as in production.

    A context manager, and a decorator of test functions and of ``TestCase`` classes. It goes around
    whatever opens websockets: ``connect()``, ``WebsocketClient.connect()``, the live server.
    """

    def enable(self) -> None:
        """Use the engine from now on."""
        if _uses["members"] and not _uses["engine"]:
            raise RuntimeError(
                "real_engine() comes too late: websockets, or a live server, use the memory "
                "backend already. Write `with real_engine():` around `async with connect(...)`, or "
                "decorate the class of a LiveWebsocketTestCase with it."
            )
        _use("engine", 1)

    def disable(self) -> None:
        """Use it no more."""
        _use("engine", -1)

    def decorate_class(self, cls: Any) -> Any:
        """Use it for all that a test case does: a live server starts with its class."""
        if not issubclass(cls, TestCase):
            return super().decorate_class(cls)  # which refuses it
        set_up = cls.setUpClass.__func__

        def setUpClass(cls: type[TestCase]) -> None:
            self.enable()
            cls.addClassCleanup(self.disable)
            set_up(cls)

        cls.setUpClass = classmethod(setUpClass)
        return cls


class _OwnHub:
    """The kit's hub in an event loop, as long as somebody uses it."""

    def __init__(self) -> None:
        # An earlier test may have had the same session key, and disconnected it.
        refusals.sessions.clear()
        self._users = 0
        self._before: Hub | None = None

    def begin(self) -> None:
        """Set the loop's hub aside, for the first user."""
        if not self._users:
            self._before = exchange_hub(None)
        self._users += 1

    async def end(self) -> None:
        """Put it back, after the last user, and close the kit's."""
        self._users -= 1
        if not self._users and (ended := exchange_hub(self._before)) is not None:
            await ended.aclose()


_own_hubs = PerLoop(_OwnHub)


@asynccontextmanager
async def own_hub() -> AsyncIterator[None]:
    """Let this loop's groups be the kit's while the block runs, and leave nothing of them open."""
    own = _own_hubs.get()
    with with_members():
        own.begin()
        try:
            yield
        finally:
            await own.end()
