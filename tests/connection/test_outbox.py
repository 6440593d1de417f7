"""``connection/outbox.py``: what waits is bounded, in order, and never lost in silence."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import Any

import pytest

from wsconsumer import WebsocketConsumer
from wsconsumer.connection.outbox import OVERHEAD, Outbox, finish
from wsconsumer.counters import counters
from wsconsumer.test import advance


class Sink:
    """Takes items, one by one, as the test lets it."""

    def __init__(self, policy: str = "close", limit: int = 1000, timeout: float = 30) -> None:
        self.taken: list[Any] = []
        self.told: list[Any] = []
        self.gate = asyncio.Event()
        self.idle = asyncio.Event()
        self.fail_on: Any = None
        consumer = WebsocketConsumer(outbox_limit=limit, outbox_policy=policy, send_timeout=timeout)
        self.outbox = Outbox(
            "Chat",
            self.take,
            consumer,
            on_full=lambda: self.told.append("full"),
            on_drop=lambda group: None,
            on_error=self.told.append,
            on_idle=self.idle.set,
        )

    async def take(self, item: Any) -> None:
        await self.gate.wait()
        if item == self.fail_on:
            raise OSError(f"no {item}")
        self.taken.append(item)

    async def until_idle(self) -> None:
        async with asyncio.timeout(5):
            await self.idle.wait()


SIZE = 1000 // 4 - OVERHEAD
"""Four messages of this size are as much as the outbox takes."""


async def test_what_waits_is_sent_in_order() -> None:
    """Items go to the sink one after the other; a task exists only while something waits."""
    sink = Sink()
    before = len(asyncio.all_tasks())
    assert not sink.outbox.is_busy
    for item in "abc":
        sink.outbox.put(item, 1)
    assert len(asyncio.all_tasks()) == before + 1
    assert sink.outbox.is_busy
    sink.gate.set()
    await sink.until_idle()
    assert sink.taken == ["a", "b", "c"]
    assert (len(asyncio.all_tasks()), sink.outbox.size, sink.outbox.is_busy) == (before, 0, False)


async def test_a_full_outbox_tells_to_close() -> None:
    """Under the policy "close" the message that has no room tells so, and changes nothing."""
    sink = Sink("close")
    for item in "abcd":
        sink.outbox.put(item, SIZE)
    assert (sink.told, sink.outbox.size) == ([], 1000)
    sink.outbox.put("e", 0)
    assert (sink.told, sink.outbox.size) == (["full"], 1000)
    await sink.outbox.stop(RuntimeError())


@pytest.mark.parametrize(("policy", "kept"), [("drop_oldest", "acde"), ("drop_newest", "abcd")])
async def test_a_full_outbox_drops(
    policy: str, kept: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The oldest or the newest goes, counted each time, logged once, with a sum at the end."""
    caplog.set_level(logging.INFO, "wsconsumer")
    sink = Sink(policy)
    before = counters["outbox_dropped"]
    sink.outbox.put("a", SIZE)
    await asyncio.sleep(0)  # "a" is being sent, so it can't be dropped any more
    for item in "bcde":
        sink.outbox.put(item, SIZE)
    sink.outbox.put("too big for any outbox", 5000)
    assert sink.outbox.size == 1000
    sink.gate.set()
    await sink.until_idle()
    assert sink.taken == list(kept)
    await sink.outbox.stop(RuntimeError())
    assert counters["outbox_dropped"] == before + 2
    assert [record.getMessage() for record in caplog.records] == [
        "Chat: broadcasts to a slow client are dropped. At the end, the log says how many.",
        "Chat: broadcasts dropped in all: 2.",
    ]


async def test_what_nothing_waits_before_is_never_too_big() -> None:
    """The bound is for what waits: a big message alone goes its way."""
    sink = Sink("drop_newest")
    sink.outbox.put("big", 5000)
    sink.gate.set()
    await sink.until_idle()
    assert sink.taken == ["big"]


async def test_who_waits_is_told_when_it_is_sent() -> None:
    """``put_and_wait`` takes its turn, whatever the limit; ``None`` only waits for its turn."""
    sink = Sink("drop_oldest")
    sink.outbox.put("a", SIZE)
    await asyncio.sleep(0)
    first = sink.outbox.put_and_wait("b")
    for item in "cdef":
        sink.outbox.put(item, SIZE)  # drops "c", not "b", somebody waits for that
    last = sink.outbox.put_and_wait(None)
    assert not first.done()
    sink.gate.set()
    await first
    assert sink.taken[:2] == ["a", "b"]
    await last
    assert sink.taken == ["a", "b", "d", "e", "f"]


async def test_nothing_to_drop() -> None:
    """Where all that waits is waited for, the new message goes, whichever policy."""
    sink = Sink("drop_oldest")
    sink.outbox.put("a", SIZE * 4 + 3 * OVERHEAD)
    await asyncio.sleep(0)
    waiter = sink.outbox.put_and_wait("b")
    sink.outbox.put("c", SIZE)
    sink.gate.set()
    await waiter
    await sink.until_idle()
    assert sink.taken == ["a", "b"]


async def test_who_gives_up_waiting_is_passed_over() -> None:
    """A cancelled waiter's item is not sent; one that is being sent is no trouble."""
    sink = Sink()
    being_sent, waiting = sink.outbox.put_and_wait("a"), sink.outbox.put_and_wait("b")
    sink.outbox.put("c", 1)
    await asyncio.sleep(0)
    being_sent.cancel()
    waiting.cancel()
    sink.gate.set()
    await sink.until_idle()
    assert sink.taken == ["a", "c"]


async def test_errors_go_to_whom_they_concern() -> None:
    """A failed broadcast is told by ``on_error``, a failed message to who waits for it."""
    sink = Sink()
    sink.fail_on = "b"
    sink.gate.set()
    sink.outbox.put("b", 1)
    await sink.until_idle()
    (error,) = sink.told
    assert str(error) == "no b"
    with pytest.raises(OSError, match="no b"):
        await sink.outbox.put_and_wait("b")
    cancelled = sink.outbox.put_and_wait("b")
    sink.gate.clear()
    await asyncio.sleep(0)
    cancelled.cancel()
    sink.gate.set()
    await sink.until_idle()
    assert len(sink.told) == 1


async def test_what_is_held_waits_for_the_release() -> None:
    """Before the connection is accepted nothing is sent, and too much is dropped, not closed."""
    sink = Sink("close")
    sink.gate.set()
    sink.outbox.is_held = True
    sink.outbox.release()
    sink.outbox.is_held = True
    for item in "abcde":
        sink.outbox.put(item, SIZE)
    await advance(1)
    assert (sink.taken, sink.told, sink.outbox.dropped) == ([], [], 1)
    sink.outbox.release()
    await sink.until_idle()
    assert sink.taken == ["a", "b", "c", "d"]


async def test_clear_counts_what_is_lost(caplog: pytest.LogCaptureFixture) -> None:
    """What is thrown away is counted and logged; who waits gets the error."""
    caplog.set_level(logging.INFO, "wsconsumer")
    sink = Sink()
    before = counters["outbox_dropped"]
    sink.outbox.put("a", 1)
    sink.outbox.put("b", 1)
    waiter = sink.outbox.put_and_wait("c")
    sink.outbox.clear(ConnectionError("closed"))
    with pytest.raises(ConnectionError, match="closed"):
        await waiter
    sink.outbox.clear(ConnectionError("closed"))
    assert counters["outbox_dropped"] == before + 2
    assert caplog.messages == ["Chat is closing. Broadcasts not sent: 2."]


async def test_stop_breaks_off(caplog: pytest.LogCaptureFixture) -> None:
    """What is being sent is broken off, and who waits for it gets the error."""
    sink = Sink()
    waiter = sink.outbox.put_and_wait("a")
    await asyncio.sleep(0)
    await sink.outbox.stop(ConnectionError("closed"))
    with pytest.raises(ConnectionError, match="closed"):
        await waiter
    assert sink.taken == []


async def test_a_loop_that_ends_cancels_who_waits() -> None:
    """A task that is cancelled by others leaves nobody waiting."""
    sink = Sink()
    waiter = sink.outbox.put_and_wait("a")
    await asyncio.sleep(0)
    (task,) = asyncio.all_tasks() - {asyncio.current_task()}
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiter


async def test_it_is_stuck_when_one_message_takes_too_long() -> None:
    """Each message has ``send_timeout`` seconds, from the first look at it."""
    sink = Sink(timeout=10)
    assert not sink.outbox.is_stuck(0)
    sink.outbox.put("a", 1)
    assert not sink.outbox.is_stuck(100)
    assert not sink.outbox.is_stuck(110)
    assert sink.outbox.is_stuck(111)
    waiter = sink.outbox.put_and_wait("b")
    sink.gate.set()
    await waiter
    sink.gate.clear()
    sink.outbox.put("c", 1)
    assert not sink.outbox.is_stuck(112)
    await sink.outbox.stop(RuntimeError())


class Steps:
    """A coroutine in steps: waits for two futures, one after the other."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.first: asyncio.Future[str] = loop.create_future()
        self.second: asyncio.Future[str] = loop.create_future()
        self.seen: list[Any] = []

    async def run(self) -> None:
        for future in (self.first, self.second):
            try:
                self.seen.append(await future)
            except ValueError as error:
                self.seen.append(str(error))
        await asyncio.sleep(0)


async def test_finish_goes_on_where_the_hand_stopped() -> None:
    """A coroutine begun by hand gets results and errors as if a task had run it all along."""
    steps = Steps()
    coroutine = steps.run()
    task = asyncio.ensure_future(asyncio.wait_for(finish(coroutine, coroutine.send(None)), 5))
    steps.first.set_exception(ValueError("one"))
    steps.second.set_result("two")
    await task
    assert steps.seen == ["one", "two"]


async def test_finish_may_be_cancelled() -> None:
    """A cancellation gets to the coroutine."""
    steps = Steps()
    coroutine = steps.run()
    waits_for = coroutine.send(None)

    async def rest() -> None:
        await finish(coroutine, waits_for)

    task = asyncio.create_task(rest())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert steps.first.cancelled()


async def test_a_task_that_never_began(caplog: pytest.LogCaptureFixture) -> None:
    """One that is stopped before its task has begun leaves nothing behind."""
    sink = Sink()
    sink.outbox.put("a", 1)
    await sink.outbox.stop(ConnectionError())
    assert sink.taken == caplog.messages == []


async def test_a_sink_that_does_not_end(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """One that swallows its cancellation is named, and left behind."""
    monkeypatch.setattr("wsconsumer.connection.outbox.CANCEL_TIMEOUT", 0)
    begun, gate = asyncio.Event(), asyncio.Event()

    class Stubborn(Sink):
        async def take(self, item: Any) -> None:
            begun.set()
            while not gate.is_set():
                with suppress(asyncio.CancelledError):
                    await gate.wait()

    sink = Stubborn()
    sink.outbox.put("a", 1)
    await begun.wait()
    await sink.outbox.stop(ConnectionError())
    (text,) = caplog.messages
    assert text.startswith("Chat: group_message() did not end within 0 seconds")
    gate.set()
