"""``groups/hub.py``: who gets what, in which order, and what the backend is asked to carry."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Any

import pytest
from django.test import override_settings

from tests.fakes import until
from wsconsumer import TooManyGroups, WebsocketConsumer, abroadcast
from wsconsumer.counters import counters
from wsconsumer.groups.base import Backend, Deliver
from wsconsumer.groups.envelope import encode
from wsconsumer.groups.hub import BACKLOG, CHUNK, close_hub, hub, started_hub
from wsconsumer.groups.memory import MemoryBackend
from wsconsumer.test import connect

if TYPE_CHECKING:
    from collections.abc import Sequence


class Recorder:
    """Stands where a member stands: takes what is delivered."""

    def __init__(self) -> None:
        self.got: list[Any] = []
        self.groups: dict[str, None] = {}
        self.token = b""
        self.connection = self

    owner = "Recorder"

    def check_joinable(self) -> None: ...

    def deliver(self, broadcast: Any) -> None:
        self.got.append(broadcast.data)


async def join(member: Recorder, group: str = "g", limit: int = 100) -> None:
    await hub().join(member, group, limit)  # type: ignore[arg-type]


async def leave(member: Recorder, group: str = "g") -> None:
    await hub().leave(member, group)  # type: ignore[arg-type]


async def test_only_members_get_it() -> None:
    """A broadcast goes to the members of its group, to each once."""
    members = [Recorder() for _ in range(3)]
    for member in members:
        await join(member)
    await join(members[0], "other")
    await abroadcast("g", "one")
    await abroadcast("other", "two")
    await abroadcast("nobody's", "three")
    assert [member.got for member in members] == [["one", "two"], ["one"], ["one"]]


async def test_joining_twice_is_joining_once() -> None:
    """Joins are not counted: one ``leave`` ends what two joins began, and is harmless again."""
    member = Recorder()
    await join(member)
    await join(member)
    await abroadcast("g", "one")
    await leave(member)
    await leave(member)
    await abroadcast("g", "two")
    assert member.got == ["one"]


async def test_max_groups() -> None:
    """The join that is one too many raises, and changes nothing."""
    member = Recorder()
    await join(member, "a", 2)
    await join(member, "b", 2)
    await join(member, "b", 2)
    with pytest.raises(TooManyGroups, match=r"Recorder\.join\('c'\) is one too many.* allows 2\."):
        await join(member, "c", 2)
    assert list(member.groups) == ["a", "b"]
    await leave(member, "a")
    await join(member, "c", 2)


async def test_a_large_fan_out_yields() -> None:
    """Others get a turn before the last member is reached, and nobody is missed."""
    members = [Recorder() for _ in range(CHUNK * 3)]
    for member in members:
        await join(member)
    await abroadcast("g", "one")
    reached = [sum(len(member.got) for member in members)]
    while not members[-1].got:
        await asyncio.sleep(0)
        reached.append(sum(len(member.got) for member in members))
    assert reached == [0, CHUNK, CHUNK * 2, CHUNK * 3]
    assert all(member.got == ["one"] for member in members)


async def test_a_busy_publisher_yields() -> None:
    """Broadcasts without end to a small group let others have a turn."""
    member = Recorder()
    await join(member)
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(others())
    for number in range(CHUNK * 10):
        await abroadcast("g", number)
    task.cancel()
    assert turns >= 9
    assert member.got == list(range(CHUNK * 10))


async def test_what_waits_goes_together() -> None:
    """Broadcasts that wait for the same members reach each of them in order, all at once."""
    order: list[tuple[int, Any]] = []

    class Noting(Recorder):
        def __init__(self, number: int) -> None:
            super().__init__()
            self.number = number

        def deliver(self, broadcast: Any) -> None:
            order.append((self.number, broadcast.data))

    for number in range(CHUNK + 1):
        await join(Noting(number))
    await asyncio.gather(*(abroadcast("g", word) for word in "abc"))
    await until(lambda: len(order) == 3 * (CHUNK + 1))
    assert order == [(number, word) for number in range(CHUNK + 1) for word in "abc"]


async def test_who_joins_or_leaves_while_a_fan_out_goes_on() -> None:
    """Who was in gets it, though it leaves; who joins later does not; ``leave`` waits for it."""
    members = [Recorder() for _ in range(CHUNK * 2)]
    for member in members:
        await join(member)
    await abroadcast("g", "one")
    leaver, joiner = members[-1], Recorder()
    await join(joiner)
    await abroadcast("g", "two")
    assert leaver.got == []
    await leave(leaver)
    assert leaver.got == ["one", "two"]
    await abroadcast("g", "three")
    await until(lambda: len(joiner.got) == 2)
    assert (leaver.got, joiner.got) == (["one", "two"], ["two", "three"])


async def test_a_group_that_empties_while_a_fan_out_goes_on() -> None:
    """What is on its way ends well, and the group is gone then."""
    members = [Recorder() for _ in range(CHUNK * 2)]
    for member in members:
        await join(member)
    await abroadcast("g", "one")
    for member in members:
        hub().drop(member)  # type: ignore[arg-type]
    await until(lambda: members[-1].got)
    assert all(member.got == ["one"] for member in members)
    late = Recorder()
    await join(late)
    await abroadcast("g", "two")
    assert late.got == ["two"]


async def test_publishers_wait_when_much_is_on_its_way() -> None:
    """A publisher is held up by a backlog; if it gives up, the members are not cut off."""
    members = [Recorder() for _ in range(CHUNK * 2)]
    for member in members:
        await join(member)
    for number in range(BACKLOG):
        await abroadcast("g", number)
    assert members[0].got == []
    publisher = asyncio.create_task(abroadcast("g", BACKLOG))
    await asyncio.sleep(0)
    assert not publisher.done()
    publisher.cancel()
    with pytest.raises(asyncio.CancelledError):
        await publisher
    await until(lambda: len(members[-1].got) == BACKLOG + 1)
    assert all(member.got == list(range(BACKLOG + 1)) for member in members)


async def test_many_at_once() -> None:
    """More broadcasts at once than deliveries in a turn, in order all the same."""
    members = [Recorder() for _ in range(3)]
    for member in members:
        await join(member)
    count = CHUNK * 2 + 5
    await asyncio.gather(*(abroadcast("g", number) for number in range(count)))
    await until(lambda: len(members[-1].got) == count)
    assert all(member.got == list(range(count)) for member in members)


class Crowd:
    """50 members that come and go at random, and what each of them should get."""

    total = 10_000

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)  # noqa: S311  # repeatable, not secret
        self.members = [Recorder() for _ in range(50)]
        self.expected: dict[Recorder, list[int]] = {member: [] for member in self.members}
        self.sent = 0

    async def turns(self, most: int) -> None:
        for _ in range(self.random.randrange(most)):
            await asyncio.sleep(0)

    async def come_and_go(self, member: Recorder) -> None:
        while self.sent < self.total:
            await join(member)
            await self.turns(20)
            await leave(member)
            assert member.got[-1:] == self.expected[member][-1:]
            await self.turns(5)

    async def publish(self) -> None:
        while self.sent < self.total:
            number = self.sent
            for member in self.members:
                if "g" in member.groups:
                    self.expected[member].append(number)
            self.sent += 1
            await abroadcast("g", number)
            await self.turns(2)


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_no_loss_and_order(seed: int) -> None:
    """10,000 messages, 50 members that come and go: each gets exactly what was sent while in."""
    crowd = Crowd(seed)
    await join(Recorder(), "another")  # starts the backend
    await asyncio.gather(crowd.publish(), *map(crowd.come_and_go, crowd.members))
    await until(lambda: not any(member.groups for member in crowd.members))
    assert all(member.got == crowd.expected[member] for member in crowd.members)
    assert sum(len(member.got) for member in crowd.members) > 10 * crowd.total


class Chat(WebsocketConsumer):
    async def connect(self) -> None:
        await self.join("room")

    async def receive(self, data: str | bytes) -> None:
        await self.broadcast("room", data, include_self=False)
        await self.send("said")


async def test_include_self() -> None:
    """Without ``include_self`` every other member gets it."""
    async with connect(Chat) as one, connect(Chat) as two, connect(Chat) as three:
        await one.send("hello")
        assert await one.receive() == "said"
        assert await two.receive() == await three.receive() == "hello"
        await two.send("hi")
        assert await two.receive() == "said"
        assert await one.receive() == await three.receive() == "hi"


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


@pytest.mark.parametrize("body", [b"", b"\x11", b"\x99\x00text", b"\x11\x05abc", b"\x11\x00\xff"])
async def test_what_is_no_body_is_refused(body: bytes, caplog: pytest.LogCaptureFixture) -> None:
    """What comes from the bus is untrusted: counted, logged, and nothing else happens."""
    member = Recorder()
    await join(member)
    before = counters["body_refused"]
    await hub().deliver("g", body)
    assert counters["body_refused"] == before + 1
    assert "Refused what came for the group 'g'" in caplog.text
    await hub().deliver("g", encode("fine"))
    assert member.got == ["fine"]


async def test_a_body_for_nobody() -> None:
    """What comes for a group that was left meanwhile is nobody's, and not even looked at."""
    before = counters["body_refused"]
    await hub().deliver("g", b"")
    assert counters["body_refused"] == before


async def test_each_loop_has_its_own() -> None:
    """A hub belongs to its event loop; that of a closed loop is forgotten."""
    hubs = [await asyncio.to_thread(asyncio.run, get_hub()) for _ in range(3)]
    mine = hub()
    assert len({*hubs, mine}) == 4
    assert hub() is mine


async def get_hub() -> Any:
    return hub()


def test_memory_needs_no_subscriptions() -> None:
    """The hub asks the memory backend for none."""
    assert not MemoryBackend.needs_subscriptions
