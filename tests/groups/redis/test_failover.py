"""The Redis backend: a cluster whose servers change places, while all of them live on."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING

import pytest
from redis.crc import key_slot

from tests.clusters import RedisCluster
from tests.engines import Redis, until
from tests.groups.redis.harness import Flow, Said, listening
from wsconsumer.groups.redis import cluster as redis_cluster
from wsconsumer.groups.redis import threads as redis_threads
from wsconsumer.groups.redis.backend import RedisBackend

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

GROUPS = [f"g{number}" for number in range(12)]
KINDS = ("normal", "pubsub")
PATIENT = {"CLUSTER": True, "TIMEOUT": 30}
"""A master that waits to be followed makes its publishers wait as well, for seconds."""

GAP = "Hash slot not served"
"""
What a server answers for some milliseconds if it hears that the old master is none any more before
it hears of the new one. Redis has not taken what it answers so, and its publisher is told.
"""
CHANNELS = [f"contract:{group}" for group in GROUPS]


@pytest.fixture(scope="module")
def shards(directory: Path) -> Iterator[RedisCluster]:
    """A cluster with a replica; what a test leaves of it is whole, with other roles."""
    redis = RedisCluster(directory, replicas=1)
    yield redis
    redis.stop()


@pytest.fixture
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask for the map often: a test does not wait for seconds."""
    monkeypatch.setattr(redis_cluster, "MAP_EVERY", 0.05)
    monkeypatch.setattr(redis_threads, "CHECK_EVERY", 0.05)


@pytest.fixture
def thread() -> Iterator[ThreadPoolExecutor]:
    """One thread, which is one publisher."""
    with ThreadPoolExecutor(1) as pool:
        yield pool


def fail_over(cluster: RedisCluster) -> None:
    """Let the master and its replica change places."""
    cluster.fail_over()


def fail_over_and_move(cluster: RedisCluster) -> None:
    """Let them change places, and give the new replica to another master at once."""
    old = cluster.fail_over()
    master = cluster.master_of(old)
    cluster.follow(old, next(one for one in cluster.masters() if one is not master))


def reshard(cluster: RedisCluster) -> None:
    """Give a slot with one of the groups to another server, as redis-cli does it."""
    slot = key_slot(CHANNELS[0].encode())
    source = cluster.owner(slot)
    target = next(one for one in cluster.masters() if one is not source)
    cluster.begin_to_move(slot, target)
    cluster.move(slot, target)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(fail_over, id="failover"),
        pytest.param(fail_over_and_move, id="failover and replica migration"),
        pytest.param(reshard, id="resharding"),
    ],
)
@pytest.mark.usefixtures("_often")
async def test_a_change_while_all_publish(
    shards: RedisCluster,
    said: Said,
    thread: ThreadPoolExecutor,
    change: Callable[[RedisCluster], None],
) -> None:
    """Nothing comes twice or out of order, no publisher waits in vain, and then all comes again."""
    idle = RedisBackend(shards.urls, "contract", PATIENT)

    async def publish_in_the_thread(group: str, body: bytes) -> None:
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(thread, idle.publish_sync, group, body)

    async with (
        listening(shards.urls, *GROUPS, **PATIENT) as one,
        listening(shards.urls, **PATIENT) as two,
    ):
        flows = [
            Flow("loop", GROUPS, two.backend.publish),
            Flow("thread", GROUPS, publish_in_the_thread),
        ]
        async with flows[0], flows[1]:
            await asyncio.to_thread(change, shards)
            await until_settled(shards)
        for _ in range(5):
            bodies = [await flow.round() for flow in flows]
            for group in GROUPS:
                for body in bodies:
                    await one.until(group, body)
        for flow in flows:
            assert [str(error) for error in flow.errors if GAP not in str(error)] == []
            for group in GROUPS:
                flow.check(one.of(group))
    assert [line for line in said.lines if GAP not in line] == []


@pytest.mark.parametrize("is_noticed", ["by the beat", "by a connection that was lost"])
async def test_a_master_that_goes_on_as_a_replica(
    shards: RedisCluster, said: Said, monkeypatch: pytest.MonkeyPatch, is_noticed: str
) -> None:
    """Though it goes on to serve its subscribers, a channel is subscribed at its new home alone."""
    if is_noticed == "by the beat":
        monkeypatch.setattr(redis_cluster, "MAP_EVERY", 0.05)
    async with listening(shards.urls, *GROUPS, CLUSTER=True) as one:
        old = await asyncio.to_thread(shards.fail_over)
        master = shards.master_of(old)
        if is_noticed != "by the beat":
            other = next(node for node in shards.masters() if node is not master)
            other.command("CLIENT", "KILL", "TYPE", "pubsub")
            await said.until("is back")
        await until_settled(shards)
        await until_left_alone(old)
        for body in (b"one", b"two"):
            for group in GROUPS:
                await one.backend.publish(group, body)
                await one.until(group, body)
        for group in GROUPS:
            assert one.of(group) == [b"one", b"two"]


@pytest.mark.usefixtures("_often")
async def test_threads_follow_a_failover(shards: RedisCluster) -> None:
    """A thread that has the old map publishes at the new home, with no error in between."""
    idle = RedisBackend(shards.urls, "contract", {"CLUSTER": True})
    async with listening(shards.urls, *GROUPS, CLUSTER=True) as one:
        for group in GROUPS:
            await asyncio.to_thread(idle.publish_sync, group, b"before")
        old = await asyncio.to_thread(shards.fail_over)
        await until_settled(shards)
        old.kill()
        try:
            for group in GROUPS:
                await asyncio.to_thread(idle.publish_sync, group, b"after")
                await one.until(group, b"after")
        finally:
            old.start()
        await asyncio.to_thread(until, shards.is_whole, "the cluster to be whole", 30)


async def until_settled(cluster: RedisCluster) -> None:
    """Wait until each channel is subscribed where it belongs, and nowhere else."""
    await asyncio.to_thread(until, partial(cluster.is_settled, CHANNELS), "the move to settle", 30)


async def until_left_alone(node: Redis) -> None:
    """Wait until nobody is connected to a server who is no server of the cluster itself."""

    def is_alone() -> bool:
        normal, listening = (node.command("CLIENT LIST", "TYPE", kind) for kind in KINDS)
        return (len(normal), len(listening)) == (1, 0)

    await asyncio.to_thread(until, is_alone, "the connections to be closed", 10)
