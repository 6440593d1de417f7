"""``batching.py`` and ``options.py``: what both engines share."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from django.core.exceptions import ImproperlyConfigured

from wsconsumer.groups.batching import Batcher, Pipeline, Waiting, answering, not_accepted
from wsconsumer.groups.options import SECONDS, check_options

if TYPE_CHECKING:
    from collections.abc import Sequence


class Engine:
    """Notes each batch, and answers when it is told to."""

    def __init__(self, max_bytes: int = 10, timeout: float = 5) -> None:
        self.batches: list[list[str]] = []
        self.answer = asyncio.Event()
        self.error: Exception | None = None
        self.batcher = Batcher(self.send, max_bytes=max_bytes, timeout=timeout)

    async def send(self, batch: Sequence[Waiting[str]]) -> None:
        self.batches.append([waiting.item for waiting in batch])
        await self.answer.wait()
        if self.error is not None:
            raise self.error

    def publish(self, *items: str) -> list[asyncio.Task[None]]:
        return [asyncio.create_task(self.batcher.publish(item, len(item))) for item in items]


async def results(tasks: list[asyncio.Task[None]]) -> list[Any]:
    return await asyncio.gather(*tasks, return_exceptions=True)


async def turns() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_what_waits_goes_together() -> None:
    """The first goes at once; what comes meanwhile is the next batch, in order, up to its size."""
    engine = Engine()
    tasks = engine.publish("a")
    await turns()
    tasks += engine.publish("b", "c" * 9, "d", "e")
    engine.answer.set()
    assert await results(tasks) == [None] * 5
    assert engine.batches == [["a"], ["b", "c" * 9], ["d", "e"]]


async def test_a_failure_is_everybodys() -> None:
    """A batch that fails takes along what waits, and the next publish begins anew."""
    engine = Engine()
    engine.error = ConnectionError("gone")
    tasks = engine.publish("a")
    await turns()
    tasks += engine.publish("b")
    await turns()
    engine.answer.set()
    assert await results(tasks) == [engine.error] * 2
    engine.error = None
    assert await results(engine.publish("c")) == [None]
    assert engine.batches == [["a"], ["c"]]


async def test_one_item_may_fail() -> None:
    """The engine may refuse one of a batch; its neighbors are taken."""

    async def send(batch: Sequence[Waiting[str]]) -> None:
        for waiting in batch:
            if waiting.item == "bad":
                waiting.fail(ValueError("bad"))

    batcher = Batcher(send, max_bytes=100, timeout=5)
    tasks = [asyncio.create_task(batcher.publish(item, 1)) for item in ("a", "bad", "c")]
    first, second, third = await results(tasks)
    assert (first, str(second), third) == (None, "bad", None)


async def test_a_publisher_that_is_cancelled() -> None:
    """It is not published if it still waits, and nobody else notices."""
    engine = Engine()
    tasks = engine.publish("a")
    await turns()
    tasks += engine.publish("b", "c")
    await turns()
    tasks[0].cancel()
    tasks[1].cancel()
    await turns()
    engine.answer.set()
    assert await tasks[2] is None  # type: ignore[func-returns-value]  # it returns at all
    assert engine.batches == [["a"], ["c"]]


async def test_the_time_is_bounded() -> None:
    """An engine that does not answer fails what waits for it, in words."""
    engine = Engine(timeout=0)
    (error,) = await results(engine.publish("a"))
    assert (type(error), str(error)) == (TimeoutError, "no answer within 0.0 seconds")


async def test_the_end() -> None:
    """What is under way fails, and so does what comes later."""
    engine = Engine()
    await engine.batcher.aclose()
    engine = Engine()
    tasks = engine.publish("a")
    await turns()
    await engine.batcher.aclose()
    tasks += engine.publish("b")
    assert [str(error) for error in await results(tasks)] == [
        "the backend was closed",
        "the backend is closed",
    ]


async def test_a_pipeline_does_not_wait_for_answers() -> None:
    """The next batch is sent before the last is answered; what gathers meanwhile goes together."""
    sent: list[list[str]] = []
    flying: list[Waiting[str]] = []

    async def send(batch: Sequence[Waiting[str]]) -> None:
        sent.append([waiting.item for waiting in batch])
        flying.extend(batch)
        if len(flying) == 4:
            for waiting in flying:
                waiting.succeed(waiting.item.upper())

    pipeline = Pipeline(send, max_bytes=100, timeout=5)
    tasks = [asyncio.create_task(pipeline.publish("a", 1))]
    await turns()
    tasks += [asyncio.create_task(pipeline.publish(item, 1)) for item in ("b", "c", "d")]
    assert await results(tasks) == ["A", "B", "C", "D"]
    assert sent == [["a"], ["b", "c", "d"]]


async def test_a_limit_without_seconds() -> None:
    """It may be set later."""

    async def hang() -> None:
        async with answering(None) as limit:
            limit.reschedule(0)
            await asyncio.get_running_loop().create_future()

    with pytest.raises(TimeoutError, match="no answer in time"):
        await hang()


def test_the_error_says_what_to_do() -> None:
    """It names the engine, the group and the reason."""
    error = not_accepted("Redis at h:1", "news", ValueError("no."))
    assert str(error).startswith(
        "Redis at h:1 did not accept a broadcast to 'news': ValueError: no. It may not have"
    )


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"A": 1}, None),
        ({"A": 0.5, "B": "x"}, None),
        ({"C": 1}, "has 'C', which the X backend does not know. There are A, B."),
        ({"A": True}, "['A'] expects a number of seconds above 0, got True."),
        ({"A": 0}, "['A'] expects a number of seconds above 0, got 0."),
        ({"B": 5}, "['B'] expects str, got int."),
    ],
    ids=str,
)
def test_options(options: dict[str, Any], text: str | None) -> None:
    """An unknown name or a wrong value is told; what may be a password is not repeated."""
    known: dict[str, Any] = {"A": SECONDS, "B": str}
    if text is None:
        check_options("X", options, known)
        return
    with pytest.raises(ImproperlyConfigured) as caught:
        check_options("X", options, known)
    assert str(caught.value).endswith(text)
