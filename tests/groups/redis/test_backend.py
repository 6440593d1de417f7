"""The Redis backend: the contract on every kind of Redis, outages, settings."""

from __future__ import annotations

import asyncio
import logging
import re
import sys
import tempfile
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import pytest
from django.core.exceptions import ImproperlyConfigured
from redis.crc import key_slot

from tests.engines import Redis, RedisCluster, RedisTLS, Sentinel, free_port, until
from wsconsumer.counters import counters
from wsconsumer.exceptions import BackendError
from wsconsumer.groups import reconnecting
from wsconsumer.groups.redis import node as redis_node
from wsconsumer.groups.redis.backend import RedisBackend
from wsconsumer.groups.redis.cluster import Cluster
from wsconsumer.groups.redis.location import Location, forget_sync_clients
from wsconsumer.test import BackendContract
from wsconsumer.test.listener import Listener

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from wsconsumer.groups.base import Backend


@pytest.fixture(scope="module")
def directory() -> Iterator[Path]:
    """A directory with a short path, as a Unix socket wants it."""
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


@pytest.fixture(scope="module")
def server(directory: Path) -> Iterator[Redis]:
    """A server that no test ends."""
    redis = Redis(directory)
    yield redis
    redis.stop()


@pytest.fixture(scope="module")
def cluster(directory: Path) -> Iterator[RedisCluster]:
    """A cluster that no test ends."""
    redis = RedisCluster(directory)
    yield redis
    redis.stop()


@pytest.fixture(scope="module")
def sentinel(directory: Path, server: Redis) -> Iterator[Sentinel]:
    """A Sentinel that watches the server."""
    redis = Sentinel(directory, server)
    yield redis
    redis.stop()


@pytest.fixture(scope="module")
def tls(directory: Path) -> Iterator[RedisTLS]:
    """A server that speaks TLS."""
    redis = RedisTLS(directory)
    yield redis
    redis.stop()


@pytest.fixture
def own(directory: Path) -> Iterator[Redis]:
    """A server of this test's own, to end as it likes."""
    redis = Redis(directory)
    yield redis
    redis.stop()


@pytest.fixture
def said() -> Iterator[Said]:
    """What the log says of outages."""
    handler = Said()
    logger = logging.getLogger("wsconsumer.groups")
    logger.addHandler(handler)
    yield handler
    logger.removeHandler(handler)


class Said(logging.Handler):
    """Lines of the log, to be waited for."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []
        self._more = asyncio.Event()

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())
        self._more.set()

    async def until(self, text: str, times: int = 1, seconds: float = 10) -> None:
        """Wait until so many lines have this text in them."""
        async with asyncio.timeout(seconds):
            while sum(text in line for line in self.lines) < times:
                self._more.clear()
                await self._more.wait()


class Tunnel:
    """Carries bytes between clients and a port, or swallows them."""

    def __init__(self, port: int) -> None:
        self._to = port
        self._writers: list[asyncio.StreamWriter] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._swallowed: set[asyncio.StreamWriter] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connect, "127.0.0.1", 0)
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for writer in self._writers:
            writer.close()
        await asyncio.gather(*self._tasks)
        await asyncio.gather(*(writer.wait_closed() for writer in self._writers))

    def swallow(self) -> None:
        """From now on carry nothing more on the connections that there are."""
        self._swallowed.update(self._writers)

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", self._to)
        self._writers += [writer, back]
        self._tasks += [
            asyncio.create_task(self._carry(reader, back)),
            asyncio.create_task(self._carry(there, writer)),
        ]

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65_536):
            if writer not in self._swallowed:
                writer.write(data)
        writer.close()


@asynccontextmanager
async def listening(
    url: str | list[str], *groups: str, **options: object
) -> AsyncIterator[Listener]:
    """Start a backend that is subscribed to groups, and close it in the end."""
    listener = Listener(RedisBackend(url, "contract", options))
    await listener.backend.start(listener.deliver)
    try:
        await listener.backend.subscribe(groups)
        yield listener
    finally:
        listener.open.set()
        await listener.backend.aclose()


@pytest.fixture(autouse=True)
def _no_clients() -> Iterator[None]:
    """Leave no connection of a thread behind."""
    yield
    forget_sync_clients()


class TestOneServer(BackendContract):
    """The contract, on one server."""

    @pytest.fixture(autouse=True)
    def _redis(self, server: Redis) -> None:
        self.url = server.url

    def make_backend(self, prefix: str = "contract") -> Backend:
        return RedisBackend(self.url, prefix, {})


class TestUnixSocket(BackendContract):
    """The contract, through a Unix socket."""

    @pytest.fixture(autouse=True)
    def _redis(self, server: Redis) -> None:
        self.url = f"unix://{server.socket}"

    def make_backend(self, prefix: str = "contract") -> Backend:
        return RedisBackend(self.url, prefix, {})


class TestSentinel(BackendContract):
    """The contract, on the master that a Sentinel knows."""

    @pytest.fixture(autouse=True)
    def _redis(self, sentinel: Sentinel) -> None:
        self.url = sentinel.url

    def make_backend(self, prefix: str = "contract") -> Backend:
        return RedisBackend(self.url, prefix, {"SENTINEL": "mymaster"})


class TestCluster(BackendContract):
    """The contract, on a cluster."""

    @pytest.fixture(autouse=True)
    def _redis(self, cluster: RedisCluster) -> None:
        self.urls = [node.url for node in cluster.nodes]

    def make_backend(self, prefix: str = "contract") -> Backend:
        return RedisBackend(self.urls, prefix, {"CLUSTER": True})


class TestTLS(BackendContract):
    """The contract, through TLS."""

    @pytest.fixture(autouse=True)
    def _redis(self, tls: RedisTLS) -> None:
        self.url = tls.url

    def make_backend(self, prefix: str = "contract") -> Backend:
        return RedisBackend(self.url, prefix, {})


# One command, one pipeline


def broadcast_commands(server: Redis) -> dict[str, int]:
    """Return how often the commands were called that are not for looking after connections."""
    others = {"ping", "info", "config|resetstat", "client|setinfo", "client|setname", "select"}
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


async def test_a_channel_that_the_user_may_not_use(server: Redis, said: Said) -> None:
    """A prefix that the user has no right to is an outage, with Redis' own words."""
    server.command("ACL", "SETUSER", "few", "reset", "on", ">pw", "&few:*", "+@all")
    async with listening(f"redis://few:pw@127.0.0.1:{server.port}") as one:
        with pytest.raises(BackendError, match=r"'contract:g', but NoPermissionError"):
            await one.backend.publish("g", b"body")
        await one.backend.subscribe(["g"])
        await said.until("is away: NoPermissionError")


# Outages


async def test_a_restart(own: Redis, said: Said) -> None:
    """After a restart every subscription is made again; the log has two lines."""
    groups = [f"g{number}" for number in range(2_500)]
    async with listening(own.url, *groups) as one:
        await one.backend.publish("g0", b"before")
        await one.until("g0", b"before")
        own.restart()
        await said.until("is back")
        await asyncio.gather(*(one.backend.publish(group, b"after") for group in groups))
        await one.until_count(1 + len(groups))
        await asyncio.to_thread(one.backend.publish_sync, "g0", b"end")
        await one.until("g0", b"end")
    assert [line.split()[4] for line in said.lines] == ["away:", "back"]
    assert f"Redis at 127.0.0.1:{own.port} is away: ConnectionError: " in said.lines[0]
    assert counters["engine_lost"] == 1


async def test_publishing_while_it_is_away(own: Redis, said: Said) -> None:
    """While Redis is away publishing fails at once, with what is wrong."""
    async with listening(own.url, "g") as one:
        own.kill()
        await said.until("is away")
        with pytest.raises(BackendError, match="was expected to take a broadcast on 'contract:g'"):
            await one.backend.publish("g", b"lost")
        with pytest.raises(BackendError, match="It may not have reached anybody") as caught:
            await asyncio.to_thread(one.backend.publish_sync, "g", b"lost")
        assert caught.value.__cause__ is not None
        await one.backend.subscribe(["h"])
        await one.backend.unsubscribe(["g"])
        own.start()
        await said.until("is back")
        await one.backend.publish("g", b"unsubscribed")
        await one.backend.publish("h", b"body")
        await one.until("h", b"body")
        assert one.came == [("h", b"body")]


async def test_a_publish_that_is_cut_off(own: Redis) -> None:
    """A publish that Redis did not answer before it went has failed."""
    async with listening(own.url) as one:
        own.pause()
        publishes = [asyncio.create_task(one.backend.publish("g", b"cut")) for _ in range(3)]
        await asyncio.wait(publishes, timeout=0)
        own.kill()
        for publish in publishes:
            with pytest.raises(BackendError):
                await publish


async def test_not_there_at_the_start(own: Redis, said: Said) -> None:
    """A backend starts without Redis, and is there when Redis is."""
    own.kill()
    async with listening(own.url, "g") as one:
        assert "is away: ConnectionError" in said.lines[0]
        with pytest.raises(BackendError, match="ConnectionError"):
            await one.backend.publish("g", b"lost")
        idle = RedisBackend(own.url, "contract", {})
        with pytest.raises(BackendError, match="ConnectionError"):
            await asyncio.to_thread(idle.publish_sync, "g", b"lost")
        own.start()
        await said.until("is back")
        await one.backend.publish("g", b"body")
        await one.until("g", b"body")
    assert len(said.lines) == 2


async def test_a_wrong_password(own: Redis, said: Said) -> None:
    """A wrong password is an outage too, until it is right; the log does not show it."""
    own.set_password("right", with_password="")
    async with listening(f"redis://:wrong-one@127.0.0.1:{own.port}", "g") as one:
        assert "AuthenticationError" in said.lines[0]
        with pytest.raises(BackendError, match="AuthenticationError"):
            await one.backend.publish("g", b"lost")
        own.set_password("wrong-one", with_password="right")
        await said.until("is back")
        await one.backend.publish("g", b"body")
        await one.until("g", b"body")
    assert "wrong-one" not in "".join(said.lines)


async def test_clients_are_killed(own: Redis, said: Said) -> None:
    """``CLIENT KILL TYPE pubsub`` costs what is published meanwhile, and nothing else."""
    async with listening(own.url, "g") as one:
        for turn in range(3):
            assert own.command("CLIENT", "KILL", "TYPE", "pubsub") == 1
            await said.until("is back", turn + 1)
            await one.backend.publish("g", b"%d" % turn)
            await one.until("g", b"%d" % turn)
    assert len(said.lines) == 6


async def test_the_connection_that_publishes_is_killed(own: Redis, said: Said) -> None:
    """A connection that Redis closed while it idled is made anew, unnoticed."""
    async with listening(own.url, "g") as one:
        await one.backend.publish("g", b"before")
        await asyncio.to_thread(one.backend.publish_sync, "g", b"before")
        await asyncio.to_thread(own.command, "CLIENT", "KILL", "TYPE", "normal")
        await one.backend.publish("g", b"after")
        await asyncio.to_thread(one.backend.publish_sync, "g", b"after")
        await one.until_count(4)
    assert said.lines == []


async def test_a_pause(own: Redis, said: Said, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Redis that hangs is found out, and is back when it goes on."""
    monkeypatch.setattr(redis_node, "PING_EVERY", 0.05)
    async with listening(own.url, "g", TIMEOUT=0.2) as one:
        own.pause()
        await said.until("is away: TimeoutError: it did not answer in time")
        with pytest.raises(BackendError, match="TimeoutError"):
            await one.backend.publish("g", b"lost")
        own.resume()
        await said.until("is back")
        await one.backend.publish("g", b"body")
        await one.until("g", b"body")
    assert len(said.lines) == 2


async def test_publishing_to_one_that_hangs(own: Redis, said: Said) -> None:
    """Before anybody knows that Redis hangs, publishing fails within TIMEOUT, queued or not."""
    loop = asyncio.get_running_loop()
    async with listening(own.url, "g", TIMEOUT=0.3) as one:
        await one.backend.publish("g", b"before")
        own.pause()
        start = loop.time()
        first = asyncio.create_task(one.backend.publish("g", b"one"))
        await asyncio.wait({first}, timeout=0.1)
        second = asyncio.create_task(one.backend.publish("g", b"two"))
        third = asyncio.to_thread(RedisBackend(own.url, "contract", {"TIMEOUT": 0.3}).publish_sync,
                                  "g", b"three")  # fmt: skip
        for publish in (first, second, third):
            with pytest.raises(BackendError, match="TimeoutError"):
                await publish
        assert loop.time() - start < 2
        own.resume()
        await one.backend.publish("g", b"end")
        await one.until("g", b"end")
    assert said.lines == []


async def test_a_half_open_connection(
    own: Redis, said: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection that nothing comes through any more is given up for a new one."""
    monkeypatch.setattr(redis_node, "PING_EVERY", 0.05)
    async with Tunnel(own.port) as tunnel:
        url = f"redis://127.0.0.1:{tunnel.port}"
        async with listening(url, "g", TIMEOUT=0.3) as one:
            await one.backend.publish("g", b"before")
            await one.until("g", b"before")
            tunnel.swallow()
            await said.until("is back")
            await one.backend.publish("g", b"after")
            await one.until("g", b"after")
    assert len(said.lines) == 2


async def test_idling_is_no_outage(own: Redis, said: Said, monkeypatch: pytest.MonkeyPatch) -> None:
    """A subscriber that hears nothing for longer than any timeout stays connected."""
    monkeypatch.setattr(redis_node, "PING_EVERY", 0.02)
    async with listening(own.url, "g", TIMEOUT=0.1) as one:
        own.command("CONFIG", "RESETSTAT")
        await asyncio.to_thread(until, lambda: own.calls().get("ping", 0) > 20, "twenty pings")
        await one.backend.publish("g", b"body")
        await one.until("g", b"body")
    assert said.lines == []


async def test_a_slow_deliver_is_no_outage(
    own: Redis, said: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Time that we take to deliver is not held against Redis."""
    monkeypatch.setattr(redis_node, "PING_EVERY", 0.02)
    async with listening(own.url, "g", TIMEOUT=0.1) as one:
        one.open.clear()
        await one.backend.publish("g", b"slow")
        await one.until("g", b"slow")
        asyncio.get_running_loop().call_later(0.5, one.open.set)
        await one.backend.subscribe(["h"])  # returns within TIMEOUT, before its confirmation
        assert not one.open.is_set()
        await one.backend.publish("h", b"body")
        await one.until("h", b"body")
    assert said.lines == []


async def test_what_comes_after_an_unsubscribe(own: Redis) -> None:
    """What was on its way when a group was unsubscribed is not delivered."""
    async with listening(own.url, "g", "end") as one:
        one.open.clear()
        for body in (b"first", b"second"):
            await one.backend.publish("g", body)
        await one.backend.publish("end", b"end")
        await one.until("g", b"first")
        await one.backend.unsubscribe(["g"])
        one.open.set()
        await one.until("end", b"end")
        assert one.came == [("g", b"first"), ("end", b"end")]


async def test_subscribing_at_one_that_hangs(
    own: Redis, said: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A subscription returns within TIMEOUT, sent or not, and is made when Redis is back."""
    monkeypatch.setattr(redis_node, "PING_EVERY", 0.5)
    async with listening(own.url, TIMEOUT=0.2) as one:
        own.pause()
        await one.backend.subscribe(["before"])
        more_than_a_socket_takes = [f"{number}" * 1_000_000 for number in range(10, 50)]
        await one.backend.subscribe(more_than_a_socket_takes)
        await one.backend.subscribe(["g"])
        await one.backend.unsubscribe(more_than_a_socket_takes)
        await said.until("is away")
        own.restart()
        await said.until("is back")
        for group in ("before", "g"):
            await one.backend.publish(group, b"body")
            await one.until(group, b"body")


async def test_subscribing_on_a_connection_that_broke(own: Redis, said: Said) -> None:
    """After a write that failed nothing more is sent there; all is subscribed anew elsewhere."""
    async with listening(own.url, "before") as one:
        node: Any = one.backend._engine  # type: ignore[attr-defined]  # noqa: SLF001
        await node._connection.disconnect(nowait=True)  # noqa: SLF001
        await one.backend.subscribe(["g"])
        await said.until("is back")
        for group in ("before", "g"):
            await one.backend.publish(group, b"body")
            await one.until(group, b"body")


async def test_closed_with_publishes_under_way(own: Redis) -> None:
    """``aclose()`` does not leave those waiting who still publish."""
    listener = Listener(RedisBackend(own.url, "contract", {}))
    await listener.backend.start(listener.deliver)
    own.pause()
    publish = asyncio.create_task(listener.backend.publish("g", b"body"))
    await asyncio.wait({publish}, timeout=0)
    await listener.backend.aclose()
    with pytest.raises(BackendError, match="the backend was closed meanwhile"):
        await publish
    own.resume()


async def test_closed_while_it_is_away(own: Redis) -> None:
    """``aclose()`` ends the attempts to reach Redis."""
    own.kill()
    async with listening(own.url, "g"):
        pass
    await RedisBackend(own.url, "contract", {}).aclose()


async def test_a_sentinel_fails_over(directory: Path, own: Redis, said: Said) -> None:
    """When the Sentinel makes a replica the master, the backend follows."""
    replica = Redis(directory, "--replicaof", "127.0.0.1", str(own.port))
    until(lambda: replica.command("INFO", "replication")["master_link_status"] == "up", "a replica")
    sentinel = Sentinel(directory, own)
    try:
        until(lambda: sentinel.command("SENTINEL", "REPLICAS", "mymaster"), "the replica seen")
        async with listening(sentinel.url, "g", SENTINEL="mymaster") as one:
            await one.backend.publish("g", b"before")
            await one.until("g", b"before")
            own.kill()
            await said.until("is back", seconds=30)
            await one.backend.publish("g", b"after")
            await asyncio.to_thread(one.backend.publish_sync, "g", b"end")
            await one.until("g", b"end")
            assert replica.command("INFO", "replication")["role"] == "master"
        assert f"Redis 'mymaster' of the Sentinels at 127.0.0.1:{sentinel.port}" in said.lines[0]
    finally:
        sentinel.stop()
        replica.stop()


async def test_a_server_that_sends_us_elsewhere(said: Said) -> None:
    """A redirection where no cluster was configured is an outage, with what the server said."""
    asked = asyncio.Semaphore(0)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.release()
        while data := await reader.read(65_536):
            for word in re.findall(rb"\*\d+\r\n\$\d+\r\n(\w+)", data):
                answer = {b"SUBSCRIBE": b"-MOVED 1 other:1\r\n", b"PING": b"+PONG\r\n"}
                writer.write(answer.get(word, b"+OK\r\n"))
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with listening(f"redis://127.0.0.1:{port}", "g"):
            await said.until("is away: MovedError: 1 other:1")
            for _ in range(3):
                await asked.acquire()
    assert len(said.lines) == 1


# A cluster that changes


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
        await asyncio.to_thread(cluster.move, slot, target)
        await one.backend.publish("circle", b"body")


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
            await one.backend.publish("other", b"body")
            await one.until("other", b"body")
            node.command("CLUSTER", "ADDSLOTS", slot)
            await said.until("is back")
            await one.backend.publish("g", b"body")
            await one.until("g", b"body")
    finally:
        node.stop()


def is_heard(node: Redis, channel: str) -> bool:
    """Tell whether anybody is subscribed to a channel at this server."""
    return bool(node.command("PUBSUB", "SHARDNUMSUB", channel)[1])


# Settings


@pytest.mark.parametrize(
    ("location", "options", "message"),
    [
        ("", {}, r"expects the URL of one Redis server, such as .*, got none"),
        ([], {}, "got none"),
        (["redis://a", "redis://b"], {}, "got 2. Several are for OPTIONS that say CLUSTER"),
        ("localhost:6379", {}, "has a URL that can't be read. Write it as redis://"),
        ("redis://localhost:0x", {}, "has a URL that can't be read"),
        ("redis://localhost?colour=red", {}, "parameters that a connection to Redis can't take"),
        ("redis://h", {"DB": 1}, r"has 'DB', .* There are CLUSTER, SENTINEL, SENTINEL_USERNAME"),
        ("redis://h", {"TIMEOUT": "5"}, r"\['TIMEOUT'\] expects a number, got a str"),
        ("redis://h", {"TIMEOUT": 0}, "expects a number of seconds above 0, got 0"),
        ("redis://h", {"TIMEOUT": True}, "expects a number of seconds above 0, got True"),
        ("redis://h", {"CLUSTER": "yes"}, r"\['CLUSTER'\] expects a bool, got a str"),
        ("redis://h", {"CLUSTER": True, "SENTINEL": "m"}, "has both CLUSTER and SENTINEL"),
        ("unix:///run/redis.sock", {"CLUSTER": True}, "names a Unix socket, and CLUSTER or"),
    ],
    ids=[
        "empty", "no-list", "several", "no-scheme", "port", "parameter", "unknown-option",
        "timeout-type", "timeout-zero", "timeout-bool", "cluster-type", "both", "socket",
    ],
)  # fmt: skip
def test_mistakes_in_the_settings(
    location: str | list[str], options: dict[str, Any], message: str
) -> None:
    """What can be told to be wrong without a connection is refused when the backend is made."""
    with pytest.raises(ImproperlyConfigured, match=message):
        RedisBackend(location, "prefix", options)


def test_no_error_and_no_text_shows_a_password() -> None:
    """Neither errors nor what the log calls Redis have the password in them."""
    for url in (
        "http://:secret@host",
        "redis://me:secret/x@host",
        "redis://:secret@host:0x",
        "redis://:secret@host?a=b",
    ):
        with pytest.raises(ImproperlyConfigured) as caught:
            RedisBackend(url, "prefix", {})
        assert "secret" not in str(caught.value)
    location = Location.read("redis://:secret@host", {"SENTINEL": "m", "SENTINEL_PASSWORD": "pw1"})
    assert "secret" not in location.name
    assert "secret" not in repr(location)
    assert "pw1" not in repr(location)


@pytest.mark.parametrize(
    ("location", "options", "addresses"),
    [
        ("redis://:a,b@one", {}, [("one", 6379)]),
        ("redis://one,two:7", {"CLUSTER": True}, [("one", 6379), ("two", 7)]),
        ("redis://one; redis://two", {"CLUSTER": True}, [("one", 6379), ("two", 6379)]),
        (["redis://one", "two"], {"SENTINEL": "m"}, [("one", 26379), ("two", 26379)]),
        ("unix:///run/redis.sock", {}, []),
    ],
    ids=["comma-in-password", "commas", "semicolons", "sentinels", "socket"],
)
def test_addresses(
    location: str | list[str], options: dict[str, Any], addresses: list[tuple[str, int]]
) -> None:
    """LOCATION is one URL, or several where there can be several servers."""
    assert list(Location.read(location, options).addresses) == addresses


def test_a_url_can_not_bring_timeouts_or_retries() -> None:
    """Parameters that would break the promises are set right: no retry, no end to idling."""
    location = Location.read(
        "redis://host?socket_timeout=1&retry_on_timeout=1&health_check_interval=1&protocol=3"
        "&decode_responses=1&client_name=chat",
        {},
    )
    connection = location.pool().make_connection()
    assert connection.socket_timeout is None
    assert connection.retry.get_retries() == 0
    assert connection.health_check_interval == 0
    assert connection.client_name == "chat"
