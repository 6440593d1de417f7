"""
The applications that ``scaleout.py`` compares, with an engine between the processes, and how one
process of two is served. Paths are those of ``contenders.py``.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
from contextlib import contextmanager
from dataclasses import dataclass
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import django
import redis.asyncio
from django.conf import settings

from benchmarks import contenders
from benchmarks.contenders import RAW
from benchmarks.crowd import HOST, allow_files, free_port, wait_for

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterator

    from benchmarks.rounds import Application, Receive, Scope, Send

REDIS = "wsconsumer, Redis"
REDIS_KEPT = "wsconsumer, Redis, kept"
POSTGRES = "wsconsumer, Postgres"
POSTGRES_KEPT = "wsconsumer, Postgres, kept"
ON_POSTGRES = (POSTGRES, POSTGRES_KEPT)
CORE = "channels_redis core"
PUBSUB = "channels_redis pubsub"
LITESTAR = "litestar"


@dataclass(frozen=True, slots=True)
class Engines:
    """
    What is between the processes.

    ``prefix`` is new for each run: Channels' core layer keeps in Redis who was a member.
    """

    redis: str
    postgres: str | None
    prefix: str


def raw(engines: Engines) -> Application:
    """Broadcast as one would by hand: one subscriber and one loop per process."""
    client = redis.asyncio.Redis.from_url(engines.redis)
    members: set[Send] = set()
    tasks = []

    async def start() -> None:
        subscriber = client.pubsub()
        await subscriber.subscribe(engines.prefix)
        await subscriber.get_message(timeout=5)  # the confirmation
        tasks.append(asyncio.create_task(fan_out(subscriber, members)))

    started = once(start)

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        await started()
        await receive()
        is_member = scope["path"] == "/member"
        if is_member:
            members.add(send)
        await send({"type": "websocket.accept"})
        while (event := await receive())["type"] == "websocket.receive":
            await client.publish(engines.prefix, event["text"])
        if is_member:
            members.discard(send)

    return application


async def fan_out(subscriber: Any, members: set[Send]) -> None:
    """Send what comes in to all members, one after the other."""
    async for received in subscriber.listen():
        message = {"type": "websocket.send", "text": received["data"].decode()}
        for send in tuple(members):
            await send(message)


def litestar(engines: Engines) -> Application:
    """Publish to a channel of ``ChannelsPlugin``; see ``contenders.litestar``."""
    from litestar import Litestar, WebSocket
    from litestar.channels import ChannelsPlugin
    from litestar.channels.backends.redis import RedisChannelsPubSubBackend
    from litestar.handlers import websocket

    backend = RedisChannelsPubSubBackend(
        redis=redis.asyncio.Redis.from_url(engines.redis), key_prefix=engines.prefix
    )
    plugin = ChannelsPlugin(backend, channels=["all"])

    @websocket("/member", signature_types=[WebSocket])
    async def member(socket: WebSocket[Any, Any, Any]) -> None:
        async with plugin.start_subscription(["all"]) as subscriber:
            await socket.accept()
            async with subscriber.run_in_background(lambda data: socket.send_text(data.decode())):
                while (await socket.receive())["type"] != "websocket.disconnect":
                    pass

    @websocket("/publisher", signature_types=[WebSocket])
    async def publisher(socket: WebSocket[Any, Any, Any]) -> None:
        await socket.accept()
        while (event := await socket.receive())["type"] == "websocket.receive":
            await plugin.wait_published(event["text"], ["all"])

    application: Any = Litestar(
        [member, publisher], plugins=[plugin], openapi_config=None, logging_config=None
    )
    started = once(plugin.__aenter__)  # daphne has no lifespan

    async def with_lifespan(scope: Scope, receive: Receive, send: Send) -> None:
        await started()
        await application(scope, receive, send)

    return with_lifespan


def kept() -> Application:
    """Broadcast to a group that keeps; see ``contenders.wsconsumer``."""
    from wsconsumer import Group

    Group("all", keep=100)
    return contenders.wsconsumer()


def once(start: Callable[[], Coroutine[Any, Any, Any]]) -> Callable[[], Awaitable[None]]:
    """Return what to await until the process has been started, by whoever comes first."""
    starting: asyncio.Task[Any] | None = None

    async def started() -> None:
        nonlocal starting
        if starting is None:
            starting = asyncio.create_task(start())
        await asyncio.shield(starting)

    return started


CONTENDERS: dict[str, Callable[[Engines], Application]] = {
    RAW: raw,
    REDIS: lambda _: contenders.wsconsumer(),
    REDIS_KEPT: lambda _: kept(),
    POSTGRES: lambda _: contenders.wsconsumer(),
    POSTGRES_KEPT: lambda _: kept(),
    LITESTAR: litestar,
    PUBSUB: lambda _: contenders.channels(),
    CORE: lambda _: contenders.channels(),
}


def configure(contender: str, engines: Engines) -> None:
    """Set Django up with no more than the contender needs."""
    kind = "pubsub.RedisPubSubChannelLayer" if contender == PUBSUB else "core.RedisChannelLayer"
    # redis-py 8 gives up a read after 5 seconds, which is as long as the core layer waits for a
    # message: an idle consumer would die of it (redis-py issue 4091).
    host = {"address": engines.redis, "socket_timeout": None}
    layer = {
        "BACKEND": f"channels_redis.{kind}",
        "CONFIG": {"hosts": [host], "prefix": engines.prefix},
    }
    groups = {
        "BACKEND": "wsconsumer.groups.redis.RedisBackend",
        "LOCATION": engines.redis,
        "PREFIX": f"{engines.prefix} {contender}",  # or contenders would hear each other
    }
    databases = {}
    if contender in ON_POSTGRES and engines.postgres is not None:
        databases["default"] = database(engines.postgres)
        groups |= {
            "BACKEND": "wsconsumer.groups.postgres.PostgresBackend",
            "LOCATION": "default",
        }
    settings.configure(
        CHANNEL_LAYERS={"default": layer},
        DATABASES=databases,
        SECRET_KEY="for a benchmark only",
        WSCONSUMER={"GROUPS": groups},
    )


def database(conninfo: str) -> dict[str, Any]:
    """Return the settings of a database server."""
    from benchmarks.handshake import postgres

    return postgres(conninfo)


def migrate(conninfo: str) -> None:
    """Make the tables of groups that keep, in a process of its own."""
    from django.core.management import call_command

    settings.configure(
        DATABASES={"default": database(conninfo)},
        INSTALLED_APPS=["wsconsumer.groups.postgres"],
        SECRET_KEY="for a benchmark only",
        USE_TZ=True,
    )
    django.setup()
    call_command("migrate", "wsconsumer_postgres", verbosity=0)


@contextmanager
def private_postgres() -> Iterator[str]:
    """Run a PostgreSQL server of our own; how to connect to it is what the block gets."""
    from pathlib import Path

    from tests.engines import Postgres

    with TemporaryDirectory() as directory:
        Path(directory).chmod(0o755)
        server = Postgres(Path(directory))
        try:
            yield f"host={HOST} port={server.port} user=tester dbname=postgres"
        finally:
            server.stop()


def serve(server: str, contender: str, engines: Engines, port: int, members: int) -> None:
    """Be one of the processes, until killed; any CPU will do."""
    allow_files(members)
    configure(contender, engines)
    application: Any = CONTENDERS[contender](engines)
    if server == "daphne":
        from daphne.server import Server

        endpoint = f"tcp:port={port}:interface={HOST}"
        Server(application, [endpoint], ping_interval=3600).run()
    else:
        import uvicorn

        uvicorn.run(
            application,
            host=HOST,
            port=port,
            lifespan="off",
            log_level="error",
            ws_ping_interval=None,
        )


@contextmanager
def private_redis() -> Iterator[str]:
    """Run a Redis server that keeps nothing; its URL is what the block gets."""
    port = free_port()
    with TemporaryDirectory() as directory:
        command = [
            "redis-server", "--port", str(port), "--bind", HOST, "--save", "", "--appendonly", "no",
            "--dir", directory, "--loglevel", "warning",
        ]  # fmt: skip
        try:
            server = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        except FileNotFoundError:
            raise SystemExit("There is no redis-server here. Give the --redis of one.") from None
        try:
            wait_for(port)
            yield f"redis://{HOST}:{port}"
        finally:
            server.terminate()
            server.wait(10)


def new_prefix() -> str:
    """Return a name that no other run has."""
    return f"bench{os.getpid()}"
