"""Groups that keep, in Redis: what is lost, forbidden or elsewhere, and that it is noticed."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
import redis
from redis.crc import key_slot

from tests.engines import Redis, free_port, until
from tests.groups.redis.harness import Said, Tunnel, keeping, lose
from wsconsumer import Group, WebsocketConsumer, abroadcast
from wsconsumer.exceptions import BackendError
from wsconsumer.groups import declared
from wsconsumer.groups.base import Position
from wsconsumer.groups.envelope import Broadcast, encode
from wsconsumer.groups.hub import close_hub
from wsconsumer.groups.keeping import EPOCH_SECONDS, UNSPOKEN_SECONDS, Keep
from wsconsumer.groups.redis import node as redis_node
from wsconsumer.groups.redis.backend import RedisBackend
from wsconsumer.groups.redis.scripts import MARK, RIGHTS, append_command
from wsconsumer.test import connect, real_engine

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

    from pytest_django import Settings

    from tests.clusters import RedisCluster
    from wsconsumer.test.keeping import Keeper

KEEP = Keep(5, 60)


# What Redis forgets


async def test_the_hash_is_evicted(own: Redis) -> None:
    """Without its position a history begins anew; what the stream still has is not of it."""
    async with keeping(own.url, "g") as one:
        (*_, before) = await one.append("g", b"a", b"b")
        own.command("DEL", "{contract:g}:s")
        (after,) = await one.append("g", b"c")
        assert after.epoch != before.epoch
        assert await one.read("g", 0) == (1, [(1, b"c")])


async def test_the_stream_is_evicted(own: Redis) -> None:
    """The position stays: who missed nothing goes on, and others see that something is missing."""
    async with keeping(own.url, "g") as one:
        (*_, before) = await one.append("g", b"a", b"b")
        own.command("DEL", "{contract:g}:m")
        assert await one.read("g", 0) == (2, [])
        assert await one.append("g", b"c") == [(before.epoch, 3)]
        assert await one.read("g", 0) == (3, [(3, b"c")])


async def test_a_key_is_evicted(own: Redis) -> None:
    """It may be said again then, as another broadcast."""
    async with keeping(own.url, "g") as one:
        await one.append("g", b"once", key="k")
        own.command("DEL", "{contract:g}:k:k")
        await one.append("g", b"once", key="k")
        await one.until_count(2)
        assert await one.read("g", 0) == (2, [(1, b"once"), (2, b"once")])


async def test_what_expires(own: Redis) -> None:
    """Bodies and keys stay for the group's seconds after the last, the position for a day."""
    async with keeping(own.url, "g") as one:
        await one.append("g", b"once", keep=Keep(5, 1_000), key="k")
        for name, seconds in (("m", 1_000), ("k:k", 1_000), ("s", EPOCH_SECONDS)):
            assert seconds - 100 < own.command("TTL", f"{{contract:g}}:{name}") <= seconds
        (before,) = await one.append("g", b"last", keep=Keep(5, 1))
        await asyncio.to_thread(until, lambda: not own.command("EXISTS", "{contract:g}:m"), "it")
        assert await one.read("g", 0) == (2, [])
        assert await one.append("g", b"new") == [(before.epoch, 3)]


async def test_only_a_position_was_asked_for(own: Redis) -> None:
    """What was never spoken to is forgotten an hour after it was asked for last."""
    async with keeping(own.url, "g") as one:
        await one.read("g", None)
        assert 0 < own.command("TTL", "{contract:g}:s") <= UNSPOKEN_SECONDS
        own.command("EXPIRE", "{contract:g}:s", 10)
        await one.read("g", 0)
        assert UNSPOKEN_SECONDS - 100 < own.command("TTL", "{contract:g}:s") <= UNSPOKEN_SECONDS
        await one.append("g", b"a")
        await one.read("g", None)
        assert EPOCH_SECONDS - 100 < own.command("TTL", "{contract:g}:s") <= EPOCH_SECONDS


async def test_a_server_that_is_full(own: Redis) -> None:
    """What it does not take is neither kept nor counted, and the publisher is told."""
    async with keeping(own.url, "g") as one:
        (before,) = await one.append("g", b"a")
        own.command("CONFIG", "SET", "maxmemory", 1)
        with pytest.raises(BackendError, match="OutOfMemoryError"):
            await one.append("g", b"lost")
        own.command("CONFIG", "SET", "maxmemory", 0)
        assert await one.append("g", b"b") == [(before.epoch, 2)]
        assert await one.read("g", 0) == (2, [(1, b"a"), (2, b"b")])


# What goes over the bus


async def test_a_kept_broadcast_is_one_command(own: Redis) -> None:
    """From an event loop or a thread; those of one turn of the loop share a pipeline."""
    async with keeping(own.url, "g") as one:
        await one.append("g", b"first")
        own.command("CONFIG", "RESETSTAT")
        await asyncio.gather(*(one.append("g", b"%d" % number) for number in range(100)))
        assert own.command("INFO", "stats")["total_reads_processed"] < 20
        await asyncio.to_thread(one.keeping.append_sync, "g", b"body", KEEP, None)
        calls = own.calls()
        assert (calls["eval"], calls["publish"]) == (101, 101)


async def test_whoever_does_not_know_kept_bodies_refuses_them(own: Redis) -> None:
    """A process that takes what comes for an envelope sees that it is none."""
    client = redis.Redis.from_url(own.url, protocol=2)
    with client, client.pubsub(ignore_subscribe_messages=True) as old:
        old.subscribe("contract:g")
        async with keeping(own.url, "g") as one:
            await one.append("g", encode("body"))
            await one.until("g", encode("body"))
        message: Any = None
        while message is None:
            message = await asyncio.to_thread(old.get_message, timeout=10)
    assert message["data"].startswith(MARK)
    with pytest.raises(ValueError, match="is not a broadcast"):
        Broadcast.decode("g", message["data"])


async def test_what_is_no_position(own: Redis, said: Said) -> None:
    """A body that begins like one that was kept is refused, and the next one comes."""
    async with keeping(own.url, "g") as one:
        own.command("PUBLISH", "contract:g", MARK + b"neither")
        await said.until("Refused what came for the group 'g'")
        own.command("PUBLISH", "contract:g", MARK + b"neither")
        await one.append("g", b"body")
        await one.until("g", b"body")
    assert len(said.lines) == 1


# What may be forbidden


def allow(server: Redis, *rules: str, name: str = "chat") -> str:
    """Make a user who may publish and subscribe; return the URL for it."""
    server.command(
        "ACL", "SETUSER", name, "reset", "on", ">pw", "&contract:*",
        "+subscribe", "+unsubscribe", "+publish", "+ping", *rules,
    )  # fmt: skip
    return f"redis://{name}:pw@127.0.0.1:{server.port}"


async def test_a_user_of_an_acl(own: Redis, said: Said) -> None:
    """A user who may do what the documentation names is enough."""
    async with keeping(allow(own, "~{contract:*", *RIGHTS.split()), "g") as one:
        (first,) = await one.append("g", b"body", key="k")
        assert await asyncio.to_thread(one.keeping.append_sync, "g", b"body", KEEP, "k") == first
        assert await one.read("g", 0) == (1, [(1, b"body")])
        assert await asyncio.to_thread(one.keeping.read_sync, ["g"]) == {"g": first}
        await one.until("g", b"body")
    assert said.lines == []


async def test_info_is_forbidden(own: Redis, said: Said) -> None:
    """Groups keep all the same; the log says once what will not be noticed."""
    url = allow(own, "~{contract:*", *RIGHTS.replace("+info", "").split())
    async with keeping(url, "g") as one:
        (first,) = await one.append("g", b"a")
        assert await one.read("g", 0) == (1, [(1, b"a")])
        await asyncio.to_thread(one.keeping.read_sync, ["g"])
        assert "does not let groups that keep call INFO" in said.lines[0]
        assert len(said.lines) == 1
        own.command("ACL", "SETUSER", "chat", "+info")
        assert await asyncio.to_thread(one.keeping.read_sync, ["g"]) == {"g": first}
        # It is known from now on where the history is.
        reign = own.command("INFO", "replication")["master_replid"].encode()
        assert own.command("HGET", "{contract:g}:s", "r") == reign
    assert len(said.lines) == 1


@pytest.mark.parametrize(
    "rules",
    [
        pytest.param(["~{contract:*", "+@all", "-eval"], id="EVAL"),
        pytest.param(["~other:*", "+@all"], id="keys"),
        pytest.param(["~{contract:*", *RIGHTS.replace("+xadd", "").split()], id="XADD"),
    ],
)
async def test_a_right_is_missing(own: Redis, rules: list[str]) -> None:
    """The error names the rights that are needed."""
    text = r"Groups that keep need more rights .* ~\{wsconsumer:\*, and \+eval"
    async with keeping(allow(own, *rules)) as one:
        with pytest.raises(BackendError, match=text):
            await one.append("g", b"body")
        with pytest.raises(BackendError, match=text):
            await asyncio.to_thread(one.keeping.append_sync, "g", b"body", KEEP, None)


async def test_a_group_that_the_user_may_not_read(own: Redis) -> None:
    """Others are read all the same."""
    url = allow(own, "~{contract:public*", *RIGHTS.split())
    async with keeping(url) as one:
        (first,) = await one.append("public", b"body")
        found = await one.keeping.read({"private": 0, "public": 0})
        assert isinstance(found["private"], BackendError)
        with pytest.raises(BackendError, match="more rights"):
            await one.read("private", 0)
        assert found["public"] == (*first, [(1, b"body")])


async def test_a_channel_that_is_allowed_later(
    own: Redis, said: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was missed until then is to be read."""
    monkeypatch.setattr(redis_node, "PING_EVERY", 0.02)
    own.command("ACL", "SETUSER", "late", "reset", "on", ">pw", "&contract:a", "~*", "+@all")
    async with keeping(f"redis://late:pw@127.0.0.1:{own.port}", "a", "b") as one:
        await said.until("refused to SUBSCRIBE 1 channels")
        assert one.resumed == []
        own.command("ACL", "SETUSER", "late", "&contract:b")
        await until_resumed(one, "b")
        assert one.resumed == ["b"]


async def until_resumed(one: Keeper, *groups: str) -> None:
    """Wait until a backend has said so of these groups."""
    await asyncio.to_thread(until, lambda: set(groups) <= {*one.resumed}, "the groups to resume")


# Connections that are lost, and servers that change


class Room(WebsocketConsumer):
    """Is in the room, and tells its client of a reset."""

    async def connect(self) -> None:
        await self.join("room.a")

    async def group_reset(self, group: str) -> None:
        await self.send(f"reset {group}")


@pytest.fixture
async def serve_from(settings: Settings) -> AsyncIterator[Callable[[str], None]]:
    """Let rooms keep in the Redis that a test names."""

    def serve(url: str) -> None:
        settings.WSCONSUMER = {
            "GROUPS": {
                "BACKEND": "wsconsumer.groups.redis.RedisBackend",
                "LOCATION": url,
                "PREFIX": "contract",
            }
        }

    with real_engine(), declared.only():
        Group("room.{slug}", keep=10)
        yield serve
        await close_hub()


async def test_a_connection_that_is_killed(own: Redis, serve_from: Callable[[str], None]) -> None:
    """What was broadcast until it was there again is read at once, and only then."""
    serve_from(own.url)
    async with connect(Room) as ws:
        await abroadcast("room.a", "before")
        assert await ws.receive() == "before"
        own.command("CONFIG", "RESETSTAT")
        lost = encode("lost")
        with redis.Redis.from_url(own.url, protocol=2) as client, client.pipeline() as pipe:
            pipe.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
            for body in (lost, lost):
                pipe.execute_command(
                    *append_command("PUBLISH", b"contract:room.a", body, KEEP, None, "new")
                )
            assert pipe.execute()[0] == 1
        assert await ws.receive() == "lost"
        assert await ws.receive() == "lost"
        await abroadcast("room.a", "after")
        assert await ws.receive() == "after"
        assert own.calls()["eval"] == 4  # three broadcasts, and one read


async def test_a_replica_that_lags_takes_over(
    own: Redis, directory: Path, serve_from: Callable[[str], None]
) -> None:
    """It numbers new broadcasts like those that it never heard of, and yet members are told."""
    own.command("CONFIG", "SET", "repl-diskless-sync-delay", 0)
    replica = Redis(directory, "--replicaof", "127.0.0.1", str(own.port))
    try:
        async with Tunnel(own.port) as tunnel:
            serve_from(f"redis://127.0.0.1:{tunnel.port}")
            async with connect(Room) as ws:
                for number in range(1, 11):
                    if number == 9:
                        await asyncio.to_thread(until, lambda: top(replica) == 8, "the replica")
                        replica.command("REPLICAOF", "NO", "ONE")
                    await abroadcast("room.a", str(number))
                    assert await ws.receive() == str(number)
                # From a process that went there before ours.
                other = RedisBackend(replica.url, "contract", {})
                positions = [
                    await asyncio.to_thread(other.append_sync, "room.a", encode("new"), KEEP, None)
                    for _ in range(3)
                ]
                assert [at.offset for at in positions] == [9, 10, 11]
                assert own.command("HGET", STATE, "e") == positions[0].epoch.encode()
                tunnel.to = replica.port
                own.kill()
                assert await ws.receive() == "reset room.a"
                await abroadcast("room.a", "after")
                assert await ws.receive() == "after"
            assert replica.command("HGET", STATE, "e") != positions[0].epoch.encode()
    finally:
        replica.stop()


async def test_a_primary_that_lags_behind_its_replica_takes_over_again(
    own: Redis, directory: Path
) -> None:
    """Nobody read while the other was the primary, and yet members are told what it took along."""
    own.command("CONFIG", "SET", "repl-diskless-sync-delay", 0)
    replica = Redis(directory, "--replicaof", "127.0.0.1", str(own.port))
    replica.command("CONFIG", "SET", "repl-diskless-sync-delay", 0)
    other = RedisBackend(replica.url, "contract", {})
    back = RedisBackend(own.url, "contract", {})
    try:
        await asyncio.to_thread(until, lambda: follows(replica), "the replica")
        begun = await asyncio.to_thread(back.read_sync, ["room.a"])
        await asyncio.to_thread(back.append_sync, "room.a", encode("1"), KEEP, None)
        await asyncio.to_thread(until, lambda: top(replica) == 1, "the replica")
        replica.command("REPLICAOF", "NO", "ONE")
        own.command("REPLICAOF", "127.0.0.1", replica.port)
        await asyncio.to_thread(other.append_sync, "room.a", encode("2"), KEEP, None)
        await asyncio.to_thread(until, lambda: top(own) == 2, "the old primary")
        own.command("REPLICAOF", "NO", "ONE")
        lost = await asyncio.to_thread(other.append_sync, "room.a", encode("3"), KEEP, None)
        said = await asyncio.to_thread(back.append_sync, "room.a", encode("4"), KEEP, None)
        assert lost == said == Position(begun["room.a"].epoch, 3)
        found = await asyncio.to_thread(back.read_sync, ["room.a"])
        assert found["room.a"].epoch != said.epoch
    finally:
        replica.stop()


async def test_a_connection_is_interrupted_before_it_is_resumed(own: Redis) -> None:
    """Whoever holds back what comes in between hears of it before anything can come."""
    story: list[str] = []
    backend = RedisBackend(own.url, "contract", {})
    backend.on_interrupted(lambda groups: story.extend(f"interrupted {group}" for group in groups))
    backend.on_resumed(lambda groups: story.extend(f"resumed {group}" for group in groups))

    async def deliver(group: str, body: bytes, position: Position | None = None) -> None:
        story.append(body.decode())

    await backend.start(deliver)
    try:
        await backend.subscribe(["g"])
        story.clear()
        own.command("CLIENT", "KILL", "TYPE", "pubsub")
        await asyncio.to_thread(until, lambda: "resumed g" in story, "the group to resume")
        await backend.append("g", b"a", KEEP, None)
        await asyncio.to_thread(until, lambda: "a" in story, "what was said")
        assert story == ["interrupted g", "resumed g", "a"]
    finally:
        await backend.aclose()


STATE = "{contract:room.a}:s"


def follows(server: Redis) -> bool:
    """Tell whether a server has all that its primary has."""
    return bool(server.command("INFO", "replication")["master_link_status"] == "up")


def top(server: Redis) -> int:
    """Return the offset of the last broadcast that a server knows of."""
    return int(server.command("HGET", STATE, "o") or 0)


async def test_a_server_that_restarts(
    own: Redis, said: Said, serve_from: Callable[[str], None]
) -> None:
    """It has lost everything, and members are told."""
    serve_from(own.url)
    async with connect(Room) as ws:
        await abroadcast("room.a", "before")
        assert await ws.receive() == "before"
        own.kill()
        await said.until("is away")
        await asyncio.to_thread(own.start)
        assert await ws.receive() == "reset room.a"
        await abroadcast("room.a", "after")
        assert await ws.receive() == "after"


async def test_a_server_that_becomes_a_replica(
    own: Redis, said: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It writes nothing: the error says so, the beat finds out, and the history goes on."""
    monkeypatch.setattr(redis_node, "PING_EVERY", 0.02)
    async with keeping(own.url, "g") as one:
        (before,) = await one.append("g", b"a")
        own.command("REPLICAOF", "127.0.0.1", free_port())
        with pytest.raises(BackendError, match=r"read only replica|it is a replica"):
            await one.append("g", b"lost")
        with pytest.raises(BackendError, match="it is a replica"):
            await asyncio.to_thread(one.keeping.append_sync, "g", b"lost", KEEP, None)
        await said.until("is away")
        own.command("REPLICAOF", "NO", "ONE")
        await said.until("is back")
        await until_resumed(one, "g")
        assert await one.append("g", b"b") == [(before.epoch, 2)]


# A cluster


@pytest.fixture(autouse=True)
def _leave_nothing(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if "cluster" in request.fixturenames:
        lose(request.getfixturevalue("cluster").nodes, "{")


SLOT = key_slot(b"contract:g")


def migrate(source: Redis, target: Redis, *names: str) -> None:
    """Move keys of the group to another server, as redis-cli does."""
    keys = [f"{{contract:g}}:{name}" for name in names]
    source.command("MIGRATE", "127.0.0.1", target.port, "", 0, 5000, "KEYS", *keys)


def tried_again(server: Redis) -> int:
    """Return how often a server could take neither a command nor say where to go."""
    stats = server.command("INFO", "errorstats")
    return int(stats.get("errorstat_TRYAGAIN", {}).get("count", 0))


async def test_keys_that_move(cluster: RedisCluster, said: Said) -> None:
    """While a slot moves, publishers wait for the keys, and nothing is lost or numbered twice."""
    source = cluster.owner(SLOT)
    target = next(node for node in cluster.nodes if node is not source)
    source.command("CONFIG", "RESETSTAT")
    idle = RedisBackend(cluster.urls, "contract", {"CLUSTER": True})
    async with keeping(cluster.urls, "g", CLUSTER=True) as one:
        (first,) = await one.append("g", b"first")
        await asyncio.to_thread(cluster.begin_to_move, SLOT, target)
        assert await one.append("g", b"before they move") == [(first.epoch, 2)]
        await asyncio.to_thread(migrate, source, target, "m")
        waiting = [
            asyncio.create_task(one.append("g", b"from the loop")),
            asyncio.create_task(
                asyncio.to_thread(idle.append_sync, "g", b"from a thread", KEEP, None)
            ),
        ]
        await asyncio.to_thread(until, lambda: tried_again(source) >= 4, "both to try again")
        await asyncio.to_thread(migrate, source, target, "s")
        await asyncio.to_thread(cluster.move, SLOT, target)
        await asyncio.gather(*waiting)
        assert await one.append("g", b"last") == [(first.epoch, 5)]
        await until_resumed(one, "g")
        kept = (await one.read_all({"g": 0}))["g"]
        assert kept.epoch != first.epoch  # it is another server
    assert said.lines == []


async def test_keys_that_take_long(cluster: RedisCluster) -> None:
    """Nobody waits for them longer than TIMEOUT."""
    source = cluster.owner(SLOT)
    target = next(node for node in cluster.nodes if node is not source)
    async with keeping(cluster.urls, CLUSTER=True, TIMEOUT=0.3) as one:
        await asyncio.to_thread(cluster.begin_to_move, SLOT, target)
        try:
            with pytest.raises(BackendError, match="AskError"):
                await one.append("g", b"body")
            with pytest.raises(BackendError, match="AskError"):
                await asyncio.to_thread(one.keeping.append_sync, "g", b"body", KEEP, None)
        finally:
            await asyncio.to_thread(cluster.move, SLOT, source)


async def test_a_prefix_with_braces(cluster: RedisCluster) -> None:
    """Channel and keys are of one slot, whatever is in the prefix."""
    backend = RedisBackend(cluster.urls, "site{1}%", {"CLUSTER": True})
    for number in range(20):
        position = await asyncio.to_thread(
            backend.append_sync, f"{{g}}{number}", b"body", KEEP, None
        )
        assert position.offset == 1
