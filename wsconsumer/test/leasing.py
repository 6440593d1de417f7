"""
The contract of a backend that holds leases and counts, as tests that any such backend can run.

The contract itself is ``wsconsumer.groups.leasing``. Read ``contract.py`` first.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final, cast

from .contract import ODD_NAMES, PREFIX, BackendContract
from .listener import WAIT, Listener

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from ..groups.leasing import LeasingBackend

LONG: Final = 60.0
"""Seconds of a lease that lasts for the whole test."""

SHORT: Final = 0.2
"""Seconds of one that lapses in it."""


class LeasingContract(BackendContract):
    """
    Tests of what ``wsconsumer.groups.leasing.LeasingBackend`` promises, and ``Backend`` too.

    Subclass it with ``make_backend()``, and ``forget()`` where the engine's data can be lost.
    """

    async def forget(self, prefix: str) -> None:
        """Override to lose all leases and counts of a prefix, as an engine may at any time."""
        raise NotImplementedError

    @asynccontextmanager
    async def leasing(
        self, *processes: str, prefix: str = PREFIX, seconds: float = LONG
    ) -> AsyncIterator[LeasingBackend]:
        """Start a backend, forget the past, and begin these processes on it."""
        await self.forget(prefix)
        async with self.joined(*processes, prefix=prefix, seconds=seconds) as backend:
            yield backend

    @asynccontextmanager
    async def joined(
        self, *processes: str, prefix: str = PREFIX, seconds: float = LONG
    ) -> AsyncIterator[LeasingBackend]:
        """Do the same, beside others that are there."""
        backend = cast("LeasingBackend", self.make_backend(prefix))
        await backend.start(Listener(backend).deliver)
        try:
            for process in processes:
                await backend.begin(process, seconds)
            yield backend
        finally:
            await backend.aclose()

    async def until_lapsed(self, backend: LeasingBackend, beats: str, process: str) -> None:
        """Wait until the beats of one process tell that another has lapsed."""
        async with asyncio.timeout(WAIT):
            while process not in (await backend.beat(beats, LONG)).lapsed:
                pass

    async def test_a_lease_is_held_from_its_begin_on(self) -> None:
        """A process that began finds its lease held at each beat, and nobody has lapsed."""
        async with self.leasing("a", "b") as one:
            for _ in range(3):
                assert await one.beat("a", LONG) == (True, [])
                assert await one.beat("b", LONG) == (True, [])

    async def test_a_process_that_is_not_known(self) -> None:
        """A beat without a begin gives no lease."""
        async with self.leasing("a") as one:
            for _ in range(2):
                assert not (await one.beat("x", LONG)).is_held
                assert await one.admit("x", {}, [[("k", 9)]]) is None
            assert await one.counted(["k"]) == {"k": {}}

    async def test_a_lapsed_lease(self) -> None:
        """One without beats lapses: others hear of it, it finds so itself, and stays lapsed."""
        async with self.leasing("a", "b") as one, self.joined() as two:
            await one.beat("b", SHORT)
            await self.until_lapsed(two, "a", "b")
            assert await two.beat("a", LONG) == (True, ["b"])
            assert await one.beat("b", LONG) == (False, ["b"])
            assert await one.beat("b", LONG) == (False, ["b"])
            assert await one.admit("b", {"k": 1}, []) is None

    async def test_a_beat_keeps_a_lease(self) -> None:
        """A lease that beats extend outlives one that they don't."""
        async with self.leasing("a", "b", "c", seconds=SHORT) as one:
            await one.beat("a", LONG)
            async with asyncio.timeout(WAIT):
                while len((await one.beat("a", LONG)).lapsed) < 1:
                    await one.beat("b", LONG)
            assert await one.beat("b", LONG) == (True, ["c"])

    async def test_leaving(self) -> None:
        """A process that leaves is gone at once, with what it had, and has not lapsed."""
        async with self.leasing("a", "b") as one:
            await one.admit("b", {"k": 3}, [])
            await one.leave("b")
            assert await one.counted(["k"]) == {"k": {}}
            assert await one.beat("a", LONG) == (True, [])
            assert not (await one.beat("b", LONG)).is_held
            await one.leave("b")

    async def test_counts_are_absolute(self) -> None:
        """Each write replaces the last one, and 0 takes a process out."""
        async with self.leasing("a", "b") as one:
            assert await one.admit("a", {"k": 3, "l": 1}, []) == []
            assert await one.admit("b", {"k": 1}, []) == []
            assert await one.counted(["k", "l", "m"]) == {
                "k": {"a": 3, "b": 1}, "l": {"a": 1}, "m": {},
            }  # fmt: skip
            await one.admit("a", {"k": 2, "l": 0, "m": 0}, [])
            await one.admit("a", {"k": 2}, [])
            assert await one.counted(["k", "l", "m"]) == {"k": {"a": 2, "b": 1}, "l": {}, "m": {}}

    async def test_a_limit_is_that_of_all(self) -> None:
        """Who comes is let in while all processes together have fewer than the limit."""
        async with self.leasing("a", "b") as one, self.joined() as two:
            assert await one.admit("a", {}, [[("k", 3)]]) == [True]
            assert await two.admit("b", {}, [[("k", 3)], [("k", 3)], [("k", 3)]]) == [
                True, True, False,
            ]  # fmt: skip
            assert await one.admit("a", {}, [[("k", 3)]]) == [False]
            assert await two.admit("b", {"k": 1}, []) == []
            assert await one.admit("a", {}, [[("k", 3)]]) == [True]
            assert await one.counted(["k"]) == {"k": {"a": 2, "b": 1}}

    async def test_limits_that_differ(self) -> None:
        """Each entry is judged by the limit it comes with."""
        async with self.leasing("a") as one:
            entries = [[("k", 1)], [("k", 1)], [("k", 2)], [("k", 0)]]
            assert await one.admit("a", {}, entries) == [True, False, True, False]

    async def test_all_keys_or_none(self) -> None:
        """An entry that goes over one of its limits takes nothing of its other key."""
        async with self.leasing("a") as one:
            entries = [[("u", 1), ("x", 9)], [("u", 1), ("x", 9)], [("v", 1), ("x", 2)]]
            assert await one.admit("a", {}, entries) == [True, False, True]
            assert await one.counted(["u", "v", "x"]) == {
                "u": {"a": 1}, "v": {"a": 1}, "x": {"a": 2},
            }  # fmt: skip

    async def test_counts_are_written_before_anybody_comes(self) -> None:
        """Who left in the same call has made room."""
        async with self.leasing("a") as one:
            await one.admit("a", {"k": 2}, [])
            assert await one.admit("a", {"k": 1}, [[("k", 2)], [("k", 2)]]) == [True, False]
            assert await one.counted(["k"]) == {"k": {"a": 2}}

    async def test_many_that_come_at_once(self) -> None:
        """However many processes admit at once, they never let in more than the limit."""
        async with self.leasing("a") as one, self.joined("b") as two, self.joined("c") as three:
            several = {"a": one, "b": two, "c": three}

            async def admit(process: str, backend: LeasingBackend) -> int:
                admitted = 0
                for _ in range(20):
                    answers = await backend.admit(process, {}, [[("k", 25)], [("l", 1)]])
                    assert answers is not None
                    admitted += answers[0]
                return admitted

            admitted = await asyncio.gather(*(admit(*each) for each in several.items()))
            counted = await one.counted(["k", "l"])
            assert sum(admitted) == sum(counted["k"].values()) == 25
            assert sum(counted["l"].values()) == 1

    async def test_what_a_lapsed_process_had_counts_no_more(self) -> None:
        """Its places are free as soon as its lease has lapsed; it can write nothing."""
        async with self.leasing("a", "b") as one:
            await one.admit("b", {"k": 2}, [])
            assert await one.admit("a", {}, [[("k", 2)]]) == [False]
            await one.beat("b", SHORT)
            await self.until_lapsed(one, "a", "b")
            assert await one.counted(["k"]) == {"k": {}}
            assert await one.admit("a", {}, [[("k", 2)]]) == [True]
            assert await one.admit("b", {"k": 2}, []) is None
            assert await one.counted(["k"]) == {"k": {"a": 1}}

    async def test_an_engine_that_lost_everything(self) -> None:
        """No lease is held then, and whoever begins under another name writes what it has."""
        async with self.leasing("a") as one:
            await one.admit("a", {"k": 2}, [])
            await self.forget(PREFIX)
            assert await one.beat("a", LONG) == (False, [])
            assert await one.admit("a", {"k": 2}, []) is None
            await one.begin("a2", LONG)
            assert await one.admit("a2", {"k": 2}, [[("k", 2)]]) == [False]
            assert await one.counted(["k"]) == {"k": {"a2": 2}}

    async def test_many_keys(self) -> None:
        """A call may have hundreds of keys."""
        counts = {f"key {number}": number for number in range(200)}
        async with self.leasing("a") as one:
            entries: Sequence[Sequence[tuple[str, int]]] = [[(key, 200)] for key in counts]
            assert await one.admit("a", counts, entries) == [True] * 200
            found = await one.counted([*counts])
            assert found == {key: {"a": count + 1} for key, count in counts.items()}

    async def test_odd_keys_and_names(self) -> None:
        """Any text is a key of its own, and so is a name of a process."""
        names = [*ODD_NAMES, "x" * 1000, "host:1:ab/2", "new\nline"]
        async with self.leasing(*names[-3:]) as one:
            for name in names[-3:]:
                assert (await one.beat(name, LONG)).is_held
            answers = await one.admit(names[-1], {}, [[(name, 1)] for name in names])
            assert answers == [True] * len(names)
            assert await one.counted(names) == {name: {names[-1]: 1} for name in names}

    async def test_prefixes_count_apart(self) -> None:
        """Sites with other prefixes have other processes and counts."""
        async with self.leasing("a") as one, self.leasing("b", prefix="other") as other:
            assert await one.admit("a", {}, [[("k", 1)]]) == [True]
            assert await other.admit("b", {}, [[("k", 1)]]) == [True]
            assert await other.admit("a", {}, [[("k", 2)]]) is None
            assert await other.beat("a", LONG) == (False, [])
            assert await one.counted(["k"]) == {"k": {"a": 1}}
