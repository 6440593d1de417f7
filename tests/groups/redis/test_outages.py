"""The Redis backend: servers that restart, hang, fail over or are not there."""

from __future__ import annotations

import asyncio
import socket
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from tests.engines import Redis, Sentinel, until
from tests.groups.redis.harness import Fake, Said, Tunnel, listening
from wsconsumer.counters import counters
from wsconsumer.exceptions import BackendError
from wsconsumer.groups.redis import node as redis_node
from wsconsumer.groups.redis import threads as redis_threads
from wsconsumer.groups.redis.backend import RedisBackend
from wsconsumer.test.listener import Listener

if TYPE_CHECKING:
    from pathlib import Path


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
        with pytest.raises(BackendError, match="did not accept a broadcast to 'contract:g'"):
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
        await said.until("is away: TimeoutError: no answer in time")
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


async def test_publishing_more_than_a_socket_takes(own: Redis) -> None:
    """Cut off by TIMEOUT in the middle of a broadcast, the connection is closed, not used again."""

    def clients() -> set[str]:
        return {client["id"] for client in own.command("CLIENT LIST", "TYPE", "normal")}

    async with listening(own.url, "g", TIMEOUT=1) as one:
        await one.backend.publish("g", b"before")
        before = clients()
        own.pause()
        with pytest.raises(BackendError, match="TimeoutError"):
            await one.backend.publish("other", b"x" * 20_000_000)
        own.resume()
        # What was under way is written before it is closed.
        await asyncio.to_thread(until, lambda: not before & clients(), "the connection's end")
        await one.backend.publish("g", b"after")
        await one.until("g", b"after")


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
        node: Any = one.backend._engine  # type: ignore[attr-defined]  # noqa: SLF001  # what is inside is what is tested
        await node._connection.disconnect(nowait=True)  # noqa: SLF001  # what is inside is what is tested
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
    with pytest.raises(BackendError, match="the backend was closed"):
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
    async with (
        Fake(SUBSCRIBE=b"-MOVED 1 other:1\r\n") as fake,
        listening(f"redis://127.0.0.1:{fake.port}", "g"),
    ):
        await said.until("is away: MovedError: 1 other:1")
        await fake.until(b"SUBSCRIBE", 3)
    assert len(said.lines) == 1


async def test_an_error_that_nobody_asked_for(said: Said) -> None:
    """It is the connection's: an outage, with what the server said."""
    async with (
        Fake(SUBSCRIBE=b"") as fake,
        listening(f"redis://127.0.0.1:{fake.port}", "g"),
    ):
        await fake.until(b"HELLO", 2)
        fake.say(b"-ERR out of the blue\r\n")
        await said.until("is away: ResponseError: out of the blue")
        await said.until("is back")
    assert len(said.lines) == 2


async def test_a_message_of_another_kind(said: Said) -> None:
    """What is no message of ours is passed over."""
    message = b"*3\r\n$7\r\nmessage\r\n$10\r\ncontract:g\r\n$4\r\nbody\r\n"
    async with (
        Fake(SUBSCRIBE=b"") as fake,
        listening(f"redis://127.0.0.1:{fake.port}", "g") as one,
    ):
        fake.say(message.replace(b"$7\r\nmessage", b"$5\r\nother") + message)
        await one.until_count(1)
    assert said.lines == []


# Connections that idle


async def test_the_connection_that_publishes_does_not_idle(
    own: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each beat uses it too, so that nothing on the way forgets it."""
    monkeypatch.setattr(redis_node, "PING_EVERY", 0.02)
    async with listening(own.url, "g"):
        own.command("CONFIG", "RESETSTAT")
        await asyncio.to_thread(until, lambda: own.calls().get("hello", 0) > 20, "twenty questions")


async def test_a_connection_that_was_forgotten(
    own: Redis, said: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The beat finds out that nothing comes through, and opens another before it is needed."""
    monkeypatch.setattr(redis_node, "PING_EVERY", 0.02)
    async with Tunnel(own.port) as tunnel:
        url = f"redis://127.0.0.1:{tunnel.port}"
        async with listening(url, "g", TIMEOUT=0.5) as one:
            tunnel.swallow(first=1)
            await tunnel.until_connections(3)
            await one.backend.publish("g", b"body")
            await one.until("g", b"body")
    assert said.lines == []


@pytest.mark.parametrize(("idle", "opened"), [(60, 1), (0, 4)], ids=["soon", "late"])
def test_a_threads_connection_that_idled(
    own: Redis, monkeypatch: pytest.MonkeyPatch, idle: float, opened: int
) -> None:
    """It is used again within some seconds; later it is closed, and another is opened."""
    monkeypatch.setattr(redis_threads, "IDLE", idle)
    backend = RedisBackend(own.url, "contract", {})
    before = own.command("INFO", "stats")["total_connections_received"]
    for _ in range(4):
        backend.publish_sync("g", b"body")
    after = own.command("INFO", "stats")["total_connections_received"]
    assert after - before - 1 == opened


# A primary that is none


async def test_a_replica(directory: Path, own: Redis, said: Said) -> None:
    """A LOCATION that leads to a replica is an outage until that is the primary."""
    replica = Redis(directory, "--replicaof", "127.0.0.1", str(own.port))
    try:
        async with listening(replica.url, "g") as one:
            assert "is away: ReplicaError: it is a replica" in said.lines[0]
            with pytest.raises(BackendError, match="ReplicaError"):
                await one.backend.publish("g", b"lost")
            idle = RedisBackend(replica.url, "contract", {})
            for backend in (one.backend, idle):
                with pytest.raises(BackendError, match="ReplicaError"):
                    await asyncio.to_thread(backend.publish_sync, "g", b"lost")
            replica.command("REPLICAOF", "NO", "ONE")
            await said.until("is back")
            await one.backend.publish("g", b"body")
            await asyncio.to_thread(idle.publish_sync, "g", b"more")
            await one.until("g", b"more")
    finally:
        replica.stop()


@pytest.mark.parametrize("rename", ["", "HELLO"], ids=["hello", "role"])
async def test_a_primary_that_becomes_a_replica(
    directory: Path, said: Said, monkeypatch: pytest.MonkeyPatch, rename: str
) -> None:
    """Whoever is behind the name now is followed, though the old server answers all the time."""
    monkeypatch.setattr(redis_node, "PING_EVERY", 0.02)
    monkeypatch.setattr(redis_threads, "CHECK_EVERY", 0)
    old = Redis(directory, *(["--rename-command", rename, ""] if rename else []))
    new = Redis(directory)
    try:
        async with Tunnel(old.port) as tunnel:
            url = f"redis://127.0.0.1:{tunnel.port}"
            idle = RedisBackend(url, "contract", {})
            async with listening(url, "g") as one, listening(new.url, "g") as two:
                await one.backend.publish("g", b"before")
                await asyncio.to_thread(idle.publish_sync, "g", b"before")
                await one.until_count(2)
                tunnel.to = new.port
                old.command("REPLICAOF", "127.0.0.1", new.port)
                await said.until("is away: ReplicaError")
                await said.until("is back")
                with pytest.raises(BackendError, match="ReplicaError"):
                    await asyncio.to_thread(idle.publish_sync, "g", b"lost")
                await one.backend.publish("g", b"after")
                await asyncio.to_thread(idle.publish_sync, "g", b"after")
                await two.until_count(2)
                await two.backend.publish("g", b"back")
                await one.until("g", b"back")
                assert two.of("g") == [b"after", b"after", b"back"]
    finally:
        old.stop()
        new.stop()


async def test_publishing_at_one_that_has_become_a_replica(own: Redis, said: Said) -> None:
    """A publish that opens a connection to a replica is refused, before any beat."""
    async with listening(own.url, "g") as one:
        own.command("REPLICAOF", "127.0.0.1", "1")
        await asyncio.to_thread(own.command, "CLIENT", "KILL", "TYPE", "normal")
        with pytest.raises(BackendError, match="ReplicaError"):
            await one.backend.publish("g", b"lost")
    assert said.lines == []


async def test_a_role_that_is_not_told(directory: Path, said: Said) -> None:
    """Where neither HELLO nor ROLE may be called, a warning at the start says what that means."""
    server = Redis(directory, "--rename-command", "HELLO", "", "--rename-command", "ROLE", "")
    try:
        async with listening(server.url, "g") as one:
            await one.backend.publish("g", b"body")
            await one.until("g", b"body")
            assert len(said.lines) == 1
            assert "tells its role neither by HELLO nor by ROLE" in said.lines[0]
        for _ in range(3):
            await asyncio.to_thread(one.backend.publish_sync, "g", b"body")
        assert len(said.lines) == 2
    finally:
        server.stop()


async def test_a_reply_without_a_role(said: Said) -> None:
    """What only resembles Redis may answer without a role: that is told in the same way."""
    async with (
        Fake(HELLO=b"*0\r\n", ROLE=b"*1\r\n:1\r\n", SUBSCRIBE=b"") as fake,
        listening(f"redis://127.0.0.1:{fake.port}"),
    ):
        assert "tells its role neither" in said.lines[0]


# Sentinels


async def test_a_sentinel_that_is_silent(sentinel: Sentinel, said: Said) -> None:
    """One that never answers has its share of the time, and the next is asked."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        urls = [f"redis://127.0.0.1:{silent.getsockname()[1]}", f"127.0.0.1:{sentinel.port}"]
        async with listening(urls, "g", SENTINEL="mymaster", TIMEOUT=2) as one:
            await one.backend.publish("g", b"body")
            await asyncio.to_thread(one.backend.publish_sync, "g", b"more")
            await one.until("g", b"more")
    assert said.lines == []


async def test_a_sentinel_that_names_a_dead_master(
    directory: Path, sentinel: Sentinel, said: Said
) -> None:
    """One whose master is of no use is asked last from then on."""
    dead = Redis(directory)
    wrong = Sentinel(directory, dead)
    dead.kill()
    try:
        urls = [wrong.url, sentinel.url]
        async with listening(urls, "g", SENTINEL="mymaster") as one:
            assert "is away: ConnectionError" in said.lines[0]
            await said.until("is back")
            await one.backend.publish("g", b"body")
            idle = RedisBackend(urls, "contract", {"SENTINEL": "mymaster"})
            await asyncio.to_thread(idle.publish_sync, "g", b"more")
            await one.until("g", b"more")
        assert len(said.lines) == 2
    finally:
        wrong.stop()


async def test_sentinels_that_name_a_replica(
    directory: Path, own: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thread that was led to a replica asks the other Sentinels first next time."""
    replica = Redis(directory, "--replicaof", "127.0.0.1", str(own.port))
    named = f"*2\r\n$9\r\n127.0.0.1\r\n${len(str(replica.port))}\r\n{replica.port}\r\n"
    right = f"*2\r\n$9\r\n127.0.0.1\r\n${len(str(own.port))}\r\n{own.port}\r\n"
    try:
        async with Fake(SENTINEL=named.encode()) as one, Fake(SENTINEL=right.encode()) as two:
            urls = [f"redis://127.0.0.1:{fake.port}" for fake in (one, two)]
            backend = RedisBackend(urls, "contract", {"SENTINEL": "mymaster"})
            with pytest.raises(BackendError, match="ReplicaError"):
                await asyncio.to_thread(backend.publish_sync, "g", b"lost")
            await asyncio.to_thread(backend.publish_sync, "g", b"body")
    finally:
        replica.stop()


async def test_a_name_that_no_sentinel_knows(sentinel: Sentinel, said: Said) -> None:
    """It is an outage that says so, for every Sentinel."""
    async with listening(sentinel.url, SENTINEL="other") as one:
        assert "no Sentinel names a master that can be reached" in said.lines[0]
        assert "it does not know 'other'" in said.lines[0]
    idle = RedisBackend(sentinel.url, "contract", {"SENTINEL": "other"})
    for backend in (one.backend, idle):
        with pytest.raises(BackendError, match=r"no Sentinel names .* does not know 'other'"):
            await asyncio.to_thread(backend.publish_sync, "g", b"lost")


# More threads than connections


async def test_threads_take_turns(own: Redis) -> None:
    """With ``max_connections`` in the URL threads wait for a connection, and all publish."""
    backend = RedisBackend(f"{own.url}?max_connections=2", "contract", {})
    async with listening(own.url, "g") as one:
        before = own.command("INFO", "stats")["total_connections_received"]
        own.pause()
        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(20) as pool:
            publishes = [
                loop.run_in_executor(pool, backend.publish_sync, "g", b"%d" % number)
                for number in range(20)
            ]
            await asyncio.wait(publishes, timeout=0.05)
            own.resume()
            await asyncio.gather(*publishes)
        await one.until_count(20)
        after = own.command("INFO", "stats")["total_connections_received"]
        assert after - before - 1 == 2


async def test_threads_that_wait_in_vain(own: Redis) -> None:
    """A thread that gets no connection within TIMEOUT is told so."""
    backend = RedisBackend(f"{own.url}?max_connections=1", "contract", {"TIMEOUT": 0.3})
    backend.publish_sync("g", b"before")
    own.pause()
    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(3) as pool:
        errors = await asyncio.gather(
            *(loop.run_in_executor(pool, backend.publish_sync, "g", b"lost") for _ in range(3)),
            return_exceptions=True,
        )
    own.resume()
    assert all("TimeoutError" in str(error) for error in errors)
    assert any("no connection was free within 0.3 seconds" in str(error) for error in errors)
    backend.publish_sync("g", b"after")
