"""``groups/local.py``: how long members without room are waited for, and what ``leave`` drops."""

from __future__ import annotations

import asyncio
import gc
import logging
import weakref
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import pytest
from asgiref.sync import sync_to_async

from tests.fakes import CONNECT, KnownServer, Wire, close, disconnect, scope, sent, until
from tests.groups.recorder import Recorder, join
from wsconsumer import WebsocketConsumer, abroadcast, broadcast
from wsconsumer.groups import budget, local
from wsconsumer.groups.hub import hub

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

from contextlib import asynccontextmanager


class Member(WebsocketConsumer):
    """Joins, and leaves when told to."""

    outbox_limit = 1000

    async def connect(self) -> None:
        self.has_left = False
        await self.join("news")

    async def receive(self, data: str | bytes) -> None:
        await self.leave("news")
        self.has_left = True


class Hears(Member):
    """Handles a broadcast when the test lets it."""

    def __init__(self, **initkwargs: Any) -> None:
        super().__init__(**initkwargs)
        self.heard: list[Any] = []
        self.let = asyncio.Event()
        self.began = asyncio.Event()

    async def group_message(self, group: str, data: Any) -> None:
        self.began.set()
        await self.let.wait()
        self.heard.append(data)


@asynccontextmanager
async def serving(wire: Wire, cls: type[Member] = Member) -> AsyncIterator[Any]:
    """Run a consumer until the block ends."""
    made: list[Any] = []

    class Made(cls):  # type: ignore[valid-type,misc]
        def __init__(self, **initkwargs: Any) -> None:
            super().__init__(**initkwargs)
            made.append(self)

    wire.put(CONNECT)
    task = asyncio.create_task(Made.as_asgi()(scope(), wire.receive, wire.send))
    async with asyncio.timeout(10):
        await wire.until_sent(1)
        yield made[0]
        wire.put(disconnect())
        await task


BIG = 200
"""Three of these are as much as the outbox takes."""


def big(number: int) -> str:
    return f"{number}" * BIG


async def publish(count: int, start: int = 0) -> None:
    for number in range(start, start + count):
        await abroadcast("news", big(number))


async def test_a_client_that_is_slow_for_a_moment_loses_nothing() -> None:
    """What its outbox has no room for waits before it; other members get it meanwhile."""
    slow, quick = KnownServer(), KnownServer()
    async with serving(slow), serving(quick):
        slow.shut()
        await publish(10)
        await quick.until_sent(5)
        slow.open()
        for wire in (slow, quick):
            await wire.until_sent(11)
            assert wire.sent[1:] == [sent(big(number)) for number in range(10)]


async def test_a_client_that_is_waited_for_in_vain(monkeypatch: pytest.MonkeyPatch) -> None:
    """After the whole time its policy decides, and it is not waited for again."""
    monkeypatch.setattr(local, "PATIENCE", 0)
    wire = KnownServer()
    async with serving(wire) as consumer:
        wire.shut()
        await publish(4)
        await until(lambda: consumer.state.name == "CLOSING")
        wire.open()
        await wire.until_sent(3)
        assert wire.sent[-1] == close(1013, "too slow")


class Dropping(Member):
    outbox_policy = "drop_newest"


async def test_a_client_is_waited_for_again_once_its_outbox_was_empty() -> None:
    """One that was given up is treated as any other after it has caught up."""
    wire = KnownServer()
    async with serving(wire, Dropping):
        wire.shut()
        await publish(4)
        await until(lambda: not _is_under_way("news"))
        wire.open()
        await wire.until_sent(4)
        await asyncio.sleep(0)
        wire.shut()
        await publish(4, start=5)
        assert _is_under_way("news")
        wire.open()
        await wire.until_sent(8)
    numbers = [0, 1, 2, 5, 6, 7, 8]
    assert wire.sent[1:] == [sent(big(number)) for number in numbers]


def _is_under_way(group: str) -> bool:
    return local_group(group)._task is not None  # noqa: SLF001  # no verb tells of it


def local_group(name: str) -> local.LocalGroup:
    return hub()._groups[name]  # noqa: SLF001  # what is inside is what is tested


async def test_members_are_not_waited_for_when_very_much_is_on_its_way(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Above a bound nobody is waited for, so that what waits here is bounded too."""
    monkeypatch.setattr(local, "MAX_QUEUED", 0)
    monkeypatch.setattr(local, "PATIENCE", 1000)
    wire = KnownServer()
    async with serving(wire) as consumer:
        wire.shut()
        await publish(4)
        await until(lambda: consumer.state.name == "CLOSING")
        wire.open()


async def test_publishers_wait_for_a_bounded_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A publisher goes on after its own time, whatever the members do."""
    monkeypatch.setattr(local, "PATIENCE", 1000)
    monkeypatch.setattr("wsconsumer.groups.hub.PATIENCE", 0)
    wire = KnownServer()
    async with serving(wire):
        wire.shut()
        await publish(budget.BACKLOG * 2)
        wire.open()
        await wire.until_sent(budget.BACKLOG * 2 + 1)


async def test_bytes_take_turns() -> None:
    """A fan-out of many bytes lets others have a turn before the last member is reached."""
    wires = [KnownServer() for _ in range(4)]
    data = "x" * (budget.BYTES // 2)
    async with serving(wires[0]), serving(wires[1]), serving(wires[2]), serving(wires[3]):
        publishing = asyncio.create_task(abroadcast("news", data))
        reached = {4}
        while max(reached) < 8:
            await asyncio.sleep(0)
            reached.add(sum(len(wire.sent) for wire in wires))
        assert reached == {4, 6, 8}
        await publishing


async def test_leave_drops_what_waits_for_the_client() -> None:
    """After ``leave()`` nothing more of the group is sent but what is on the wire already."""
    wire = KnownServer()
    async with serving(wire) as consumer:
        wire.shut()
        await publish(8)
        wire.put({"type": "websocket.receive", "text": "leave"})
        await until(lambda: consumer.has_left)
        wire.open()
        await consumer.send("after")
        assert wire.sent[1:] == [sent(big(0)), sent("after")]


async def test_leave_waits_for_a_group_message_that_runs() -> None:
    """Once ``leave()`` has returned no ``group_message()`` of the group runs or begins."""
    wire = KnownServer()
    async with serving(wire, Hears) as consumer:
        for number in range(10):
            await abroadcast("news", number)
        await consumer.began.wait()
        leaving = [asyncio.create_task(consumer.leave("news")) for _ in range(2)]
        await asyncio.sleep(0)
        assert not any(task.done() for task in leaving)
        consumer.let.set()
        await asyncio.gather(*leaving)
        assert consumer.heard == [0]
        await abroadcast("news", "late")
        await asyncio.sleep(0)
        assert consumer.heard == [0]


async def test_leave_does_not_wait_for_another_group() -> None:
    """A ``group_message()`` of another group is none of its business."""

    class Both(Hears):
        async def connect(self) -> None:
            await super().connect()
            await self.join("other")

    async with serving(KnownServer(), Both) as consumer:
        await abroadcast("other", 1)
        await consumer.began.wait()
        await consumer.leave("news")
        consumer.let.set()
        await until(lambda: consumer.heard == [1])


async def directly(leave: Callable[[], Awaitable[None]]) -> None:
    await leave()


async def in_a_task(leave: Callable[[], Awaitable[None]]) -> None:
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(directly(leave))


@pytest.mark.parametrize("how", [directly, in_a_task])
async def test_leave_inside_of_a_group_message(how: Any) -> None:
    """It does not wait for itself, in a task of its own neither."""

    class Leaves(Hears):
        async def group_message(self, group: str, data: Any) -> None:
            self.heard.append(data)
            await how(lambda: self.leave(group))

    wire = KnownServer()
    async with serving(wire, Leaves) as consumer:
        await abroadcast("news", 1)
        await abroadcast("news", 2)
        await until(lambda: consumer.heard and not consumer.groups)
        assert consumer.heard == [1]


async def in_the_loop(group: str, data: Any) -> None:
    await abroadcast(group, data)


@pytest.mark.parametrize(
    "publisher", [in_the_loop, sync_to_async(broadcast)], ids=["loop", "thread"]
)
async def test_a_group_message_that_broadcasts_waits_for_nobody(
    publisher: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would wait for itself: its own broadcasts have no room until it returns."""
    monkeypatch.setattr(local, "PATIENCE", 1000)
    monkeypatch.setattr("wsconsumer.groups.hub.PATIENCE", 1000)
    monkeypatch.setattr("wsconsumer.groups.memory.PATIENCE", 1000)
    count = budget.BACKLOG * 2

    class Relays(Hears):
        async def group_message(self, group: str, data: Any) -> None:
            self.heard.append(data)
            if data == "go":
                for number in range(count):
                    await publisher(group, big(number))

    async with serving(KnownServer(), Relays) as consumer:
        await abroadcast("news", "go")
        await until(lambda: len(consumer.heard) == count + 1)
        assert consumer.heard[1:] == [big(number) for number in range(count)]


@pytest.mark.parametrize("policy", ["close", "drop_newest"])
async def test_a_slow_member_is_logged_in_its_own_context(
    policy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who reads the log finds the connection's context variables, and not the publisher's."""
    monkeypatch.setattr(local, "PATIENCE", 0)
    whose: ContextVar[str] = ContextVar("whose", default="nobody")
    logged: list[tuple[str, str]] = []

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            logged.append((whose.get(), record.getMessage()))

    class Slow(Member):
        outbox_policy = policy

        async def connect(self) -> None:
            whose.set("connection")
            await super().connect()

    handler = Handler(logging.INFO)
    log = logging.getLogger("wsconsumer.groups")
    log.addHandler(handler)
    try:
        wire = KnownServer()
        async with serving(wire, Slow):
            whose.set("publisher")
            wire.shut()
            await publish(4)
            await until(lambda: logged)
            wire.open()
    finally:
        log.removeHandler(handler)
    assert {name for name, _ in logged} == {"connection"}


class Editing(Wire):
    """A server behind a middleware that edits each event."""

    async def send(self, message: Any) -> None:
        if message["type"] == "websocket.send":
            message["text"] += " edited"
        await super().send(message)


async def test_a_middleware_may_edit_an_event() -> None:
    """Behind a wrapped ``send`` each member has an event of its own."""
    wires = [Editing(), KnownServer(), Editing()]
    async with serving(wires[0]), serving(wires[1]), serving(wires[2]):
        await abroadcast("news", "hello")
        for wire, text in zip(wires, ["hello edited", "hello", "hello edited"], strict=True):
            await wire.until_sent(2)
            assert wire.sent[1:] == [sent(text)]


@pytest.fixture
async def _eager() -> AsyncIterator[None]:
    """Let this loop begin each task at once."""
    factory = getattr(asyncio, "eager_task_factory", None)
    if factory is None:
        pytest.skip("eager tasks came with Python 3.12")
    asyncio.get_running_loop().set_task_factory(factory)
    yield
    asyncio.get_running_loop().set_task_factory(None)


@pytest.mark.usefixtures("_eager")
@pytest.mark.parametrize("server", [Wire, KnownServer])
async def test_eager_tasks(server: type[Wire]) -> None:
    """Joining, an outbox that empties and fills again, and a queue work with eager tasks."""
    wire = server()
    async with serving(wire) as consumer:
        assert consumer.groups == {"news"}
        for number in range(20):
            await publish(1, start=number)
            await wire.until_sent(number + 2)
        await asyncio.gather(*(publish(1, start=number) for number in range(20, 40)))
        await wire.until_sent(41)
        assert wire.sent[1:] == [sent(big(number)) for number in range(40)]


@pytest.mark.usefixtures("_eager")
async def test_eager_tasks_and_a_slow_client() -> None:
    """A send that waits is finished, and what waits behind it follows."""
    wire = KnownServer()
    async with serving(wire):
        wire.shut()
        await publish(10)
        wire.open()
        await wire.until_sent(11)
        assert wire.sent[1:] == [sent(big(number)) for number in range(10)]


@pytest.mark.parametrize("cls", [Member, Hears])
async def test_a_member_that_has_ended_is_freed_at_once(cls: type[Member]) -> None:
    """Nothing of a member waits for the garbage collector."""
    wire = KnownServer()
    gc.disable()
    try:
        async with serving(wire, cls) as consumer:
            if isinstance(consumer, Hears):
                consumer.let.set()
            await abroadcast("news", "hello")
            for _ in range(5):
                await asyncio.sleep(0)
            (member,) = local_group("news")._members  # noqa: SLF001  # what is inside is what is tested
            alive = weakref.ref(member)
            del member, consumer
        assert alive() is None
    finally:
        gc.enable()


async def test_a_slow_client_in_two_groups_at_once() -> None:
    """What has no room waits in each group, and all of it arrives in the order of its group."""

    class Both(Member):
        async def connect(self) -> None:
            await super().connect()
            await self.join("other")

    wire = KnownServer()
    async with serving(wire, Both):
        wire.shut()
        for number in range(8):
            await abroadcast("news", f"n{number}" * BIG)
            await abroadcast("other", f"o{number}" * BIG)
        wire.open()
        await wire.until_sent(17)
        got = [event["text"][:2] for event in wire.sent[1:]]
        assert sorted(got, key=lambda text: text[0]) == [
            f"{group}{number}" for group in "no" for number in range(8)
        ]


async def test_long_broadcasts_go_one_by_one() -> None:
    """They are not handed to a member together: its outbox is to have room for each."""
    order: list[tuple[int, str]] = []

    class Noting(Recorder):
        def __init__(self, number: int) -> None:
            super().__init__()
            self.number = number

        def deliver(self, broadcast: Any) -> None:
            order.append((self.number, broadcast.data[0]))

    for number in range(2):
        await join(Noting(number))
    await asyncio.gather(*(abroadcast("g", letter * budget.BYTES) for letter in "abc"))
    assert order == [(number, letter) for letter in "abc" for number in range(2)]


async def test_a_stranger_is_dropped_without_a_word() -> None:
    """A member that the hub does not know, such as one of another loop, is no error."""
    stranger = Recorder()
    stranger.groups["g"] = None
    hub().drop(stranger)  # type: ignore[arg-type]
    assert stranger.groups == {}
