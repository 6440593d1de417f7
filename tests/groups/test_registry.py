"""``groups/registry.py``: what an event loop counts together with all others of its project."""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from tests.fakes import until
from tests.groups.test_subscriptions import Bus
from wsconsumer.counters import counters
from wsconsumer.exceptions import BackendError
from wsconsumer.groups import registry as registries
from wsconsumer.groups.leases import leases
from wsconsumer.groups.memory import MemoryBackend
from wsconsumer.groups.registry import (
    AT_ONCE,
    BEAT_EVERY,
    PATIENCE,
    RETRY_EVERY,
    SWEEP,
    Registry,
    leasing_problems,
)
from wsconsumer.limiting import COME_BACK_AFTER
from wsconsumer.test import advance

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping, Sequence

    from wsconsumer.groups.leasing import Beat, Entry

PREFIX = "registry"
ONE: list[tuple[str, int]] = [("k", 1)]
THREE: list[tuple[str, int]] = [("k", 3)]


class Engine(MemoryBackend):
    """An engine of this process that can be away, or hang; it notes what it is asked."""

    def __init__(self) -> None:
        super().__init__("", PREFIX, {})
        self.error: Exception | None = None
        self.is_deaf = False
        """Whether an error comes before anything is done."""
        self.open = asyncio.Event()
        self.open.set()
        self.beats = 0
        self.asked: list[tuple[dict[str, int], int]] = []

    async def _pass(self) -> None:
        await self.open.wait()
        if self.error is not None:
            raise self.error

    async def begin(self, process: str, seconds: float) -> None:
        await self._pass()
        await super().begin(process, seconds)

    async def beat(self, process: str, seconds: float) -> Beat:
        self.beats += 1
        await self._pass()
        return await super().beat(process, seconds)

    async def admit(
        self, process: str, counts: Mapping[str, int], entries: Sequence[Entry]
    ) -> Sequence[bool] | None:
        self.asked.append((dict(counts), len(entries)))
        if self.is_deaf:
            await self._pass()
        answers = await super().admit(process, counts, entries)
        await self._pass()  # whoever asks does not know what was done
        return answers

    async def leave(self, process: str) -> None:
        await self._pass()
        await super().leave(process)


async def _nothing(*_: Any) -> None:
    """Deliver nothing."""


@asynccontextmanager
async def joined() -> AsyncIterator[tuple[Registry, Engine]]:
    """Return a registry and its engine, which all of them share."""
    engine = Engine()

    async def start() -> None:
        await engine.start(_nothing)

    registry = Registry(engine, start)
    try:
        yield registry, engine
    finally:
        engine.open.set()
        await registry.aclose()
        await engine.aclose()


@pytest.fixture(autouse=True)
def _no_leases() -> Iterator[None]:
    yield
    leases.clear(PREFIX)


def total(key: str = "k") -> int:
    """Return how many the engine has of a key."""
    return sum(leases.counted(PREFIX, [key])[key].values())


async def crowd(registry: Registry) -> None:
    """Let in so many others that the sweep comes to nobody else soon."""
    await asyncio.gather(*(registry.enter([(f"other {n}", 1)]) for n in range(2 * SWEEP)))


async def settled(engine: Engine, counts: Mapping[str, int]) -> None:
    """Wait until the engine has these counts."""
    await until(lambda: {key: total(key) for key in counts} == counts)


async def test_a_limit_is_that_of_all() -> None:
    """Two event loops together let in as many as the limit says; one that leaves makes room."""
    async with joined() as (one, engine), joined() as (two, _):
        assert [await one.enter(THREE), await two.enter(THREE), await two.enter(THREE)] == [
            True
        ] * 3
        assert not await one.enter(THREE)
        assert (one.count("k"), two.count("k"), total()) == (1, 2, 3)
        two.leave(THREE)
        await settled(engine, {"k": 2})
        two.leave(THREE)
        assert two._counts == {}  # noqa: SLF001  # nothing stays of who has gone
        await settled(engine, {"k": 1})
        assert await two.enter(THREE)
        assert await one.enter(THREE)
        assert counters["count_failed"] == 0


async def test_one_call_for_each_who_comes() -> None:
    """Who comes alone is one call; those who come meanwhile share the next; each leave is told."""
    async with joined() as (one, engine):
        await one.enter([("a", 1)])
        assert engine.asked == [({}, 1)]
        engine.open.clear()
        tasks = [asyncio.create_task(one.enter([(f"b{n}", 1)])) for n in range(5)]
        await until(lambda: len(engine.asked) == 2)
        more = [asyncio.create_task(one.enter([(f"c{n}", 1)])) for n in range(5)]
        one.leave([("a", 1)])
        await asyncio.sleep(0)
        engine.open.set()
        assert await asyncio.gather(*tasks, *more) == [True] * 10
        assert engine.asked[1:] == [({}, 5), ({"a": 0}, 5)]


async def test_what_is_known_here_is_not_asked() -> None:
    """Who goes over the limit by the counts of this event loop alone costs the engine nothing."""
    async with joined() as (one, engine):
        assert await one.enter(ONE)
        assert not await one.enter(ONE)
        assert len(engine.asked) == 1


async def test_many_that_leave() -> None:
    """What leaves at once is written at once, in bounded calls."""
    entries = [[(f"k{n}", 1)] for n in range(AT_ONCE + 1)]
    async with joined() as (one, engine):
        assert await asyncio.gather(*map(one.enter, entries)) == [True] * len(entries)
        engine.asked.clear()
        for entry in entries:
            one.leave(entry)
        await settled(engine, {"k0": 0, f"k{AT_ONCE}": 0})
        assert [len(counts) for counts, _ in engine.asked] == [AT_ONCE, 1]


async def test_a_beat_is_one_call() -> None:
    """However many connections there are, a beat is one call, and a few of the sweep."""
    async with joined() as (one, engine):
        await asyncio.gather(*(one.enter([(f"k{n}", 1)]) for n in range(600)))
        engine.asked.clear()
        await advance(3 * BEAT_EVERY)
        assert engine.beats in (3, 4)
        assert [len(counts) for counts, _ in engine.asked] == [600 // SWEEP] * engine.beats


async def test_a_copy_that_differs() -> None:
    """Whatever the engine has that is not true is written over, within a sweep."""
    async with joined() as (one, engine):
        await one.enter(THREE)
        process = next(iter(leases.counted(PREFIX, ["k"])["k"]))
        leases.admit(PREFIX, process, {"k": 3}, [])
        assert not await one.enter(THREE)
        await advance(2 * BEAT_EVERY)
        await settled(engine, {"k": 1})
        assert await one.enter(THREE)


# The engine is away


async def test_an_engine_that_is_away(caplog: pytest.LogCaptureFixture) -> None:
    """This event loop's own counts are the limit then; it says so once, and tells all later."""
    async with joined() as (one, engine):
        assert await one.enter(THREE)
        engine.error = BackendError("The engine is away.")
        assert [await one.enter(THREE) for _ in range(3)] == [True, True, False]
        one.leave(THREE)
        assert counters["count_failed"] == 2
        (line,) = caplog.messages
        assert line.startswith("Connections are counted in this process alone, so that")
        assert line.endswith("BackendError: The engine is away.")
        await advance(3 * RETRY_EVERY)
        assert len(caplog.messages) == 1
        engine.error = None
        await advance(2 * RETRY_EVERY)
        await settled(engine, {"k": 2})
        assert caplog.messages[1:] == ["Connections are counted in all processes together again."]
        assert await one.enter(THREE)
        assert counters["count_failed"] == 2


async def test_an_engine_that_hangs() -> None:
    """Nobody waits for it for long; once it is known to hang, nobody waits at all."""
    async with joined() as (one, engine):
        assert await one.enter(THREE)
        engine.open.clear()
        second = asyncio.create_task(one.enter(THREE))
        await until(lambda: len(engine.asked) == 2)
        assert not second.done()
        await advance(PATIENCE + 0.1)
        assert await second
        assert await one.enter(THREE)
        assert (one.count("k"), len(engine.asked), counters["count_failed"]) == (3, 2, 2)
        one.leave(THREE)
        one.leave(THREE)
        engine.open.set()
        await advance(2 * RETRY_EVERY)
        await settled(engine, {"k": 1})


async def test_who_comes_later_while_it_hangs() -> None:
    """Nobody waits when another has waited in vain."""
    async with joined() as (one, engine):
        assert await one.enter(THREE)
        engine.open.clear()
        first = asyncio.create_task(one.enter(THREE))
        await advance(PATIENCE / 2)
        second = asyncio.create_task(one.enter(THREE))
        await advance(PATIENCE / 2 + 0.1)
        assert first.done()
        assert second.done()


async def test_what_was_not_written() -> None:
    """Whoever left when the engine went away is taken out when it is back."""
    async with joined() as (one, engine):
        await crowd(one)
        assert await one.enter(THREE)
        assert await one.enter(THREE)
        engine.is_deaf, engine.error = True, BackendError("The engine is away.")
        one.leave(THREE)
        await until(lambda: engine.asked[-1] == ({"k": 1}, 0))
        engine.error = None
        await advance(2 * RETRY_EVERY)
        await settled(engine, {"k": 1})


async def test_who_has_gone_when_the_engine_goes_away() -> None:
    """So is one whom the engine has let in without anybody to hear it."""
    async with joined() as (one, engine):
        await crowd(one)
        assert await one.enter(THREE)
        asked = len(engine.asked)
        engine.open.clear()
        task = asyncio.create_task(one.enter(THREE))
        await until(lambda: len(engine.asked) > asked)
        task.cancel()
        await asyncio.wait([task])
        engine.error = BackendError("The engine is away.")
        engine.open.set()
        await asyncio.sleep(0)
        assert total() == 2
        engine.error = None
        await advance(2 * RETRY_EVERY)
        await settled(engine, {"k": 1})


async def test_an_engine_that_is_slow() -> None:
    """It counts as away until it answers to a beat as soon as those who come want it."""
    async with joined() as (one, engine):
        assert await one.enter(THREE)
        engine.error = BackendError("The engine is away.")
        assert await one.enter(THREE)
        engine.error = None
        engine.open.clear()
        await advance(RETRY_EVERY + PATIENCE + 0.1)
        engine.open.set()
        for _ in range(10):
            await asyncio.sleep(0)
        assert await one.enter(THREE)
        assert counters["count_failed"] == 2
        await advance(RETRY_EVERY)
        await settled(engine, {"k": 3})


async def test_two_that_come_while_it_hangs() -> None:
    """The limit is kept here, whoever waits for the engine."""
    async with joined() as (one, engine):
        assert await one.enter([("other", 1)])
        engine.open.clear()
        tasks = [asyncio.create_task(one.enter(ONE)) for _ in range(2)]
        await until(lambda: len(engine.asked) == 2)
        await advance(PATIENCE + 0.1)
        assert sorted(await asyncio.gather(*tasks)) == [False, True]


async def test_beats_that_hang() -> None:
    """An engine that is too slow for those who come is not taken for one that is back."""
    async with joined() as (one, engine):
        assert await one.enter(THREE)
        engine.error = BackendError("The engine is away.")
        assert await one.enter(THREE)
        engine.error = None
        engine.open.clear()
        await advance(5 * RETRY_EVERY)
        assert await one.enter(THREE)
        assert counters["count_failed"] == 2
        engine.open.set()
        await advance(2 * RETRY_EVERY)
        await settled(engine, {"k": 3})
        assert not await one.enter(THREE)
        assert counters["count_failed"] == 2


async def test_an_engine_that_does_not_start(caplog: pytest.LogCaptureFixture) -> None:
    """Who comes first does not wait for it for long either."""
    started = asyncio.Event()
    engine = Engine()

    async def start() -> None:
        await started.wait()
        await engine.start(_nothing)

    one = Registry(engine, start)
    task = asyncio.create_task(one.enter(ONE))
    await advance(PATIENCE + 0.1)
    assert await task
    assert len(caplog.messages) == 1
    started.set()
    await advance(2 * RETRY_EVERY)
    await settled(engine, {"k": 1})
    await one.aclose()


async def test_a_backend_that_can_not_count(caplog: pytest.LogCaptureFixture) -> None:
    """Each process counts for itself then, which is logged, and an error of the checks."""
    one = Registry(Bus("", "p", {}), _nothing)
    assert [await one.enter(THREE) for _ in range(4)] == [True, True, True, False]
    one.leave(THREE)
    assert await one.enter(THREE)
    (line,) = caplog.messages
    assert "the backend of groups, Bus, can't count the connections of all processes" in line
    await one.aclose()
    assert leasing_problems(Bus("", "p", {})) == (
        "The backend of groups, Bus, can't count the connections of all processes. Name another "
        "BACKEND in WSCONSUMER['GROUPS'].",
    )
    assert leasing_problems(Engine()) == ()


# Whoever does not wait


async def test_who_comes_and_goes_at_once() -> None:
    """A handshake that is cancelled while the engine thinks leaves no count behind."""
    async with joined() as (one, engine):
        assert await one.enter(THREE)
        engine.open.clear()
        task = asyncio.create_task(one.enter(THREE))
        await until(lambda: len(engine.asked) == 2)
        task.cancel()
        await asyncio.wait([task])
        assert total() == 2
        engine.open.set()
        await settled(engine, {"k": 1})
        assert one.count("k") == 1


async def test_who_goes_with_the_answer_on_its_way() -> None:
    """So does one that is cancelled when the answer is there already."""
    async with joined() as (one, engine):
        assert await one.enter(THREE)
        engine.open.clear()
        task = asyncio.create_task(one.enter(THREE))
        await until(lambda: len(engine.asked) == 2)
        engine.open.set()
        await until(lambda: one.count("k") == 2)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        await settled(engine, {"k": 1})
        assert one.count("k") == 1


# Leases


async def test_an_engine_that_lost_everything(caplog: pytest.LogCaptureFixture) -> None:
    """At the next beat the process begins anew, and writes what it has."""
    async with joined() as (one, engine):
        assert await one.enter(THREE)
        (before,) = leases.counted(PREFIX, ["k"])["k"]
        leases.clear(PREFIX)
        await advance(BEAT_EVERY)
        await settled(engine, {"k": 1})
        (after,) = leases.counted(PREFIX, ["k"])["k"]
        assert before != after
        (line,) = caplog.messages
        assert line.startswith(f"The engine behind the groups knew no more of process {before}, ")


async def test_a_lapse_that_is_noticed_before_a_beat(caplog: pytest.LogCaptureFixture) -> None:
    """Who comes is let in under the new name, behind what the process had before."""
    async with joined() as (one, _):
        assert await one.enter(THREE)
        leases.clear(PREFIX)
        assert await asyncio.gather(*(one.enter(THREE) for _ in range(3))) == [True, True, False]
        assert (total(), one.count("k"), len(caplog.messages)) == (3, 3, 1)
        assert counters["count_failed"] == 0


async def test_a_lapse_and_then_an_outage() -> None:
    """If the engine goes away just then, all is written when it is back."""
    async with joined() as (one, engine):
        assert await one.enter(THREE)
        leases.clear(PREFIX)
        engine.error = BackendError("The engine is away.")
        assert await one.enter(THREE)
        engine.error = None
        await advance(2 * RETRY_EVERY)
        await settled(engine, {"k": 2})


async def test_processes_that_end_without_a_word(caplog: pytest.LogCaptureFixture) -> None:
    """The log names each once."""
    caplog.set_level(logging.INFO, "wsconsumer.groups")
    async with joined() as (one, _):
        await one.enter(ONE)
        leases.begin(PREFIX, "web-1:7:ab\n/1", 0, asyncio.get_running_loop())
        await advance(3 * BEAT_EVERY)
        assert caplog.messages == [r"The process web-1:7:ab\n/1 ended without a word."]


async def test_an_end_in_good_order() -> None:
    """What was counted is gone at once, and who comes later is let in by the counts here."""
    async with joined() as (one, _), joined() as (two, _):
        assert await one.enter(ONE)
        assert not await two.enter(ONE)
        await one.aclose()
        assert await two.enter(ONE)
        one.leave(ONE)
        assert await one.enter(ONE)
        await one.aclose()


@pytest.mark.parametrize("how", ["away", "hangs", "known"])
async def test_an_end_while_the_engine_is_away(how: str) -> None:
    """It does not wait for long, and raises nothing."""
    async with joined() as (one, engine):
        assert await one.enter(THREE)
        if how == "hangs":
            engine.open.clear()
        else:
            engine.error = BackendError("The engine is away.")
        if how == "known":
            await one.enter(THREE)
        closing = asyncio.create_task(one.aclose())
        await advance(PATIENCE + 0.1)
        await closing
        assert total() == (1 if how != "known" else 2)


async def test_an_end_while_somebody_comes() -> None:
    """Who waits for the engine then is let in by the counts here."""
    async with joined() as (one, engine):
        assert await one.enter(THREE)
        engine.open.clear()
        task = asyncio.create_task(one.enter(THREE))
        await until(lambda: len(engine.asked) == 2)
        engine.open.set()
        await one.aclose()
        assert await task


def test_beats_keep_a_lease() -> None:
    """A lease survives a beat that was missed, and whoever is told to come back finds it lapsed."""
    assert 2 * BEAT_EVERY < registries.LEASE <= COME_BACK_AFTER
