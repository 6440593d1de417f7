"""The Redis backend: a cluster that changes."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from redis.crc import key_slot

from tests.clusters import RedisCluster
from tests.engines import Redis, free_port, until
from tests.groups.redis.harness import Fake, Said, listening
from wsconsumer.counters import counters
from wsconsumer.exceptions import BackendError
from wsconsumer.groups import reconnecting
from wsconsumer.groups.redis import cluster as redis_cluster
from wsconsumer.groups.redis import node as redis_node
from wsconsumer.groups.redis.cluster import Cluster
from wsconsumer.groups.redis.stamps import Stamps

if TYPE_CHECKING:
    from pathlib import Path


async def test_a_slot_moves(cluster: RedisCluster, said: Said) -> None:
    """Subscribers and publishers follow a slot to its new server."""
    slot = key_slot(b"contract:g")
    urls = [node.url for node in cluster.nodes]
    async with (
        listening(urls, "g", "other", CLUSTER=True) as one,
        listening(urls, CLUSTER=True) as two,
    ):
        await two.backend.publish("g", b"before")
        await asyncio.to_thread(two.backend.publish_sync, "g", b"before")
        await one.until_count(2)
        source = cluster.owner(slot)
        target = next(node for node in cluster.nodes if node is not source)
        await asyncio.to_thread(cluster.move, slot, target)
        await asyncio.to_thread(until, lambda: is_heard(target, "contract:g"), "the subscription")
        await two.backend.publish("g", b"after")
        await asyncio.to_thread(two.backend.publish_sync, "g", b"after")
        await one.until_count(4)
        # Whoever has the old map learns of the new one by asking.
        await two.backend.subscribe(["g"])
        await one.backend.publish("g", b"end")
        await two.until("g", b"end")
        await one.backend.unsubscribe(["g"])
        await two.backend.publish("g", b"late")
        await two.until("g", b"late")
        assert (b"late") not in one.of("g")
    assert said.lines == []


async def test_a_map_with_a_hole(cluster: RedisCluster, said: Said) -> None:
    """A server that does not know yet who took over is not believed: the next one is asked."""
    async with Fake(CLUSTER=b"*1\r\n*3\r\n:0\r\n:9\r\n*2\r\n$5\r\nother\r\n:1\r\n") as fake:
        urls = [f"redis://127.0.0.1:{fake.port}", *cluster.urls]
        async with listening(urls, "g", CLUSTER=True) as one:
            await one.backend.publish("g", b"body")
            await asyncio.to_thread(one.backend.publish_sync, "g", b"more")
            await one.until("g", b"more")
        await fake.until(b"CLUSTER", 2)
    assert said.lines == []


def whole_map(port: int) -> bytes:
    """Return what CLUSTER SLOTS answers if one server has all slots."""
    return b"*1\r\n*3\r\n:0\r\n:16383\r\n*2\r\n$9\r\n127.0.0.1\r\n:%d\r\n" % port


async def test_a_home_that_moves_before_it_answers(
    own: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever waits for a server goes on to the one that has the slot now."""
    monkeypatch.setattr(redis_cluster, "MAP_EVERY", 0.05)
    async with Fake(PING=b"") as silent, Fake(CLUSTER=whole_map(silent.port)) as fake:
        url = f"redis://127.0.0.1:{fake.port}"
        async with listening(url, CLUSTER=True, TIMEOUT=4) as one:
            publishing = asyncio.create_task(one.backend.publish("g", b"before"))
            await silent.until(b"PING")
            joining = asyncio.create_task(one.backend.subscribe(["g"]))
            fake.answers[b"CLUSTER"] = whole_map(own.port)
            async with asyncio.timeout(30):
                await asyncio.gather(publishing, joining)
            await one.backend.publish("g", b"body")
            await one.until("g", b"body")


async def test_what_two_servers_bring(cluster: RedisCluster) -> None:
    """While a slot moves, both may bring the same message, which is delivered once."""
    owner = cluster.owner(key_slot(b"contract:g"))
    stamps = Stamps()
    first, second = stamps.next() + b"first", stamps.next() + b"second"
    async with listening(owner.url, "g", CLUSTER=True) as one:
        for stamped in (first, first, second, first):
            owner.command("SPUBLISH", "contract:g", stamped)
        await one.backend.publish("g", b"end")
        await one.until("g", b"end")
        assert one.of("g") == [b"first", b"second", b"end"]


async def test_what_has_no_stamp(cluster: RedisCluster, said: Said) -> None:
    """Whatever publishes it is no process of ours: it is refused, in one line of the log."""
    owner = cluster.owner(key_slot(b"contract:g"))
    async with listening(owner.url, "g", CLUSTER=True) as one:
        for _ in range(3):
            owner.command("SPUBLISH", "contract:g", "short")
        await one.backend.publish("g", b"end")
        await one.until("g", b"end")
        assert one.of("g") == [b"end"]
    (line,) = said.lines
    assert "Refused what came for 'contract:g': expected a stamp" in line
    assert counters["body_refused"] == 3


async def test_subscribing_with_an_old_map(cluster: RedisCluster, said: Said) -> None:
    """A subscription at a server that no longer has the slot is made where it is."""
    slot = key_slot(b"contract:moved")
    urls = [node.url for node in cluster.nodes]
    async with listening(urls, CLUSTER=True) as one:
        source = cluster.owner(slot)
        target = next(node for node in cluster.nodes if node is not source)
        await asyncio.to_thread(cluster.move, slot, target)
        await one.backend.subscribe(["moved"])
        assert is_heard(target, "contract:moved")
        await one.backend.publish("moved", b"body")
        await one.until("moved", b"body")
    assert said.lines == []


async def test_a_slot_that_nobody_wants(cluster: RedisCluster) -> None:
    """A broadcast does not run in circles when servers send it to one another."""
    slot = key_slot(b"contract:circle")
    source = cluster.owner(slot)
    target = next(node for node in cluster.nodes if node is not source)
    async with listening(source.url, CLUSTER=True) as one:
        await one.backend.publish("circle", b"body")
        source.command("CLUSTER", "SETSLOT", slot, "NODE", target.command("CLUSTER", "MYID"))
        with pytest.raises(BackendError, match=f"no server was found to have slot {slot}"):
            await one.backend.publish("circle", b"lost")
        with pytest.raises(BackendError, match=f"no server was found to have slot {slot}"):
            await asyncio.to_thread(one.backend.publish_sync, "circle", b"lost")
        await asyncio.to_thread(cluster.move, slot, target)
        await one.backend.publish("circle", b"body")


async def test_servers_that_send_us_to_one_another(
    cluster: RedisCluster, said: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    """We do not run in circles: the log tells of it, others are not kept waiting, and it ends."""
    monkeypatch.setattr(redis_cluster, "MAP_EVERY", 0.2)
    slot = key_slot(b"contract:circle")
    source = cluster.owner(slot)
    target = next(node for node in cluster.nodes if node is not source)
    async with listening(source.url, "circle", CLUSTER=True) as one:
        source.command("CLUSTER", "SETSLOT", slot, "NODE", target.command("CLUSTER", "MYID"))
        await said.until(f"the servers send slot {slot} to one another", 2)
        await one.backend.subscribe(["other"])
        await asyncio.to_thread(cluster.move, slot, target)
        await asyncio.to_thread(until, lambda: is_heard(target, "contract:circle"), "the channel")
        await one.backend.publish("circle", b"body")
        await one.until("circle", b"body")


async def test_a_server_of_a_cluster_restarts(cluster: RedisCluster, said: Said) -> None:
    """While one server is away the groups of the others work, and then its own do again."""
    urls = [node.url for node in cluster.nodes]
    lost = cluster.nodes[0]
    groups = [f"g{number}" for number in range(50)]
    here = [g for g in groups if cluster.owner(key_slot(f"contract:{g}".encode())) is not lost]
    there = sorted(set(groups) - set(here))
    async with listening(urls, *groups, CLUSTER=True) as one:
        lost.kill()
        await said.until("is away")
        for group in here:
            await one.backend.publish(group, b"meanwhile")
        with pytest.raises(BackendError, match="Redis at"):
            await one.backend.publish(there[0], b"lost")
        with pytest.raises(BackendError, match="Redis at"):
            await asyncio.to_thread(one.backend.publish_sync, there[0], b"lost")
        lost.start()
        await said.until("is back")
        await asyncio.to_thread(until, cluster.is_whole, "the cluster to be whole", 30)
        for group in groups:
            await one.backend.publish(group, b"after")
        await one.until_count(len(here) + len(groups))
    assert len(said.lines) == 2


async def test_a_server_of_a_cluster_is_replaced(directory: Path, said: Said) -> None:
    """When others take over the slots of a server that is lost, its groups go on there."""
    cluster = RedisCluster(directory)
    try:
        urls = [node.url for node in cluster.nodes]
        groups = [f"g{number}" for number in range(50)]
        async with listening(urls, *groups, CLUSTER=True) as one:
            lost, heir, _ = cluster.nodes
            lost.kill()
            await said.until("is away")
            ranges = cluster.disown(lost)
            await said.until("waited for no more")
            await said.until("it has slots without a server")
            await asyncio.to_thread(cluster.inherit, heir, ranges)
            await said.until("is back")
            for group in groups:
                await one.backend.publish(group, b"after")
            await one.until_count(len(groups))
        assert len(said.lines) == 4
    finally:
        cluster.stop()


async def test_a_cluster_that_is_away(directory: Path, said: Said) -> None:
    """A backend starts without its cluster, and makes its subscriptions when it is there."""
    node = Redis(directory, "--cluster-enabled", "yes", "--cluster-port", str(free_port()))
    slot = key_slot(b"contract:g")
    try:
        async with listening(node.url, "g", CLUSTER=True) as one:
            assert "is away: RedisError: no slot has a server" in said.lines[0]
            with pytest.raises(BackendError, match="no slot has a server"):
                await one.backend.publish("g", b"lost")
            with pytest.raises(BackendError, match="Redis Cluster at"):
                await asyncio.to_thread(one.backend.publish_sync, "g", b"lost")
            node.command("CLUSTER", "ADDSLOTSRANGE", slot, 16383)
            await said.until("is back")
            await one.backend.publish("g", b"body")
            await one.until("g", b"body")
        assert len(said.lines) == 2
        node.kill()
        async with listening([node.url], "g", CLUSTER=True):
            assert "is away: ConnectionError" in said.lines[2]
    finally:
        node.stop()


async def test_a_cluster_that_goes_away(
    directory: Path, said: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When nobody can say who has what, the lost servers are waited for."""
    monkeypatch.setattr(reconnecting, "MAX_DELAY", 0.001)
    asked = asyncio.Event()
    ask = Cluster._lost  # noqa: SLF001  # the test waits for it, and changes nothing

    async def ask_and_tell(self: Cluster, address: tuple[str, int]) -> bool:
        is_of_use = await ask(self, address)
        asked.set()
        return is_of_use

    monkeypatch.setattr(Cluster, "_lost", ask_and_tell)
    node = Redis(directory, "--cluster-enabled", "yes", "--cluster-port", str(free_port()))
    node.command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
    try:
        async with listening(node.url, "g", CLUSTER=True) as one:
            node.kill()
            await said.until("is away")
            await asked.wait()
            await asyncio.to_thread(node.start)
            await said.until("is back")
            await one.backend.publish("g", b"body")
            await one.until("g", b"body")
        assert len(said.lines) == 2
    finally:
        node.stop()


async def test_a_slot_without_a_server(directory: Path, said: Said) -> None:
    """Groups in a slot that nobody has wait for it; others work."""
    node = Redis(
        directory, "--cluster-enabled", "yes", "--cluster-port", str(free_port()),
        "--cluster-require-full-coverage", "no",
    )  # fmt: skip
    slot = key_slot(b"contract:g")
    try:
        node.command("CLUSTER", "ADDSLOTSRANGE", 0, slot - 1)
        node.command("CLUSTER", "ADDSLOTSRANGE", slot + 1, 16383)
        async with listening(node.url, "other", CLUSTER=True) as one:
            await one.backend.subscribe(["g"])
            await said.until("is away: RedisError: it has slots without a server")
            with pytest.raises(BackendError, match="it has slots without a server"):
                await one.backend.publish("g", b"lost")
            with pytest.raises(BackendError, match=f"no server was found to have slot {slot}"):
                await asyncio.to_thread(one.backend.publish_sync, "g", b"lost")
            await one.backend.publish("other", b"body")
            await one.until("other", b"body")
            node.command("CLUSTER", "ADDSLOTS", slot)
            await said.until("is back")
            await one.backend.publish("g", b"body")
            await one.until("g", b"body")
    finally:
        node.stop()


async def test_a_cluster_that_is_down(
    directory: Path, said: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it refuses meanwhile is asked for until it is up, and nobody speaks of rights."""
    monkeypatch.setattr(redis_node, "PING_EVERY", 0.05)
    node = Redis(
        directory, "--cluster-enabled", "yes", "--cluster-port", str(free_port()),
        "--cluster-allow-pubsubshard-when-down", "no",
    )  # fmt: skip
    node.command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
    slot = key_slot(b"contract:other")
    try:
        async with listening(node.url, CLUSTER=True) as one:
            await asyncio.to_thread(until, lambda: is_up(node), "the cluster to be up")
            node.command("CLUSTER", "DELSLOTS", slot)
            await asyncio.to_thread(until, lambda: not is_up(node), "the cluster to be down")
            await one.backend.subscribe(["g"])
            await said.until("refused to SSUBSCRIBE 1 channels, such as 'contract:g'")
            with pytest.raises(BackendError, match="ClusterDownError"):
                await one.backend.publish("g", b"lost")
            node.command("CLUSTER", "ADDSLOTS", slot)
            await asyncio.to_thread(until, lambda: is_up(node), "the cluster to be up")
            await asyncio.to_thread(until, lambda: is_heard(node, "contract:g"), "the channel")
            await one.backend.publish("g", b"body")
            await one.until("g", b"body")
        assert said.lines[0].endswith("They are asked for again every 5 seconds.")
    finally:
        node.stop()


def is_up(node: Redis) -> bool:
    """Tell whether a server finds its cluster in order."""
    return b"cluster_state:ok" in node.command("CLUSTER", "INFO")


def is_heard(node: Redis, channel: str) -> bool:
    """Tell whether anybody is subscribed to a channel at this server."""
    return bool(node.command("PUBSUB", "SHARDNUMSUB", channel)[1])
