"""The same bursts as in ``test_fanout.py``, through the engines: they come from another process."""

import asyncio
import json
import tempfile
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.engines import Postgres, Redis
from tests.servers.harness import Server, new_key, remaining, running
from tests.servers.test_fanout import COUNT, listening, message, publish, take
from tests.servers.test_flow import options

SLOW = 5.0
"""Seconds that members who never read may hold up the others, on a machine that is busy."""


@pytest.fixture(scope="module", params=[Redis, Postgres])
def environment(request: pytest.FixtureRequest) -> Iterator[dict[str, str]]:
    """The settings for each engine in turn."""
    # PostgreSQL runs as another user, who may not look into pytest's directories.
    with tempfile.TemporaryDirectory() as folder:
        engine = request.param(Path(folder))
        yield settings(engine)
        engine.stop()


def settings(engine: Redis | Postgres) -> dict[str, str]:
    """Return the variables that the project reads its settings from."""
    if isinstance(engine, Redis):
        groups = {"BACKEND": "wsconsumer.groups.redis.RedisBackend", "LOCATION": engine.url}
        databases = {}
    else:
        groups = {"BACKEND": "wsconsumer.groups.postgres.PostgresBackend"}
        databases = {"default": engine.settings}
    return {"GROUPS": json.dumps(groups), "DATABASES": json.dumps(databases)}


@pytest.fixture(scope="module")
def servers(
    server_name: str, environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Server, Server]]:
    """Two processes of a server on one engine."""
    with (
        running(server_name, tmp_path_factory.mktemp(server_name), **environment) as one,
        running(server_name, tmp_path_factory.mktemp(server_name), **environment) as two,
    ):
        yield one, two


@pytest.mark.parametrize("way", ["one by one", "at once", "view"])
@pytest.mark.parametrize("form", ["plain", "hears", "wrapped"])
async def test_a_client_that_reads_gets_everything(
    servers: tuple[Server, Server], form: str, way: str
) -> None:
    """What another process publishes as fast as it can reaches all members here, in order."""
    here, there = servers
    group = new_key()
    async with listening(here, form, group) as members:
        publishing = asyncio.create_task(publish(there, way, group))
        for got in await asyncio.gather(*(take(member, COUNT) for member in members)):
            assert got == [message(number) for number in range(COUNT)]
        await publishing


async def test_members_that_never_read_hold_up_the_others_once(
    servers: tuple[Server, Server],
) -> None:
    """The engine's reader waits for them once in all, and they are closed with 1013."""
    here, there = servers
    group = new_key()
    async with AsyncExitStack() as stack:
        members = await stack.enter_async_context(listening(here, "plain", group))
        stalled = [
            await stack.enter_async_context(
                here.connect(f"/ws/fanout/plain/{group}/{new_key()}/", max_queue=1, **options(here))
            )
            for _ in range(3)
        ]
        async with asyncio.timeout(SLOW):
            publishing = asyncio.create_task(publish(there, "view", group))
            for got in await asyncio.gather(*(take(member, COUNT) for member in members)):
                assert got == [message(number) for number in range(COUNT)]
            await publishing
        for member in stalled:
            assert len(await remaining(member)) < COUNT
            assert member.close_code == 1013
