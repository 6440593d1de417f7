"""``groups/subscriptions.py``: what the backend is asked to carry, and when."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from django.test import override_settings

from tests.fakes import until
from tests.groups.recorder import Recorder, join, leave
from wsconsumer import abroadcast
from wsconsumer.groups.base import Backend, Deliver
from wsconsumer.groups.hub import close_hub, hub, started_hub

if TYPE_CHECKING:
    from collections.abc import Sequence


class Bus(Backend):
    """Notes what it is asked for; the test lets it go on."""

    made: list[Bus] = []  # noqa: RUF012  # the test reads it

    def __init__(self, location: str, prefix: str, options: Any) -> None:
        super().__init__(location, prefix, options)
        self.calls: list[tuple[str, ...]] = []
        self.let = asyncio.Event()
        self.let.set()
        self.error: Exception | None = None
        self.made.append(self)

    async def _note(self, *call: str) -> None:
        self.calls.append(call)
        await self.let.wait()
        if self.error is not None:
            raise self.error

    async def start(self, deliver: Deliver) -> None:
        await self._note("start")
        self.deliver = deliver

    async def subscribe(self, groups: Sequence[str]) -> None:
        await self._note("subscribe", *groups)

    async def unsubscribe(self, groups: Sequence[str]) -> None:
        await self._note("unsubscribe", *groups)

    async def publish(self, group: str, body: bytes) -> None:
        await self._note("publish", group)
        await self.deliver(group, body)

    def publish_sync(self, group: str, body: bytes) -> None:
        self.calls.append(("publish_sync", group))

    async def aclose(self) -> None:
        await self._note("aclose")


@pytest.fixture
async def bus() -> Any:
    """The hub of this loop with a backend that tells what it is asked for."""
    path = f"{__name__}.Bus"
    with override_settings(WSCONSUMER={"GROUPS": {"BACKEND": path}}):
        hub()
    bus = Bus.made.pop()
    yield bus
    bus.error = None
    bus.let.set()
    await close_hub()


async def test_one_subscription_per_group(bus: Bus) -> None:
    """The first member of a group subscribes to it, the last one ends that."""
    one, two = Recorder(), Recorder()
    await join(one)
    await join(two)
    await leave(one)
    assert bus.calls == [("start",), ("subscribe", "g")]
    await leave(two)
    await join(one, "other")
    assert bus.calls[2:] == [("subscribe", "other"), ("unsubscribe", "g")]


async def test_subscriptions_are_batched(bus: Bus) -> None:
    """What is asked while the backend is busy becomes one call; each join waits for its own."""
    bus.let.clear()
    first = asyncio.create_task(join(Recorder(), "0"))
    await asyncio.sleep(0)
    others = [asyncio.create_task(join(Recorder(), f"{number}")) for number in range(1, 100)]
    again = asyncio.create_task(join(Recorder(), "0"))
    await asyncio.sleep(0)
    assert not first.done()
    bus.let.set()
    await asyncio.gather(first, again, *others)
    assert [call[0] for call in bus.calls] == ["start", "subscribe", "subscribe"]
    assert bus.calls[2][1:] == tuple(f"{number}" for number in range(1, 100))


async def test_a_member_that_comes_back_in_time(bus: Bus) -> None:
    """A group that is left and joined in one turn stays subscribed."""
    one, two = Recorder(), Recorder()
    await join(one)
    await leave(one)
    await join(two)
    await join(two, "other")
    assert bus.calls == [("start",), ("subscribe", "g"), ("subscribe", "other")]


async def test_a_member_that_comes_back_too_late(bus: Bus) -> None:
    """A group that is joined while its end is under way is subscribed anew, before join ends."""
    one = Recorder()
    await join(one)
    bus.let.clear()
    await leave(one)
    await until(lambda: bus.calls[-1][0] == "unsubscribe")
    joining = asyncio.create_task(join(one))
    await asyncio.sleep(0)
    assert not joining.done()
    bus.let.set()
    await joining
    assert bus.calls[1:] == [("subscribe", "g"), ("unsubscribe", "g"), ("subscribe", "g")]


async def test_a_member_that_comes_back_while_others_join(bus: Bus) -> None:
    """A group that is left, and joined again before its turn has come, stays subscribed."""
    one, two = Recorder(), Recorder()
    await join(one, "a")
    bus.let.clear()
    joining = asyncio.create_task(join(two, "b"))
    await leave(one, "a")
    await until(lambda: bus.calls[-1] == ("subscribe", "b"))
    again = asyncio.create_task(join(one, "a"))
    await asyncio.sleep(0)
    bus.let.set()
    await asyncio.gather(joining, again)
    assert ("unsubscribe", "a") not in bus.calls or bus.calls[-1] == ("subscribe", "a")


async def test_a_join_that_is_cancelled(bus: Bus) -> None:
    """It leaves no member and no subscription behind."""
    bus.let.clear()
    one = Recorder()
    joining = asyncio.create_task(join(one))
    await asyncio.sleep(0)
    joining.cancel()
    with pytest.raises(asyncio.CancelledError):
        await joining
    assert one.groups == {}
    bus.let.set()
    await join(one, "other")
    assert ("unsubscribe", "g") not in bus.calls or ("subscribe", "g") in bus.calls


async def test_joins_of_the_same_group_at_once(bus: Bus) -> None:
    """Both wait for the subscription; if the first is cancelled, the second still joins."""
    bus.let.clear()
    one = Recorder()
    first, second = asyncio.create_task(join(one)), asyncio.create_task(join(one))
    await until(lambda: bus.calls)
    assert not first.done()
    assert not second.done()
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    assert not second.done()
    bus.let.set()
    await second
    await abroadcast("g", "hello")
    assert one.got == ["hello"]
    assert bus.calls == [("start",), ("subscribe", "g"), ("publish", "g")]


async def test_a_leave_while_a_join_waits(bus: Bus) -> None:
    """Who leaves before it has joined is no member when the join returns."""
    bus.let.clear()
    one = Recorder()
    joining = asyncio.create_task(join(one))
    await until(lambda: bus.calls)
    await leave(one)
    bus.let.set()
    await joining
    assert one.groups == {}
    assert hub().size("g") == 0


async def test_a_connection_that_ends_while_it_joins(bus: Bus) -> None:
    """Membership that was dropped meanwhile is dropped once."""
    bus.let.clear()
    one = Recorder()
    joining = asyncio.create_task(join(one))
    await asyncio.sleep(0)
    hub().drop(one)  # type: ignore[arg-type]
    joining.cancel()
    with pytest.raises(asyncio.CancelledError):
        await joining


async def test_a_backend_that_fails(bus: Bus, caplog: pytest.LogCaptureFixture) -> None:
    """What it raises gets to those who wait, is logged, and the next join tries again."""
    bus.error = RuntimeError("deliberate")
    one, two = Recorder(), Recorder()
    joins = await asyncio.gather(join(one), join(two), return_exceptions=True)
    assert [str(error) for error in joins] == ["deliberate"] * 2
    assert "The backend of groups failed." in caplog.text
    bus.error = None
    await join(one)
    await abroadcast("g", "hello")
    assert one.got == ["hello"]


async def test_a_broadcast_starts_the_backend(bus: Bus) -> None:
    """A consumer may broadcast in a loop where nobody has joined."""
    await hub().publish("g", "hello")
    await hub().publish("g", "hello")
    assert bus.calls == [("start",), ("publish", "g"), ("publish", "g")]


async def test_abroadcast_opens_nothing_in_a_loop_of_no_websockets(bus: Bus) -> None:
    """Where nobody has joined or broadcast it goes by a thread, as ``broadcast()`` does."""
    with override_settings(WSCONSUMER={"GROUPS": {"BACKEND": f"{__name__}.Bus"}}):
        await abroadcast("g", "hello")
    assert bus.calls == []
    assert Bus.made.pop().calls == [("publish_sync", "g")]


async def test_the_end_of_the_hub(bus: Bus) -> None:
    """``close_hub()`` ends the backend once what is under way is done."""
    one = Recorder()
    await join(one)
    await leave(one)
    await close_hub()
    await close_hub()
    assert bus.calls == [("start",), ("subscribe", "g"), ("unsubscribe", "g"), ("aclose",)]
    assert started_hub() is None


async def test_a_hub_that_was_never_used(bus: Bus) -> None:
    """There is nothing to close."""
    await close_hub()
    assert bus.calls == []
