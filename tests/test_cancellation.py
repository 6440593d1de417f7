"""``cancellation.py``: whose cancellation it is, as a table."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from wsconsumer.cancellation import (
    Cancellations,
    Cause,
    consists_of,
    contains,
    is_cancelled,
    is_current,
)

OURS = Cause.CLIENT_LEFT


@pytest.mark.parametrize(
    ("ours", "servers", "cause"),
    [
        (0, 0, Cause.STRAY),
        (1, 0, OURS),
        (2, 0, OURS),
        (0, 1, Cause.SERVER),
        (1, 1, Cause.SERVER),
        (2, 2, Cause.SERVER),
    ],
    ids=["nobody", "ours", "ours-twice", "the-servers", "both", "both-twice"],
)
async def test_whose_it_is(ours: int, servers: int, cause: Cause) -> None:
    """The server takes precedence, and only what we asked for ourselves is taken back."""
    judged: list[Any] = []
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def work() -> None:
        try:
            await future
        except asyncio.CancelledError as error:
            judged.append(cancellations.judge(error))
            judged.append(task.cancelling())

    task = asyncio.create_task(work())
    cancellations = Cancellations(task)
    await asyncio.sleep(0)
    for _ in range(ours):
        cancellations.request(OURS)
    for _ in range(servers):
        task.cancel()
    if not (ours or servers):
        future.cancel()
    await asyncio.wait([task])
    assert judged == [cause, servers]


async def test_in_another_task() -> None:
    """What a spawned task raises is judged by its own cancellation, and takes back none of ours."""
    judged: list[Any] = []

    async def spawned() -> None:
        judged.append(cancellations.judge(ValueError()))

    async def serve() -> None:
        await asyncio.create_task(spawned())
        judged.append(cancellations.take_back())

    task = asyncio.create_task(serve())
    cancellations = Cancellations(task)
    await asyncio.wait([task])
    assert judged == [Cause.STRAY, None]


async def test_a_task_that_has_ended() -> None:
    """Once it was let go of, it is cancelled no more."""
    task = asyncio.current_task()
    assert task is not None
    cancellations = Cancellations(task)
    cancellations.request(OURS)
    task.uncancel()
    cancellations.release()
    assert cancellations.take_back() is OURS
    cancellations.request(OURS)
    assert cancellations.take_back() is None
    assert task.cancelling() == 0
    await Cancellations(task).absorb()  # older Pythons still have the one above on its way


async def test_what_is_still_on_its_way_is_absorbed() -> None:
    """A cancellation that nobody asks for any more is swallowed; the server's is not."""
    log: list[str] = []

    async def work(is_servers: bool) -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        if not is_servers:
            task.uncancel()
        try:
            await Cancellations(task).absorb()
        except asyncio.CancelledError:
            log.append("cancelled")
        else:
            log.append("absorbed")

    for is_servers in (False, True):
        await asyncio.wait([asyncio.create_task(work(is_servers))])
    assert log == ["absorbed", "cancelled"]


async def test_which_task_runs() -> None:
    """A task is current while it runs; where no loop runs, none is."""
    task = asyncio.current_task()
    assert task is not None
    assert is_current(id(task))
    assert not is_cancelled()
    cancellations = Cancellations(task)
    for other in (None, id(task)):
        assert not cancellations.is_abandoned(GeneratorExit(), other)
        assert await asyncio.to_thread(cancellations.is_abandoned, GeneratorExit(), other)
        assert not await asyncio.to_thread(cancellations.is_abandoned, ValueError(), other)
    assert not await asyncio.to_thread(is_current, id(task))


@pytest.mark.parametrize(
    ("error", "all_of_it", "some_of_it"),
    [
        (ValueError(), True, True),
        (KeyError(), False, False),
        (ExceptionGroup("", [ValueError(), ExceptionGroup("", [ValueError()])]), True, True),
        (ExceptionGroup("", [ValueError(), KeyError()]), False, True),
        (ExceptionGroup("", [KeyError()]), False, False),
    ],
    ids=["alone", "other", "nested", "mixed", "group-of-others"],
)
def test_groups(error: BaseException, all_of_it: bool, some_of_it: bool) -> None:
    """An exception group is judged by its members."""
    assert consists_of(error, ValueError) is all_of_it
    assert contains(error, ValueError) is some_of_it
