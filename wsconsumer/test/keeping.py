"""
The contract of a backend that keeps, as tests that any such backend can run.

The contract itself is ``wsconsumer.groups.keeping``. Read ``contract.py`` first.
"""

from __future__ import annotations

import asyncio
import threading
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final, cast

from ..exceptions import BackendError
from ..groups.keeping import Keep, KeepingBackend, Kept
from .contract import ODD_NAMES, PREFIX, BackendContract
from .listener import Listener

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from ..groups.base import Position

KEEP: Final = Keep(5, 60)


class Keeper(Listener):
    """A listener with a backend that keeps."""

    @property
    def keeping(self) -> KeepingBackend:
        """The backend."""
        return cast("KeepingBackend", self.backend)

    async def append(
        self, group: str, *bodies: bytes, keep: Keep = KEEP, key: str | None = None
    ) -> list[Position]:
        """Append bodies, one after the other; return their positions."""
        return [await self.keeping.append(group, body, keep, key) for body in bodies]

    async def read(self, group: str, after: int | None) -> tuple[int, list[tuple[int, bytes]]]:
        """Return the top of a group, and what is kept after an offset."""
        kept = (await self.read_all({group: after}))[group]
        return kept.top, [(offset, body) for offset, body in kept.messages]

    async def read_all(self, after: Mapping[str, int | None]) -> dict[str, Kept]:
        """Return the histories of groups; raise what prevented it."""
        found: dict[str, Kept] = {}
        for group, kept in (await self.keeping.read(after)).items():
            if isinstance(kept, BackendError):
                raise kept
            found[group] = kept
        return found

    def positions_of(self, group: str) -> list[tuple[int, bytes]]:
        """Return the offsets and bodies that came for a group, in order of arrival."""
        came = zip(self.came, self.positions, strict=True)
        return [(at.offset, body) for (name, body), at in came if name == group and at is not None]


class KeepingContract(BackendContract):
    """
    Tests of what ``wsconsumer.groups.keeping.KeepingBackend`` promises, and ``Backend`` too.

    Subclass it with ``make_backend()``, and ``lose()`` where the engine's data can be lost.
    """

    async def lose(self, prefix: str, groups: Sequence[str]) -> None:
        """Override to lose what these groups keep, as an engine may at any time."""
        raise NotImplementedError

    @asynccontextmanager
    async def keeping(self, *groups: str, prefix: str = PREFIX) -> AsyncIterator[Keeper]:
        """Start a backend that is subscribed to these groups, lose their past, and close it."""
        await self.lose(prefix, groups)
        keeper = Keeper(self.make_backend(prefix))
        keeper.keeping.on_resumed(keeper.resumed.extend)
        await keeper.backend.start(keeper.deliver)
        try:
            if groups:
                await keeper.backend.subscribe(groups)
            yield keeper
        finally:
            await keeper.backend.aclose()

    async def test_what_is_appended_is_delivered_with_its_position(self) -> None:
        """Offsets begin at 1 and are contiguous; epoch and offset are those of ``append()``."""
        async with self.keeping("g") as one:
            positions = await one.append("g", b"a", b"b", b"c")
            await one.until("g", b"c")
            assert [at.offset for at in positions] == [1, 2, 3]
            assert len({at.epoch for at in positions}) == 1
            assert one.positions_of("g") == [(1, b"a"), (2, b"b"), (3, b"c")]
            assert one.positions == positions

    async def test_what_is_appended_together_keeps_its_order(self) -> None:
        """Appends that are started together are numbered in the order in which they were."""
        bodies = [b"%d" % number for number in range(200)]
        async with self.keeping("g") as one:
            keep = Keep(200, 60)
            appends = (one.append("g", body, keep=keep) for body in bodies)
            positions = await asyncio.gather(*appends)
            assert [at.offset for (at,) in positions] == list(range(1, 201))
            await one.until("g", bodies[-1])
            assert one.positions_of("g") == list(enumerate(bodies, 1))

    async def test_a_position_is_the_same_for_all(self) -> None:
        """Every subscriber gets the same positions, and a reader finds them."""
        async with self.keeping("g") as one, self.keeping() as two:
            await two.backend.subscribe(["g"])
            await one.append("g", b"a")
            await two.append("g", b"b")
            for each in (one, two):
                await each.until("g", b"b")
                assert each.positions_of("g") == [(1, b"a"), (2, b"b")]
            assert await two.read("g", 0) == (2, [(1, b"a"), (2, b"b")])

    async def test_what_is_published_has_no_position(self) -> None:
        """``publish()`` keeps nothing and counts nothing, as in any backend."""
        async with self.keeping("g") as one:
            await one.backend.publish("g", b"not kept")
            await one.append("g", b"kept")
            await one.until("g", b"kept")
            assert one.positions[0] is None
            assert await one.read("g", 0) == (1, [(1, b"kept")])

    async def test_what_is_published_keeps_its_place(self) -> None:
        """What is appended by whoever has heard it comes behind it, for all."""
        async with self.keeping("g") as one, self.keeping() as two:
            await two.backend.subscribe(["g"])
            for number in range(50):
                await one.backend.publish("g", b"said %d" % number)
                await two.until("g", b"said %d" % number)
                await two.append("g", b"kept %d" % number)
            for each in (one, two):
                await each.until("g", b"kept 49")
                came = each.of("g")
                for number in range(50):
                    assert came.index(b"said %d" % number) < came.index(b"kept %d" % number)

    async def test_what_is_published_is_not_mistaken(self) -> None:
        """Whatever a body begins with, it comes as it was published, and without a position."""
        bodies = [b"%cepoch:1:body" % first for first in range(256)]
        async with self.keeping("g") as one:
            for body in bodies:
                await one.backend.publish("g", body)
            await asyncio.to_thread(one.backend.publish_sync, "g", bodies[1])
            await one.until_count(257)
            assert one.of("g") == [*bodies, bodies[1]]
            assert set(one.positions) == {None}

    async def test_reading_after_an_offset(self) -> None:
        """A reader gets what came after an offset, and with ``None`` only where it stands."""
        async with self.keeping("g") as one:
            await one.append("g", b"a", b"b", b"c")
            assert await one.read("g", 1) == (3, [(2, b"b"), (3, b"c")])
            assert await one.read("g", 3) == (3, [])
            assert await one.read("g", 9) == (3, [])
            assert await one.read("g", None) == (3, [])

    async def test_only_the_last_are_kept(self) -> None:
        """The ring holds as many as the group keeps; older ones are gone."""
        async with self.keeping("g") as one:
            await one.append("g", *(b"%d" % number for number in range(1, 13)))
            last = [(number, b"%d" % number) for number in range(8, 13)]
            assert await one.read("g", 0) == (12, last)

    async def test_keeping_less_than_before(self) -> None:
        """When a group keeps less from now on, the next append drops what is too much."""
        async with self.keeping("g") as one:
            await one.append("g", b"a", b"b", b"c")
            await one.append("g", b"d", keep=Keep(2, 60))
            assert await one.read("g", 0) == (4, [(3, b"c"), (4, b"d")])

    async def test_keeping_more_than_before(self) -> None:
        """When it keeps more from now on, what is still there stays."""
        async with self.keeping("g") as one:
            await one.append("g", b"a", b"b", b"c", keep=Keep(2, 60))
            await one.append("g", b"d", b"e", keep=Keep(4, 60))
            assert await one.read("g", 0) == (5, [(2, b"b"), (3, b"c"), (4, b"d"), (5, b"e")])

    async def test_several_groups_in_one_read(self) -> None:
        """Each group has a history of its own, and one read can ask for many."""
        groups = [f"g{number}" for number in range(20)]
        async with self.keeping(*groups) as one:
            for group in groups:
                await one.append(group, group.encode())
            found = await one.read_all(dict.fromkeys(groups, 0))
            assert {group: list(map(tuple, kept.messages)) for group, kept in found.items()} == {
                group: [(1, group.encode())] for group in groups
            }
            assert len({kept.epoch for kept in found.values()}) == 20

    async def test_a_group_that_was_never_spoken_to(self) -> None:
        """A reader finds an epoch and the top 0, which the first append goes on from."""
        async with self.keeping("g") as one:
            kept = (await one.read_all({"g": None}))["g"]
            assert kept.epoch
            assert kept.top == 0
            (first,) = await one.append("g", b"a")
            assert first == (kept.epoch, 1)

    async def test_a_lost_history_begins_anew(self) -> None:
        """When the engine lost it, the next one has another epoch, and begins at 1."""
        async with self.keeping("g") as one:
            (before,) = await one.append("g", b"a")
            await self.lose(PREFIX, ["g"])
            (after,) = await one.append("g", b"b")
            assert after.epoch != before.epoch
            assert after.offset == 1
            assert await one.read("g", 0) == (1, [(1, b"b")])

    async def test_a_key_is_said_once(self) -> None:
        """A body with a key that was there is neither kept nor delivered again."""
        async with self.keeping("g") as one:
            first = await one.append("g", b"order", key="order-5")
            again = await one.append("g", b"order", key="order-5")
            await one.append("g", b"other", key="order-6")
            await one.until("g", b"other")
            assert first == again
            assert one.positions_of("g") == [(1, b"order"), (2, b"other")]

    async def test_a_key_is_the_groups(self) -> None:
        """The same key in another group is another key."""
        async with self.keeping("g", "h") as one:
            await one.append("g", b"a", key="k")
            (other,) = await one.append("h", b"b", key="k")
            await one.until("h", b"b")
            assert other.offset == 1

    async def test_a_key_outlives_its_body(self) -> None:
        """It counts for the group's seconds, also when newer bodies have taken the place of its."""
        async with self.keeping("g") as one:
            (first,) = await one.append("g", b"order", key="order-5")
            await one.append("g", *(b"%d" % number for number in range(KEEP.size)))
            assert await one.append("g", b"order", key="order-5") == [first]
            top, messages = await one.read("g", 0)
            assert top == 1 + KEEP.size
            assert b"order" not in [body for _, body in messages]

    async def test_a_key_counts_in_threads_too(self) -> None:
        """Whoever tries a key, on the loop or in a thread, learns the position of the first."""
        async with self.keeping("g") as one:
            idle = self._never_started()
            (first,) = await one.append("g", b"order", key="order-5")
            for each in (one.keeping, idle):
                again = await asyncio.to_thread(each.append_sync, "g", b"order", KEEP, "order-5")
                assert again == first
            at = await asyncio.to_thread(idle.append_sync, "g", b"other", KEEP, "ключ %s {}")
            assert await one.append("g", b"other", key="ключ %s {}") == [at]
            assert await one.read("g", 0) == (2, [(1, b"order"), (2, b"other")])

    async def test_a_key_tried_by_many_at_once(self) -> None:
        """Of many that try the same key at the same time, one is kept, and all learn where."""
        async with self.keeping("g") as one, self.keeping() as two:
            tried = await asyncio.gather(
                *(each.append("g", b"once", key="k") for each in (one, two) * 10)
            )
            assert len({position for (position,) in tried}) == 1
            assert await one.read("g", 0) == (1, [(1, b"once")])

    async def test_many_publishers_make_no_gap(self) -> None:
        """Whoever appends, at once and from wherever, the offsets that come in are contiguous."""
        async with self.keeping("g") as one, self.keeping() as two:
            bodies = [b"%d" % number for number in range(200)]
            await asyncio.gather(
                *(each.append("g", body) for body in bodies for each in (one, two))
            )
            await one.append("g", b"end")
            await one.until("g", b"end")
            assert [offset for offset, _ in one.positions_of("g")] == list(range(1, 402))

    async def test_appending_from_threads(self) -> None:
        """``append_sync()`` numbers in the same history, from any thread, started or not."""
        async with self.keeping("g") as one:
            threads = [
                threading.Thread(
                    target=each.append_sync, args=("g", b"%d" % number, Keep(100, 60), None)
                )
                for number, each in enumerate([one.keeping, self._never_started()] * 10)
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                await asyncio.to_thread(thread.join)
            await one.append("g", b"end", keep=Keep(100, 60))
            await one.until("g", b"end")
            top, messages = await one.read("g", 0)
            assert top == 21
            assert sorted(body for _, body in messages[:-1]) == sorted(
                b"%d" % number for number in range(20)
            )
            assert one.positions_of("g") == messages

    async def test_reading_from_a_thread(self) -> None:
        """``read_sync()`` says where groups stand, in the histories that all share."""
        async with self.keeping("g", "h") as one:
            (at,) = await one.append("g", b"a")
            never_started = self._never_started()
            found = await asyncio.to_thread(never_started.read_sync, ["g", "h"])
            assert found["g"] == at
            assert found["h"].offset == 0
            (first,) = await one.append("h", b"b")
            assert first == (found["h"].epoch, 1)

    async def test_a_key_from_a_thread(self) -> None:
        """It is the same key, wherever it is said."""
        async with self.keeping("g") as one:
            (first,) = await one.append("g", b"once", key="k")
            again = await asyncio.to_thread(one.keeping.append_sync, "g", b"once", KEEP, "k")
            assert again in (first, None)
            assert await one.read("g", 0) == (1, [(1, b"once")])

    def _never_started(self) -> KeepingBackend:
        return cast("KeepingBackend", self.make_backend())

    async def test_odd_names(self) -> None:
        """Any name that a group may have has a history of its own."""
        async with self.keeping(*ODD_NAMES) as one:
            for name in ODD_NAMES:
                await one.append(name, name.encode())
            for name in ODD_NAMES:
                assert await one.read(name, 0) == (1, [(1, name.encode())])

    async def test_big_and_empty_bodies(self) -> None:
        """Bodies of any size are kept whole, bytes of any value."""
        bodies = [b"", bytes(range(256)) * 4, b"x" * 9_000, b"\x00", b"y" * (1 << 20)]
        async with self.keeping("g") as one:
            await one.append("g", *bodies)
            await one.until("g", bodies[-1])
            assert await one.read("g", 0) == (5, list(enumerate(bodies, 1)))
            assert one.positions_of("g") == list(enumerate(bodies, 1))

    async def test_prefixes_keep_apart(self) -> None:
        """Backends with other prefixes have other histories."""
        async with self.keeping("g") as one, self.keeping("g", prefix="other") as other:
            await one.append("g", b"a", b"b")
            await other.append("g", b"c")
            await other.until("g", b"c")
            assert other.positions_of("g") == [(1, b"c")]
