"""Groups over a daphne, a uvicorn and a process that only publishes, on each engine."""

from __future__ import annotations

import asyncio
import json
import random
import sys
import tempfile
import time
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.engines import Postgres, Redis
from tests.processes.blobs import blob, read
from tests.processes.client import Client
from tests.processes.judge import Judge, Publisher
from tests.processes.running import Script, command, script, serving
from wsconsumer.test.contract import ODD_NAMES

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Iterator

    from tests.processes.running import Engine, Server


@contextmanager
def redis() -> Iterator[Redis]:
    """Start a Redis server."""
    with tempfile.TemporaryDirectory() as directory:
        server = Redis(Path(directory))
        yield server
        server.stop()


@contextmanager
def postgres() -> Iterator[Postgres]:
    """Start a PostgreSQL server."""
    with tempfile.TemporaryDirectory() as directory:
        server = Postgres(Path(directory))
        yield server
        server.stop()


@pytest.fixture(scope="module", params=[redis, postgres], ids=["redis", "postgres"])
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    """Each engine in turn."""
    with request.param() as engine:
        yield engine


@pytest.fixture(scope="module")
def servers(engine: Engine) -> Iterator[list[Server]]:
    """A daphne and a uvicorn on the same engine."""
    with serving(engine, ["daphne", "uvicorn"]) as servers:
        yield servers


@pytest.fixture
async def members(servers: list[Server]) -> AsyncIterator[list[Client]]:
    """Four clients, two on each server."""
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(Client(server, f"{server.name} {number}"))
            for server in servers
            for number in range(2)
        ]


@pytest.fixture
async def publisher(engine: Engine) -> AsyncIterator[Script]:
    """A process without an event loop."""
    async with script(engine) as publisher:
        yield publisher


async def together(work: Iterator[Coroutine[Any, Any, object]]) -> None:
    """Do all of it at the same time."""
    async with asyncio.TaskGroup() as tasks:
        for one in work:
            tasks.create_task(one)


async def all_join(members: list[Client], *groups: str) -> None:
    """Let all of them join."""
    await together(member.join(*groups) for member in members)


async def all_get(members: list[Client], *messages: str) -> None:
    """Wait until each has got as many messages; they are these, in this order."""
    for member in members:
        await member.until_came(len(messages))
        assert member.came == list(messages), member.name


async def test_order_of_each_publisher(members: list[Client]) -> None:
    """Two publishers on two servers: every member gets all of each, once and in order."""
    await all_join(members, "room")

    async def publish(member: Client) -> None:
        for number in range(300):
            assert await member.broadcast(("room", f"{member.name}: {number}")) == [None]

    publishers = (members[0], members[2])
    await together(publish(member) for member in publishers)
    for member in members:
        await member.until_came(600)
        for one in publishers:
            own = [data for data in member.came if data.startswith(f"{one.name}:")]
            assert own == [f"{one.name}: {number}" for number in range(300)]
        assert len(member.came) == 600


async def test_order_of_broadcasts_that_do_not_wait_for_one_another(members: list[Client]) -> None:
    """Broadcasts that a consumer starts together come in the order in which it started them."""
    await all_join(members, "room")
    texts = [str(number) for number in range(300)]
    for first in range(0, 300, 50):
        errors = await members[1].broadcast(*(("room", text) for text in texts[first : first + 50]))
        assert errors == [None] * 50
    await all_get(members, *texts)


class Talk:
    """Members who publish to groups, come and go; and the judge of it."""

    def __init__(self, groups: list[str]) -> None:
        self.groups = groups
        self.judge = Judge()
        self.is_over = False
        self._publishers: dict[Client, Publisher] = {}

    async def publish(self, member: Client, groups: list[str]) -> None:
        """Let a member publish its next message to each of these groups."""
        publisher = self._publishers.setdefault(member, Publisher(member.name))
        messages = [publisher.message(group) for group in groups]
        began = time.monotonic()
        errors = await member.broadcast(*messages)
        assert errors == [None] * len(groups)
        self.judge.publish(messages, began, time.monotonic(), errors)

    async def keep_publishing(self, member: Client) -> None:
        """Publish until it is over, and a last time."""
        while not self.is_over:
            await self.publish(member, self.groups)
        await self.publish(member, self.groups)

    async def come_and_go(self, member: Client, chance: random.Random) -> None:
        """Join one group and leave it again, many times; in the end join them all."""
        for _ in range(25):
            group = chance.choice(self.groups)
            await member.join(group)
            for _ in range(chance.randrange(4)):
                await member.ping()
            if chance.random() < 0.5:
                # What comes of this proves that what was published before has come.
                await self.publish(member, [group])
            await member.leave(group)
        await member.join(*self.groups)


@pytest.mark.parametrize("seed", [1, 2])
async def test_joins_and_leaves_among_publishes(members: list[Client], seed: int) -> None:
    """Who has joined gets all that is broadcast from then on; who has left gets nothing."""
    talk = Talk(["a", "b", "c", "d"])
    async with asyncio.TaskGroup() as tasks:
        for member in members[::2]:
            tasks.create_task(talk.keep_publishing(member))
        await together(
            talk.come_and_go(member, random.Random(f"{seed} {member.name}"))  # noqa: S311  # to be repeatable
            for member in members[1::2]
        )
        talk.is_over = True
    for member in members:
        await talk.judge.satisfied(member)
    verdict = talk.judge.verdict({member.name: (member.log, True) for member in members})
    assert verdict.violations == [], str(verdict)
    assert verdict.owed > 0


async def test_after_leaving_nothing_comes(members: list[Client]) -> None:
    """What is broadcast after a leave was answered does not come, from whichever server."""
    await all_join(members, "room", "end")
    near, far = members[1], members[2]
    await near.leave("room")
    await far.leave("room")
    await members[0].broadcast(("room", "late"), ("end", "end"))
    await all_get([near, far], "end")
    await all_get([members[0], members[3]], "late", "end")


async def test_a_thousand_groups(servers: list[Server]) -> None:
    """A thousand groups on each server, one message to each from the other: all arrive, once."""
    names = [f"group {number}" for number in range(1_000)]
    shares = [names[start::5] for start in range(5)]
    async with AsyncExitStack() as stack:
        sides = [
            [await stack.enter_async_context(Client(server)) for _ in shares] for server in servers
        ]
        for side in sides:
            await together(m.join(*share) for m, share in zip(side, shares, strict=True))
        half = [(name, name) for name in names[:500]], [(name, name) for name in names[500:]]
        await together(side[0].broadcast(*part) for side, part in zip(sides, half, strict=True))
        for side in sides:
            for member, share in zip(side, shares, strict=True):
                await member.until_came(200)
                assert sorted(member.came) == sorted(share)


async def test_names_of_all_allowed_characters(members: list[Client]) -> None:
    """Every printable character is allowed in a name, and each name is a group of its own."""
    printable = "".join(filter(str.isprintable, map(chr, range(sys.maxunicode + 1))))
    names = [printable[start : start + 200] for start in range(0, len(printable), 200)]
    names = list(dict.fromkeys((*ODD_NAMES, *printable[:200], *names)))
    near, far = members[0], members[3]
    for start in range(0, len(names), 100):
        some = names[start : start + 100]
        await all_join([near, far], *some)
        errors = await near.broadcast(*((name, f"{name}!") for name in some))
        assert errors == [None] * len(some)
    await all_get([near, far], *(f"{name}!" for name in names))


async def test_names_are_no_patterns(members: list[Client]) -> None:
    """A name with the characters of a pattern is a name."""
    await all_join(members, "a*", "?b", "[ab]", "{a}", "%", "end")
    for name in ("ab", "a", "b", "%a", "a}", "*"):
        await members[0].broadcast((name, "for others"))
    await members[0].broadcast(("end", "end"))
    await all_get(members, "end")


async def test_a_process_without_an_event_loop(members: list[Client], publisher: Script) -> None:
    """``broadcast()`` in a script reaches the members on both servers, in order."""
    await all_join(members, "room")
    texts = [str(number) for number in range(100)]
    errors = await publisher.publish({"messages": [("room", text) for text in texts]})
    assert errors == [None] * 100
    await all_get(members, *texts)


async def test_a_sync_view_of_each_server(servers: list[Server], members: list[Client]) -> None:
    """``broadcast()`` in a sync view reaches the members on both servers."""
    await all_join(members, "room")
    for server in servers:
        errors = await server.publish({"messages": [("room", server.name), ("room", "again")]})
        assert errors == [None, None]
    await all_get(members, "daphne", "again", "uvicorn", "again")


@pytest.mark.parametrize("where", ["script", "view"])
async def test_on_commit(
    servers: list[Server], members: list[Client], publisher: Script, where: str
) -> None:
    """With ``on_commit`` a commit broadcasts, and a rollback does not."""
    await all_join(members, "room")
    publish: Callable[[dict[str, Any]], Coroutine[Any, Any, Any]] = (
        publisher.publish if where == "script" else servers[0].publish
    )
    await publish({"messages": [("room", "never")], "commit": False})
    await publish({"messages": [("room", "one"), ("room", "two")], "commit": True})
    await publish({"messages": [("room", "three")]})
    await all_get(members, "one", "two", "three")


async def test_without_oneself(members: list[Client]) -> None:
    """``include_self=False`` leaves out one connection, and nobody else on either server."""
    await all_join(members, "room")
    for member in (members[1], members[2]):
        await member.broadcast(("room", member.name), include_self=False)
    await members[1].broadcast(("room", "end"))
    await members[2].broadcast(("room", "end"))
    await all_get([members[0], members[3]], members[1].name, members[2].name, "end", "end")
    await all_get([members[1]], members[2].name, "end", "end")
    await all_get([members[2]], members[1].name, "end", "end")


@pytest.mark.parametrize("kind", ["text", "binary", "json"])
async def test_large_messages(members: list[Client], kind: str) -> None:
    """Text, binary and JSON come whole and in order, from either server, small ones or 1 MiB."""
    await all_join(members, "room")
    sizes = (10, 8_000, 1 << 20, 100)
    for member in (members[0], members[2]):
        for size in sizes:
            assert await member.blob("room", kind, size) == [None]
    blobs = [blob(kind, size) for size in sizes] * 2
    for member in members:
        await member.until_came(len(blobs))
        assert [read(kind, message) for message in member.came] == blobs


async def test_a_member_that_vanishes(servers: list[Server], members: list[Client]) -> None:
    """A client whose TCP connection breaks off keeps nothing from the others."""
    await all_join(members, "room")
    async with Client(servers[0]) as one, Client(servers[1]) as two:
        await all_join([one, two], "room")
        await one.vanish()
        await members[0].broadcast(("room", "first"))
        await two.vanish()
        await members[3].broadcast(("room", "second"))
    await all_get(members, "first", "second")


async def test_who_is_connected(
    engine: Engine, servers: list[Server], members: list[Client]
) -> None:
    """
    A command asks the servers who is connected, and one that hangs does not hold it up; then it
    disconnects a member of each.
    """
    daphne, uvicorn = servers
    await members[0].join("closed.one", *(f"{number:03}{'x' * 197}" for number in range(100)))
    await members[3].join("closed.two")
    with uvicorn.paused():
        report = json.loads(await command(engine, "--live", "--json", "--timeout=1.5"))
    assert [(each["pid"], each["is_whole"]) for each in report["processes"]] == [(daphne.pid, True)]
    assert report["consumers"] == {"tests.processes.consumers.Member": 2}
    assert [row["server"] for row in report["connections"]] == ["daphne", "daphne"]
    assert sorted(row["group_count"] for row in report["connections"]) == [0, 101]
    closing = ("--close", "--group=closed.*", "--no-input", "--timeout=3", "--json")
    report = json.loads(await command(engine, *closing))
    closed = {each["pid"]: each["closed"] for each in report["processes"]}
    assert closed == {daphne.pid: 1, uvicorn.pid: 1}
    for member in (members[0], members[3]):
        assert "4501" in await member.end()
    await members[1].ping()
    await members[2].ping()
