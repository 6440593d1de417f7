"""``groups/redis/leases.py``: rights, commands, expiry, and counts under stress."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from tests.groups.counting_stress import Stress, quick
from tests.groups.redis.harness import Said, lose
from tests.marks import ROOT
from wsconsumer.exceptions import BackendError
from wsconsumer.groups.leasing import FORGOTTEN_AFTER
from wsconsumer.groups.redis.backend import RedisBackend
from wsconsumer.groups.redis.leases import RIGHTS
from wsconsumer.test.leasing import LONG

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.clusters import RedisCluster
    from tests.engines import Redis

PREFIX = "leases"
TAG = f"{{{PREFIX}:wsconsumer:processes}}"


async def _nothing(*_: object) -> None:
    """Deliver nothing."""


async def started(location: str) -> RedisBackend:
    """Return a backend that is started."""
    backend = RedisBackend(location, PREFIX, {"TIMEOUT": 2.0})
    await backend.start(_nothing)
    return backend


def allow(server: Redis, *rules: str) -> str:
    """Let a user have these rights and those of a subscriber; return the URL."""
    server.command("ACL", "SETUSER", "some", "reset", "on", ">pw", f"&{PREFIX}:*", "+ping", *rules)
    return f"redis://some:pw@127.0.0.1:{server.port}"


async def test_the_rights_that_it_needs(own: Redis) -> None:
    """Those that the documentation names are enough."""
    backend = await started(allow(own, f"~{{{PREFIX}:*", *RIGHTS.split()))
    await backend.begin("a", LONG)
    assert (await backend.beat("a", LONG)).is_held
    assert await backend.admit("a", {"k": 2, "l": 0}, [[("k", 3)]]) == [True]
    own.command("HSET", f"{TAG}:c:k", "dead", "1")
    assert await backend.counted(["k"]) == {"k": {"a": 3}}
    await backend.leave("a")
    await backend.aclose()


def test_the_documentation_names_them() -> None:
    """All of them, in the part about what processes count."""
    page = (ROOT / "docs" / "engines.md").read_text()
    named = page.rpartition("### What processes count")[2].partition("```text")[2]
    assert {*RIGHTS.split()} <= {*named.partition("```")[0].split()}


async def test_a_right_that_is_missing(own: Redis) -> None:
    """The error names those that it needs."""
    backend = await started(allow(own, f"~{{{PREFIX}:*", "+eval"))
    with pytest.raises(BackendError) as caught:
        await backend.begin("a", LONG)
    text = str(caught.value)
    assert "does not count the connections of all processes: NoPermissionError" in text or (
        "does not count the connections of all processes: ResponseError" in text
    )
    assert f"such as ~{{wsconsumer:*, and {RIGHTS}." in text
    await backend.aclose()


async def test_an_engine_that_is_away(own: Redis, said: Said) -> None:
    """The error says so, and is not that of a broadcast."""
    backend = await started(own.url)
    own.kill()
    await said.until("is away")
    with pytest.raises(BackendError, match="does not count the connections of all") as caught:
        await backend.beat("a", LONG)
    assert "broadcast" not in str(caught.value)
    await backend.aclose()


async def test_nothing_stays(own: Redis) -> None:
    """All keys expire, unless a process is there that writes them again."""
    backend = await started(own.url)
    await backend.begin("a", LONG)
    await backend.admit("a", {"k": 2}, [[("l", 3)]])
    keys = {key.decode() for key in own.command("KEYS", "*")}
    assert keys == {f"{TAG}:l", f"{TAG}:c:k", f"{TAG}:c:l"}
    for key in keys:
        assert 0 < own.command("TTL", key) <= FORGOTTEN_AFTER
    await backend.admit("a", {"k": 0, "l": 0}, [])
    await backend.leave("a")
    assert own.command("KEYS", "*") == []
    await backend.aclose()


async def test_a_call_is_one_command(own: Redis) -> None:
    """Whoever comes, and whatever is written with it."""
    backend = await started(own.url)
    await backend.begin("a", LONG)
    own.command("CONFIG", "RESETSTAT")
    await backend.admit("a", {"k": 2, "m": 1}, [[("k", 3), ("l", 3)], [("l", 3)]])
    assert own.calls()["eval"] == 1
    await backend.beat("a", LONG)
    assert own.calls()["eval"] == 2
    await backend.aclose()


async def run(make_backend: Callable[[], Any], seed: int, servers: Any, loses: bool) -> None:
    """Run the stress."""

    async def lose_all() -> None:
        await asyncio.to_thread(lose, servers, f"{{{PREFIX}:")

    await lose_all()
    await Stress(make_backend, seed).run(150, lose_all if loses else None)
    await lose_all()


@pytest.mark.parametrize("loses", [False, True])
async def test_counts(server: Redis, loses: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """No limit is passed, and in the end the count is the truth."""
    quick(monkeypatch)
    await run(lambda: RedisBackend(server.url, PREFIX, {}), 3, [server], loses)


async def test_counts_in_a_cluster(cluster: RedisCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """So it is in a cluster."""
    quick(monkeypatch)
    options = {"CLUSTER": True}
    await run(lambda: RedisBackend(cluster.urls, PREFIX, options), 4, cluster.nodes, False)
