"""A Redis Cluster that tests start for themselves, and what befalls one in production."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from redis.crc import key_slot
from redis.exceptions import ResponseError

from tests.engines import Redis, free_port, until

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

PATIENCE: Final = 30.0
"""Seconds that servers have to agree on something; they tell one another now and then."""

VOTE: Final = 1.0
"""
Seconds after which a failover is asked for again. One soon after another gets no votes, or wins by
old ones and is not acknowledged.
"""


class RedisCluster:
    """Redis servers that are a cluster: three masters, and ``replicas`` of the first."""

    def __init__(self, directory: Path, replicas: int = 0) -> None:
        self.nodes = [
            Redis(
                directory, "--cluster-enabled", "yes", "--cluster-port", str(free_port()),
                "--cluster-node-timeout", "1000", "--cluster-require-full-coverage", "no",
                "--repl-diskless-sync-delay", "0", "--cluster-replica-no-failover", "yes",
            )
            for _ in range(3 + replicas)
        ]  # fmt: skip
        self._identities = {node: node.command("CLUSTER", "MYID").decode() for node in self.nodes}
        try:
            self._join()
        except BaseException:
            self.stop()
            raise

    @property
    def urls(self) -> list[str]:
        """Where all of them are."""
        return [node.url for node in self.nodes]

    def _join(self) -> None:
        bounds = (0, 5461, 10923, 16384)
        for number, node in enumerate(self.nodes, 1):
            node.command("CLUSTER", "SET-CONFIG-EPOCH", number)  # so that they need not agree on it
        for node, first, after in zip(self.nodes, bounds, bounds[1:], strict=False):
            node.command("CLUSTER", "ADDSLOTSRANGE", first, after - 1)
        for node in self.nodes[1:]:
            bus = node.command("CONFIG GET", "cluster-port")["cluster-port"]
            self.nodes[0].command("CLUSTER", "MEET", "127.0.0.1", node.port, bus)
        for node in self.nodes[3:]:
            self.follow(node, self.nodes[0])
        until(self.is_whole, "the cluster to be whole", PATIENCE)

    def stop(self) -> None:
        """Stop them all."""
        for node in self.nodes:
            node.stop()

    # Who has what

    def owner(self, slot: int) -> Redis:
        """Return the server that has a slot."""
        for first, last, master in self._map(self.nodes[0]):
            if first <= slot <= last:
                return next(node for node in self.nodes if node.port == master)
        raise AssertionError(f"nobody has slot {slot}")

    def masters(self) -> list[Redis]:
        """Return the servers that have slots."""
        ports = {port for _, _, port in self._map(self.nodes[0])}
        return [node for node in self.nodes if node.port in ports]

    def replica(self) -> Redis:
        """Return a server that is a replica."""
        return next(node for node in self.nodes if node not in self.masters())

    def master_of(self, replica: Redis) -> Redis:
        """Return the server that a replica follows."""
        port = replica.command("INFO", "replication")["master_port"]
        return next(node for node in self.nodes if node.port == port)

    def is_whole(self) -> bool:
        """Tell whether all servers know of all the others, and agree on who has which slot."""
        maps = [self._map(node) for node in self.nodes]
        states = [node.command("CLUSTER", "INFO") for node in self.nodes]
        return (
            all(found == maps[0] for found in maps)
            and sum(last + 1 - first for first, last, _ in maps[0]) == 16384
            and all(b"cluster_state:ok" in state for state in states)
        )

    def is_settled(self, channels: Iterable[str], times: int = 1) -> bool:
        """Tell whether so many are subscribed to each channel at its home, and nowhere else."""
        if not self.is_whole():
            return False
        by_home: dict[Redis, dict[str, int]] = {node: {} for node in self.nodes}
        ranges = self._map(self.nodes[0])
        for channel in channels:
            slot = key_slot(channel.encode())
            (home,) = (port for first, last, port in ranges if first <= slot <= last)
            for node in self.nodes:
                by_home[node][channel] = times if node.port == home else 0
        return all(heard(node, *expected) == expected for node, expected in by_home.items())

    def _map(self, node: Redis) -> list[tuple[int, int, int]]:
        slots = node.command("CLUSTER", "SLOTS")
        return [(first, last, master[1]) for first, last, master, *_ in slots]

    # What befalls it

    def move(self, slot: int, to: Redis) -> None:
        """Give a slot to another server; all know it when this returns."""
        source = self.owner(slot)
        others = [node for node in self.masters() if node not in (source, to)]
        for node in (to, source, *others):
            node.command("CLUSTER", "SETSLOT", slot, "NODE", self._identities[to])

    def begin_to_move(self, slot: int, to: Redis) -> None:
        """Let both servers know that a slot is about to move, as while its keys do."""
        source = self.owner(slot)
        to.command("CLUSTER", "SETSLOT", slot, "IMPORTING", self._identities[source])
        source.command("CLUSTER", "SETSLOT", slot, "MIGRATING", self._identities[to])

    def fail_over(self) -> Redis:
        """Let a replica take over from its master, which goes on as its replica; return that."""
        heir = self.replica()
        old = self.master_of(heir)

        asked_at = -VOTE

        def is_done() -> bool:
            nonlocal asked_at
            if time.monotonic() - asked_at >= VOTE:
                asked_at = time.monotonic()
                with suppress(ResponseError):  # it is done
                    heir.command("CLUSTER", "FAILOVER")
            return self._has_replaced(heir, old) and _follows(old)

        until(is_done, "the failover", PATIENCE)
        return old

    def _has_replaced(self, heir: Redis, old: Redis) -> bool:
        ports = [{port for _, _, port in self._map(node)} for node in self.nodes]
        return all(heir.port in known and old.port not in known for known in ports)

    def follow(self, replica: Redis, master: Redis) -> None:
        """Make a server that has no slots the replica of another."""

        def is_accepted() -> bool:
            try:
                replica.command("CLUSTER", "REPLICATE", self._identities[master])
            except ResponseError:  # it has not heard of it yet
                return False
            return True

        until(is_accepted, "the replica to know its master", PATIENCE)
        until(lambda: _follows(replica), "the replica to follow its master", PATIENCE)

    def disown(self, lost: Redis) -> list[tuple[int, int]]:
        """Let the other servers forget that this one had slots; return those as ranges."""
        others = [node for node in self.nodes if node is not lost]
        ranges = [(low, high) for low, high, port in self._map(others[0]) if port == lost.port]
        for node in others:
            for low, high in ranges:
                node.command("CLUSTER", "DELSLOTSRANGE", low, high)
        return ranges

    def inherit(self, heir: Redis, ranges: list[tuple[int, int]]) -> None:
        """Give slots that nobody has to a server."""
        for low, high in ranges:
            heir.command("CLUSTER", "ADDSLOTSRANGE", low, high)


def _follows(node: Redis) -> bool:
    told = node.command("INFO", "replication")
    return bool(told["role"] == "slave" and told["master_link_status"] == "up")


def heard(node: Redis, *channels: str) -> dict[str, int]:
    """Return how many are subscribed to each channel at this server."""
    found = node.command("PUBSUB", "SHARDNUMSUB", *channels)
    return {name.decode(): count for name, count in zip(found[::2], found[1::2], strict=True)}
