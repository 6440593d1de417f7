"""What happens to an engine that several processes share."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, Protocol

import psycopg
from redis.exceptions import RedisError

from tests.engines import Postgres, Redis, until

if TYPE_CHECKING:
    import random
    from collections.abc import Awaitable, Callable
    from pathlib import Path


class Engine(Protocol):
    """An engine in trouble, and how processes find it."""

    backend: str
    location: str

    async def start(self) -> None:
        """Let it be there."""

    async def happen(self, chance: random.Random) -> str:
        """Let something happen; return what."""

    async def stop(self) -> None:
        """End it."""


class Relay:
    """Leads to a server, or to the one that takes over from it."""

    def __init__(self, to: int) -> None:
        self.to = to
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Listen."""
        self._server = await asyncio.start_server(self._connect, "127.0.0.1", 0)
        self.port: int = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Listen no more."""
        self._server.close()
        self.cut()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def cut(self) -> None:
        """End the connections that there are; nothing more gets through."""
        for writer in self._writers:
            writer.transport.abort()

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self.to)
        except OSError:
            writer.transport.abort()
            return
        if back.get_extra_info("peername")[1] != self.to:  # it has just changed
            back.transport.abort()
            writer.transport.abort()
            return
        for ends in ((reader, back), (there, writer)):
            self._writers.add(ends[1])
            task = asyncio.create_task(self._carry(*ends))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while data := await reader.read(65_536):
                writer.write(data)
                await writer.drain()
        self._writers.discard(writer)
        writer.transport.abort()


LAG: Final = 0.2
"""Seconds, at most, by which a replica is behind when it takes over."""


class RedisPair:
    """A Redis server and its replica, which change places."""

    backend = "LossyRedis"

    def __init__(self, directory: Path) -> None:
        self._master = Redis(directory)
        self._replica = Redis(directory)
        self._relay = Relay(self._master.port)
        self.location = ""

    async def start(self) -> None:
        """Let the one follow the other."""
        self._master.command("CONFIG", "SET", "repl-diskless-sync-delay", 0)
        self._demote()
        await asyncio.to_thread(self._until_followed)
        await self._relay.start()
        self.location = f"redis://127.0.0.1:{self._relay.port}"

    async def stop(self) -> None:
        """End both."""
        await self._relay.stop()
        for redis in (self._master, self._replica):
            redis.stop()

    async def happen(self, chance: random.Random) -> str:
        """Kill connections, evict data, restart, or let the replica take over."""
        kinds: dict[Callable[[random.Random], Awaitable[None]], int] = {
            self._kill_subscribers: 30,
            self._kill_clients: 15,
            self._evict: 12,
            self._evict_messages: 20,
            self._flush: 3,
            self._restart: 3,
            self._fail_over: 10,
        }
        (what,) = chance.choices(list(kinds), list(kinds.values()))
        with suppress(RedisError):
            await what(chance)
        name: str = what.__name__
        return name.strip("_").replace("_", " ")

    async def _command(self, *words: Any) -> Any:
        return await asyncio.to_thread(self._master.command, *words)

    async def _kill_subscribers(self, chance: random.Random) -> None:
        await self._command("CLIENT", "KILL", "TYPE", "pubsub")

    async def _kill_clients(self, chance: random.Random) -> None:
        await self._command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")

    async def _evict(self, chance: random.Random) -> None:
        await self._delete("{*}:s", chance)

    async def _evict_messages(self, chance: random.Random) -> None:
        await self._delete("{*}:m", chance)

    async def _delete(self, pattern: str, chance: random.Random) -> None:
        keys = sorted(await self._command("KEYS", pattern))
        if keys:
            await self._command("DEL", chance.choice(keys))

    async def _flush(self, chance: random.Random) -> None:
        await self._command("FLUSHALL")

    async def _restart(self, chance: random.Random) -> None:
        await asyncio.to_thread(self._master.restart)
        await self._command("CONFIG", "SET", "repl-diskless-sync-delay", 0)
        await asyncio.to_thread(self._until_followed)

    async def _fail_over(self, chance: random.Random) -> None:
        old, new = self._master, self._replica
        await asyncio.to_thread(new.command, "REPLICAOF", "NO", "ONE")
        await asyncio.sleep(chance.random() * LAG)  # what is taken now is lost
        self._master, self._replica = new, old
        # What a server takes that nobody follows any more is lost without a trace.
        if chance.random() < 0.5:
            await asyncio.to_thread(old.kill)
        else:
            await asyncio.to_thread(self._demote)
        self._relay.to = new.port
        self._relay.cut()
        if not old.is_running:
            await asyncio.to_thread(old.start)
            await asyncio.to_thread(self._demote)
        await asyncio.to_thread(self._until_followed)

    def _demote(self) -> None:
        self._replica.command("CONFIG", "SET", "repl-diskless-sync-delay", 0)
        self._replica.command("REPLICAOF", "127.0.0.1", self._master.port)

    def _until_followed(self) -> None:
        def is_up() -> bool:
            told = self._replica.command("INFO", "replication")
            return bool(told.get("master_link_status") == "up")

        until(is_up, "the replica to follow", 30)


class OnePostgres:
    """A PostgreSQL server."""

    backend = "LossyPostgres"
    location = "default"

    def __init__(self, directory: Path) -> None:
        self.postgres = Postgres(directory)

    async def start(self) -> None:
        """It runs already."""

    async def stop(self) -> None:
        """End it."""
        await asyncio.to_thread(self.postgres.stop)

    async def happen(self, chance: random.Random) -> str:
        """Kill connections, empty tables, restart, or crash."""
        kinds: dict[Callable[[], None], int] = {
            self._kill_all: 25,
            self._kill_one: 25,
            self._evict: 12,
            self._evict_messages: 20,
            self._evict_all: 3,
            self._restart: 3,
            self._crash: 3,
        }
        (what,) = chance.choices(list(kinds), list(kinds.values()))
        with suppress(psycopg.Error):  # a deadlock with whoever broadcasts
            await asyncio.to_thread(what)
        name: str = what.__name__
        return name.strip("_").replace("_", " ")

    def _kill_all(self) -> None:
        self._kill()

    def _kill_one(self) -> None:
        self._kill(limit=1)

    def _kill(self, limit: int | None = None) -> None:
        self.postgres.query(
            "SELECT pg_terminate_backend(pid) FROM (SELECT pid FROM pg_stat_activity"
            " WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'"
            " ORDER BY random() LIMIT %s) AS some",
            limit,
        )

    def _evict(self) -> None:
        self.postgres.query(
            "DELETE FROM wsconsumer_history WHERE id ="
            " (SELECT id FROM wsconsumer_history ORDER BY random() LIMIT 1)"
        )

    def _evict_messages(self) -> None:
        self.postgres.query("TRUNCATE wsconsumer_message")

    def _evict_all(self) -> None:
        self.postgres.query("TRUNCATE wsconsumer_history CASCADE")

    def _restart(self) -> None:
        self.postgres.restart()

    def _crash(self) -> None:
        self.postgres.kill()
        self.postgres.start()


ENGINES: Final[dict[str, Callable[[Path], Any]]] = {"redis": RedisPair, "postgres": OnePostgres}
