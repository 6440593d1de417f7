"""``groups/hub.py``: who gets what, and in which order."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from tests.fakes import until
from tests.groups.recorder import Recorder, join, leave
from wsconsumer import TooManyGroups, WebsocketConsumer, abroadcast
from wsconsumer.counters import counters
from wsconsumer.groups.budget import BACKLOG, DELIVERIES
from wsconsumer.groups.envelope import encode
from wsconsumer.groups.hub import hub
from wsconsumer.groups.memory import MemoryBackend
from wsconsumer.test import connect


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
    members = [Recorder() for _ in range(DELIVERIES * 3)]
    for member in members:
        await join(member)
    await abroadcast("g", "one")
    reached = [sum(len(member.got) for member in members)]
    while not members[-1].got:
        await asyncio.sleep(0)
        reached.append(sum(len(member.got) for member in members))
    assert reached == [0, DELIVERIES, DELIVERIES * 2, DELIVERIES * 3]
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
    for number in range(DELIVERIES * 10):
        await abroadcast("g", number)
    task.cancel()
    assert turns >= 9
    assert member.got == list(range(DELIVERIES * 10))


async def test_what_waits_goes_together() -> None:
    """Broadcasts that wait for the same members reach each of them in order, all at once."""
    order: list[tuple[int, Any]] = []

    class Noting(Recorder):
        def __init__(self, number: int) -> None:
            super().__init__()
            self.number = number

        def deliver(self, broadcast: Any) -> None:
            order.append((self.number, broadcast.data))

    for number in range(DELIVERIES + 1):
        await join(Noting(number))
    await asyncio.gather(*(abroadcast("g", word) for word in "abc"))
    await until(lambda: len(order) == 3 * (DELIVERIES + 1))
    assert order == [(number, word) for number in range(DELIVERIES + 1) for word in "abc"]


async def test_who_joins_or_leaves_while_a_fan_out_goes_on() -> None:
    """Who leaves before its turn gets nothing more, though it joins again; nor do late joiners."""
    members = [Recorder() for _ in range(DELIVERIES * 2)]
    for member in members:
        await join(member)
    await abroadcast("g", "one")
    leaver, joiner = members[-1], Recorder()
    await join(joiner)
    await abroadcast("g", "two")
    assert leaver.got == []
    await leave(leaver)
    await join(leaver)
    await abroadcast("g", "three")
    await until(lambda: leaver.got)
    assert (leaver.got, joiner.got) == (["three"], ["two", "three"])
    assert members[-2].got == ["one", "two", "three"]


async def test_a_group_that_empties_while_a_fan_out_goes_on() -> None:
    """What is on its way reaches nobody, and the group is gone then."""
    members = [Recorder() for _ in range(DELIVERIES * 2)]
    for member in members:
        await join(member)
    await abroadcast("g", "one")
    for member in members:
        hub().drop(member)  # type: ignore[arg-type]
    await until(lambda: "g" not in hub()._groups)  # noqa: SLF001  # no verb tells of its end
    assert not any(member.got for member in members)
    late = Recorder()
    await join(late)
    await abroadcast("g", "two")
    assert late.got == ["two"]


async def test_publishers_wait_when_much_is_on_its_way() -> None:
    """A publisher is held up by a backlog; if it gives up, the members are not cut off."""
    members = [Recorder() for _ in range(DELIVERIES * 2)]
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


async def test_a_publisher_that_is_cancelled() -> None:
    """Another that waits for the same deliveries goes on waiting, and nothing is missed."""
    members = [Recorder() for _ in range(DELIVERIES * 2)]
    for member in members:
        await join(member)
    for number in range(BACKLOG):
        await abroadcast("g", number)
    one, two = (asyncio.create_task(abroadcast("g", BACKLOG + more)) for more in range(2))
    await asyncio.sleep(0)
    one.cancel()
    with pytest.raises(asyncio.CancelledError):
        await one
    assert not two.done()
    await two
    assert all(member.got == list(range(BACKLOG + 2)) for member in members)


async def test_many_at_once() -> None:
    """More broadcasts at once than deliveries in a turn, in order all the same."""
    members = [Recorder() for _ in range(3)]
    for member in members:
        await join(member)
    count = DELIVERIES * 2 + 5
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
            # What waited was dropped; before that, nothing is missing.
            self.expected[member] = self.expected[member][: len(member.got)]
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


@pytest.mark.timeout(60)  # many messages
@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_no_loss_and_order(seed: int) -> None:
    """10,000 messages, 50 members that come and go: each gets what was sent while in, no gaps."""
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
