"""
Two versions of a project on one engine: one whose ``realtime.py`` declares a group, one without.

Each has a hub of its own in this process, as two processes have; ``scenarios`` are run on each
engine.
"""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from tests.fakes import until
from tests.groups.test_kept import Room, frame, joined, page, said
from wsconsumer import Group, abroadcast, broadcast
from wsconsumer.counters import counters
from wsconsumer.groups import declared, holes, kept
from wsconsumer.groups.hub import Hub, close_hub, exchange_hub, hub
from wsconsumer.test import advance, connect

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    import pytest

    from wsconsumer.test import Websocket


class Version:
    """A process with these kinds of groups: what happens in ``as_it()`` happens there."""

    def __init__(self, **options: Any) -> None:
        self._options = options
        self._hub: Hub | None = None

    @contextmanager
    def as_it(self) -> Iterator[None]:
        """Be this process while the block runs."""
        other = exchange_hub(self._hub)
        with declared.only():
            if self._options:
                Group("room.{slug}", **self._options)
            hub()
            try:
                yield
            finally:
                self._hub = exchange_hub(other)

    def owes(self) -> bool:
        """Whether it has yet to hear a hole."""
        with self.as_it():
            return bool(hub()._holes._owed)  # type: ignore[union-attr]  # noqa: SLF001

    async def aclose(self) -> None:
        """End it."""
        with self.as_it():
            await close_hub()
        self._hub = None


KEEP = 5


async def run(
    scenario: Callable[[Version, Version], Awaitable[None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Run a scenario with an old process and a new one."""
    # So that the clock need not be advanced by more than engines wait for answers.
    monkeypatch.setattr(kept, "SURE_AFTER", 2.0)
    monkeypatch.setattr(holes, "DELAY", (0.01, 0.1))
    old, new = Version(), Version(keep=KEEP)
    try:
        await scenario(old, new)
    finally:
        await new.aclose()
        await old.aclose()


async def _read(ws: Websocket, expected: Any) -> None:
    """Wait for this frame; a hole may come before it."""
    while (found := await frame(ws)) != expected:
        assert "skip" in found, found


async def _hole(ws: Websocket, offset: int) -> None:
    """Receive the hole, which comes a moment later."""
    await _read(ws, {"group": "room.a", "offset": offset, "skip": True})


async def an_old_process_publishes(old: Version, new: Version) -> None:
    """Members of both get it; who missed it is told, whichever process it comes back to."""
    with new.as_it():
        async with page() as ws:
            epoch, _ = await joined(ws)
            await advance(kept.SURE_AFTER)
            with old.as_it():
                async with connect(Room) as there:
                    await abroadcast("room.a", "of old")
                    assert await there.receive() == "of old"
            await _read(ws, ({"group": "room.a"}, "of old"))
            await _hole(ws, 1)
            with old.as_it():
                await asyncio.to_thread(broadcast, "room.a", "of a worker")
            await _read(ws, ({"group": "room.a"}, "of a worker"))
            await _hole(ws, 2)
            await abroadcast("room.a", "of new")
            await _read(ws, said(3, "of new"))
            async with page(at={"room.a": (epoch, 2)}) as back:
                assert await frame(back) == {"joined": "room.a", "epoch": epoch, "offset": 2}
                assert await frame(back) == said(3, "of new")
            for offset in (0, 1):
                async with page(at={"room.a": (epoch, offset)}) as back:
                    assert (await frame(back))["reload"] is True
    other = Version(keep=KEEP)
    with other.as_it():
        async with page(at={"room.a": (epoch, 1)}) as back:
            assert (await frame(back))["reload"] is True
        async with page(at={"room.a": (epoch, 2)}) as back:
            assert await frame(back) == {"joined": "room.a", "epoch": epoch, "offset": 2}
    await other.aclose()


async def several_processes_hear_it(old: Version, new: Version) -> None:
    """Members of all go on, and there are fewer holes than broadcasts."""
    others = [Version(keep=KEEP) for _ in range(3)]
    sockets: list[Websocket] = []
    pages = []
    try:
        for version in (new, *others):
            with version.as_it():
                pages.append(page())
                sockets.append(await pages[-1].__aenter__())
                await joined(sockets[-1])
        await advance(kept.SURE_AFTER)
        with old.as_it():
            async with connect(Room, allow_unread=True):  # so that it says all of it at once
                await asyncio.gather(*(abroadcast("room.a", "of old") for _ in range(20)))
        for ws in sockets:
            for _ in range(20):
                await _read(ws, ({"group": "room.a"}, "of old"))
        await until(lambda: not any(version.owes() for version in (new, *others)))
        with new.as_it():
            await abroadcast("room.a", "end")
        for ws in sockets:
            while "skip" in (found := await frame(ws)):
                pass
            assert found == said(found[0]["offset"], "end")
            assert 2 <= found[0]["offset"] < 20, found
    finally:
        for each in pages:
            await each.__aexit__(None, None, None)
        for version in others:
            await version.aclose()


async def a_new_process_publishes(old: Version, new: Version) -> None:
    """The old one's members get it without a number; who comes there from the new one is told."""
    with old.as_it():
        async with connect(Room, allow_unread=True) as plain, page() as ws:
            with new.as_it():
                for _ in range(50):
                    await abroadcast("room.a", "of new")
            for _ in range(50):
                assert await plain.receive() == "of new"
                assert await frame(ws) == ({"group": "room.a"}, "of new")
            async with page(at={"room.a": ("e", 3)}) as back:
                assert (await frame(back))["reload"] is True
    assert counters["body_refused"] == 0


async def keeping_less_or_more(old: Version, new: Version) -> None:
    """Whatever each process keeps, nobody who missed something is told that it is whole."""
    less = Version(keep=2)
    with new.as_it():
        async with page() as ws:
            epoch, _ = await joined(ws)
    for version in (new, new, new, less, new, less):
        with version.as_it():
            await abroadcast("room.a", "text")
    for version, least in ((less, 4), (new, 4)):
        with version.as_it():
            for offset in range(7):
                async with page(at={"room.a": (epoch, offset)}) as back:
                    assert ("reload" not in await frame(back)) == (offset >= least), offset
                    for number in range(offset + 1, 7 if offset >= least else 0):
                        assert await frame(back) == said(number, "text")
    await less.aclose()


async def two_deploys(old: Version, new: Version) -> None:
    """First all number and nobody resumes, then all resume; between them nothing is missed."""
    between = Version(keep=KEEP, resume=False)
    with between.as_it():
        async with page() as ws:
            with old.as_it():
                await abroadcast("room.a", "of old")
            assert await frame(ws) == ({"group": "room.a"}, "of old")
            await abroadcast("room.a", "numbered")
            assert await frame(ws) == ({"group": "room.a"}, "numbered")
            with new.as_it():
                async with page() as counting:
                    epoch, offset = await joined(counting)
                    assert offset == 1
                    with between.as_it():
                        await abroadcast("room.a", "two")
                    assert await frame(counting) == said(2, "two")
            assert await frame(ws) == ({"group": "room.a"}, "two")
        async with page(at={"room.a": (epoch, 1)}) as back:
            assert (await frame(back))["reload"] is True
    with new.as_it():
        async with page(at={"room.a": (epoch, 1)}) as back:
            assert await frame(back) == {"joined": "room.a", "epoch": epoch, "offset": 1}
            assert await frame(back) == said(2, "two")
    await between.aclose()


async def keep_is_removed(old: Version, new: Version) -> None:
    """While the last process keeps, it marks what others say without a number."""
    with new.as_it():
        async with page() as ws:
            epoch, _ = await joined(ws)
            await abroadcast("room.a", "kept")
            assert await frame(ws) == said(1, "kept")
            with old.as_it():
                await abroadcast("room.a", "not kept")
            await _read(ws, ({"group": "room.a"}, "not kept"))
            assert (await frame(ws))["offset"] == 2
        async with page(at={"room.a": (epoch, 1)}) as back:
            assert (await frame(back))["reload"] is True


scenarios = (
    an_old_process_publishes,
    several_processes_hear_it,
    a_new_process_publishes,
    keeping_less_or_more,
    two_deploys,
    keep_is_removed,
)
