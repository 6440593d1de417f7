"""``groups/redis/threads.py``: the map of a cluster, as threads without an event loop have it."""

from __future__ import annotations

import socket
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from tests.engines import Redis, free_port
from tests.groups.redis.harness import listening
from wsconsumer.exceptions import BackendError
from wsconsumer.groups.redis import threads as redis_threads
from wsconsumer.groups.redis.backend import RedisBackend
from wsconsumer.groups.redis.location import Location
from wsconsumer.groups.redis.threads import ClusterThreads

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def alone(directory: Path) -> Iterator[Redis]:
    """A cluster of one server, of this test's own."""
    redis = Redis(directory, "--cluster-enabled", "yes", "--cluster-port", str(free_port()))
    redis.command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
    yield redis
    redis.stop()


def backend_at(*urls: str, timeout: float = 5) -> RedisBackend:
    """Return a backend that nobody has started, as in a process that only publishes."""
    return RedisBackend([*urls], "contract", {"CLUSTER": True, "TIMEOUT": timeout})


def maps(server: Redis) -> int:
    """Return how often the map was asked for."""
    return server.calls().get("cluster|slots", 0)


def test_a_server_that_goes(alone: Redis) -> None:
    """The broadcast that finds out fails, and the next one asks for the map."""
    backend = backend_at(alone.url)
    backend.publish_sync("g", b"before")
    alone.pause()
    alone.kill()
    with pytest.raises(BackendError, match="Redis Cluster at"):
        backend.publish_sync("g", b"lost")
    with pytest.raises(BackendError, match="ConnectionError"):
        backend.publish_sync("g", b"lost")
    alone.start()
    backend.publish_sync("g", b"after")


def test_a_server_that_does_not_answer(alone: Redis) -> None:
    """The next one of LOCATION is asked for the map."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"redis://127.0.0.1:{silent.getsockname()[1]}"
        backend_at(url, alone.url, timeout=1).publish_sync("g", b"body")
    assert maps(alone) == 1


def test_a_server_without_a_map(directory: Path, alone: Redis) -> None:
    """One that belongs to no cluster any more knows nothing: the next one is asked."""
    reset = Redis(directory, "--cluster-enabled", "yes", "--cluster-port", str(free_port()))
    try:
        backend_at(reset.url, alone.url).publish_sync("g", b"body")
    finally:
        reset.stop()
    assert maps(alone) == 1


@pytest.mark.parametrize(("every", "asked"), [(60, 1), (0, 5)], ids=["young", "old"])
async def test_a_map_that_is_old(
    alone: Redis, monkeypatch: pytest.MonkeyPatch, every: float, asked: int
) -> None:
    """It is asked for again before it is used."""
    monkeypatch.setattr(redis_threads, "CHECK_EVERY", every)
    backend = backend_at(alone.url)
    for _ in range(5):
        backend.publish_sync("g", b"body")
    assert maps(alone) == asked


def test_an_old_map_when_nobody_gives_a_new_one(
    alone: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may still be right: its servers are asked to publish."""
    monkeypatch.setattr(redis_threads, "CHECK_EVERY", 0)
    alone.command("ACL", "SETUSER", "few", "reset", "on", ">pw", "&*", "+spublish", "+cluster")
    backend = backend_at(f"redis://few:pw@127.0.0.1:{alone.port}")
    backend.publish_sync("g", b"before")
    alone.command("ACL", "SETUSER", "few", "-cluster")
    backend.publish_sync("g", b"after")


async def test_many_threads_ask_once(alone: Redis) -> None:
    """Threads that have no map wait for the one that asks."""
    publisher = ClusterThreads(Location.read([alone.url], {"CLUSTER": True}), "SPUBLISH")
    async with listening([alone.url], "g", CLUSTER=True) as one:
        alone.command("CONFIG", "RESETSTAT")
        with ThreadPoolExecutor(10) as pool:
            for number in range(10):
                pool.submit(publisher.publish, b"contract:g", b"%d" % number)
            await one.until_count(10)
        assert maps(alone) == 1
