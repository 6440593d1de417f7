"""The Redis backend: the contract on every kind of Redis, commands, rights."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, ClassVar

import pytest

from tests.engines import until
from tests.groups.redis.harness import Said, listening, lose
from wsconsumer.counters import counters
from wsconsumer.exceptions import BackendError
from wsconsumer.groups.redis import node as redis_node
from wsconsumer.groups.redis.backend import RedisBackend
from wsconsumer.test import KeepingContract, LeasingContract

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.clusters import RedisCluster
    from tests.engines import Redis, RedisTLS, Sentinel
    from wsconsumer.groups.base import Backend


class RedisContract(KeepingContract):
    """The contract, and how Redis loses what a group keeps. Subclasses say which Redis."""

    location: str | list[str]
    servers: Sequence[Redis]
    options: ClassVar[dict[str, object]] = {}

    def make_backend(self, prefix: str = "contract") -> Backend:
        return RedisBackend(self.location, prefix, self.options)

    async def lose(self, prefix: str, groups: Sequence[str]) -> None:
        await asyncio.to_thread(lose, self.servers, f"{{{prefix}:")

    async def forget(self, prefix: str) -> None:
        await self.lose(prefix, [])

    @pytest.fixture(autouse=True)
    def _leave_nothing(self) -> Iterator[None]:
        yield
        lose(self.servers, "{contract:")


class TestOneServer(RedisContract, LeasingContract):
    """The contract, on one server."""

    @pytest.fixture(autouse=True)
    def _redis(self, server: Redis) -> None:
        self.servers, self.location = [server], server.url


class TestUnixSocket(RedisContract):
    """The contract, through a Unix socket."""

    @pytest.fixture(autouse=True)
    def _redis(self, server: Redis) -> None:
        self.servers, self.location = [server], f"unix://{server.socket}"


class TestSentinel(RedisContract, LeasingContract):
    """The contract, on the master that a Sentinel knows."""

    options: ClassVar[dict[str, object]] = {"SENTINEL": "mymaster"}

    @pytest.fixture(autouse=True)
    def _redis(self, sentinel: Sentinel, server: Redis) -> None:
        self.servers, self.location = [server], sentinel.url


class TestCluster(RedisContract, LeasingContract):
    """The contract, on a cluster."""

    options: ClassVar[dict[str, object]] = {"CLUSTER": True}

    @pytest.fixture(autouse=True)
    def _redis(self, cluster: RedisCluster) -> None:
        self.servers, self.location = cluster.nodes, cluster.urls


class TestTLS(RedisContract):
    """The contract, through TLS."""

    @pytest.fixture(autouse=True)
    def _redis(self, tls: RedisTLS) -> None:
        self.servers, self.location = [tls], tls.url


# One command, one pipeline


def broadcast_commands(server: Redis) -> dict[str, int]:
    """Return how often the commands were called that are not for looking after connections."""
    others = {
        "ping",
        "hello",
        "info",
        "config|resetstat",
        "client|setinfo",
        "client|setname",
        "select",
    }
    calls = server.calls()
    return {name: number for name, number in calls.items() if name not in others}


async def test_a_broadcast_is_one_command(own: Redis) -> None:
    """Redis sees one command for each broadcast, from an event loop or a thread."""
    async with listening(own.url, "g") as one:
        own.command("CONFIG", "RESETSTAT")
        for _ in range(10):
            await one.backend.publish("g", b"body")
            await asyncio.to_thread(one.backend.publish_sync, "g", b"body")
        await one.until_count(20)
        assert broadcast_commands(own) == {"publish": 20}


async def test_publishes_of_one_turn_share_a_pipeline(own: Redis) -> None:
    """What is published in one turn of the loop goes out in one write."""
    async with listening(own.url, "g") as one:
        await one.backend.publish("g", b"first")
        before = own.command("INFO", "stats")["total_reads_processed"]
        await asyncio.gather(*(one.backend.publish("g", b"%d" % n) for n in range(100)))
        assert own.command("INFO", "stats")["total_reads_processed"] - before < 10
        await one.until_count(101)


async def test_subscriptions_are_made_in_one_command(own: Redis) -> None:
    """A batch of groups is one command, unless it is very large."""
    async with listening(own.url) as one:
        own.command("CONFIG", "RESETSTAT")
        await one.backend.subscribe([f"g{number}" for number in range(1_000)])
        assert broadcast_commands(own) == {"subscribe": 1}
        await one.backend.unsubscribe([f"g{number}" for number in range(1_000)])
        await one.backend.publish("g", b"after")
        assert broadcast_commands(own) == {"subscribe": 1, "unsubscribe": 1, "publish": 1}


async def test_large_bodies_take_several_pipelines(server: Redis) -> None:
    """A pipeline is not made longer than a megabyte, so that each has its time."""
    bodies = [b"%d" % number * 400_000 for number in range(8)]
    async with listening(server.url, "g") as one:
        await asyncio.gather(*(one.backend.publish("g", body) for body in bodies))
        await one.until_count(8)
        assert one.of("g") == bodies


async def test_a_publisher_that_is_cancelled(server: Redis) -> None:
    """Who stops waiting for a publish keeps nobody else from theirs."""
    async with listening(server.url, "g") as one:
        first = asyncio.create_task(one.backend.publish("g", b"first"))
        second = asyncio.create_task(one.backend.publish("g", b"second"))
        await asyncio.wait({first}, timeout=0)
        first.cancel()
        await second
        await one.until("g", b"second")
        assert first.cancelled()


def test_a_forked_process_publishes(server: Redis) -> None:
    """A process that is forked after the first broadcast makes connections of its own."""
    program = (
        "import os, sys\n"
        "from wsconsumer.groups.redis.backend import RedisBackend\n"
        "backend = RedisBackend(sys.argv[1], 'contract', {})\n"
        "backend.publish_sync('g', b'parent')\n"
        "if not (child := os.fork()):\n"
        "    backend.publish_sync('g', b'child')\n"
        "    os._exit(0)\n"
        "assert os.waitpid(child, 0)[1] == 0\n"
        "backend.publish_sync('g', b'parent again')\n"
    )

    async def listen() -> list[bytes]:
        async with listening(server.url, "g") as one:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-W", "error", "-c", program, server.url
            )
            assert await process.wait() == 0
            await one.until("g", b"parent again")
            return one.of("g")

    assert asyncio.run(listen()) == [b"parent", b"child", b"parent again"]


def test_instances_share_the_connections_of_threads(own: Redis) -> None:
    """Backends with the same settings have one pool for threads in a process."""
    one, two = (RedisBackend(own.url, prefix, {}) for prefix in ("one", "two"))
    before = own.command("INFO", "stats")["total_connections_received"]
    for backend in (one, two, one, two):
        backend.publish_sync("g", b"body")
    # The first connection, and the one that asks.
    assert own.command("INFO", "stats")["total_connections_received"] - before == 2


# Rights


async def test_a_user_of_an_acl(server: Redis) -> None:
    """A user who may do what the documentation names is enough, password and all."""
    server.command(
        "ACL", "SETUSER", "chat", "reset", "on", ">p@ss:w/rd", "&contract:*",
        "+subscribe", "+unsubscribe", "+publish", "+ping",
    )  # fmt: skip
    url = f"redis://chat:p%40ss%3Aw%2Frd@127.0.0.1:{server.port}"
    async with listening(url, "g") as one:
        await one.backend.publish("g", b"body")
        await asyncio.to_thread(one.backend.publish_sync, "g", b"more")
        await one.until("g", b"more")
        other = RedisBackend(url, "other", {})
        with pytest.raises(BackendError, match="NoPermissionError"):
            await asyncio.to_thread(other.publish_sync, "g", b"body")


@pytest.mark.parametrize("groups", [["private.b"], ["public.b", "private.b", "private.c"]], ids=len)
async def test_a_channel_that_the_user_may_not_use(
    own: Redis, said: Said, groups: list[str]
) -> None:
    """It is refused alone, whoever was asked for with it; the log says so once."""
    own.command(
        "ACL", "SETUSER", "few", "reset", "on", ">pw", "&contract:public.*", "+@all",
    )  # fmt: skip
    refused = [group for group in groups if group.startswith("private")]
    async with listening(f"redis://few:pw@127.0.0.1:{own.port}", "public.a") as one:
        with pytest.raises(BackendError, match=r"'contract:private.b': NoPermissionError"):
            await one.backend.publish("private.b", b"body")
        await one.backend.subscribe(groups)
        for group in {"public.a", *groups} - {*refused}:
            await one.backend.publish(group, b"body")
            await one.until(group, b"body")
        assert counters["subscription_refused"] == len(refused)
        own.command("CLIENT", "KILL", "TYPE", "pubsub")
        await said.until("is back")
        await one.backend.publish("public.a", b"after")
        await one.until("public.a", b"after")
        await one.backend.unsubscribe(groups)
    first, *rest = said.lines
    assert f"refused to SUBSCRIBE {len(refused)} channels, such as 'contract:private.b'" in first
    assert [line.split()[4] for line in rest] == ["away:", "back"]
    assert counters["subscription_refused"] == len(refused)


async def test_a_right_that_comes_later(
    own: Redis, said: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A channel that was refused is asked for with each beat, and works once it is allowed."""
    monkeypatch.setattr(redis_node, "PING_EVERY", 0.02)
    own.command("ACL", "SETUSER", "late", "reset", "on", ">pw", "&contract:a", "+@all")
    async with listening(f"redis://late:pw@127.0.0.1:{own.port}", "a", "b", "c") as one:
        await said.until("refused to SUBSCRIBE 2 channels")
        own.command("ACL", "SETUSER", "late", "&contract:b")
        await asyncio.to_thread(until, lambda: heard(own, "contract:b"), "the subscription")
        await one.backend.publish("b", b"body")
        await one.until("b", b"body")
    assert len(said.lines) == 1


async def test_commands_that_the_user_may_not_use(own: Redis, said: Said) -> None:
    """Without PING nobody could tell an outage, so that is one; a forbidden UNSUBSCRIBE is not."""
    for name, missing in (("mute", "-unsubscribe"), ("blind", "-ping")):
        own.command(
            "ACL", "SETUSER", name, "reset", "on", ">pw", "&contract:*", "+@all", missing
        )  # fmt: skip
    async with listening(f"redis://mute:pw@127.0.0.1:{own.port}", "a", "b") as one:
        await one.backend.unsubscribe(["b"])
        await one.backend.publish("b", b"body")
        await one.backend.publish("a", b"body")
        await one.until("a", b"body")
        assert one.of("b") == []
        await said.until("refused to UNSUBSCRIBE 1 channels, such as 'contract:b'")
    async with listening(f"redis://blind:pw@127.0.0.1:{own.port}", "a"):
        await said.until("is away: NoPermissionError")


def heard(server: Redis, channel: str) -> bool:
    """Tell whether anybody is subscribed to a channel."""
    return bool(server.command("PUBSUB", "NUMSUB", channel)[1])
