"""The Redis backend: servers that restart, hang, fail over or are not there."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Any

import pytest

from tests.engines import Redis, Sentinel, until
from tests.groups.redis.harness import Said, Tunnel, listening
from wsconsumer.counters import counters
from wsconsumer.exceptions import BackendError
from wsconsumer.groups.redis import node as redis_node
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
