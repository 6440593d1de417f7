"""
One Redis server as an event loop sees it: a connection that listens, and one that publishes.

The first is supervised: if it is lost, another is opened, with all subscriptions. Replies come in
the order of the commands, so the answer to a PING says that all commands before it were answered.
That is how this module knows that a subscription stands, and that the server is there.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

from redis.exceptions import MovedError, RedisError, ResponseError

from ...escaping import escape
from ...log_thread import log
from ..batching import Batcher, answering, not_accepted
from ..reconnecting import Outage

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence

    from redis.asyncio.connection import AbstractConnection

    from ..batching import Waiting

logger = logging.getLogger("wsconsumer.groups")

PING_EVERY: Final = 5.0
"""Seconds between two pings of a silent server."""

SUBSCRIBE_AT_ONCE: Final = 1_000
"""Channels in one command."""

PIPELINE_BYTES: Final = 1024 * 1024
"""Bytes of bodies after which no more go into a pipeline."""

Take: TypeAlias = "Callable[[bytes, bytes], Awaitable[None]]"
"""Takes a channel and a body that was received."""


class Commands(NamedTuple):
    """The commands of publish/subscribe, and the kinds of message that answer them."""

    subscribe: str
    unsubscribe: str
    publish: str
    message: bytes
    ended: bytes
    at_once: int


PLAIN: Final = Commands(
    "SUBSCRIBE", "UNSUBSCRIBE", "PUBLISH", b"message", b"unsubscribe", SUBSCRIBE_AT_ONCE
)
SHARDED: Final = Commands("SSUBSCRIBE", "SUNSUBSCRIBE", "SPUBLISH", b"smessage", b"sunsubscribe", 1)
"""In a cluster, one channel a command: all of a command must be of one slot."""


class Node:
    """
    A server, and the channels that are subscribed there.

    ``moved`` is told when a channel belongs to another server; ``lost`` is awaited when the
    connection was lost, and returns whether this server is still needed.
    """

    def __init__(
        self,
        name: str,
        pool: Any,
        timeout: float,
        commands: Commands,
        take: Take,
        moved: Callable[[MovedError], None] | None = None,
        lost: Callable[[], Awaitable[bool]] | None = None,
    ) -> None:
        self.channels: dict[bytes, None] = {}
        self.outage = Outage(name)
        self._name = name
        self._pool = pool
        self._timeout = timeout
        self._commands = commands
        self._take = take
        self._moved = moved
        self._lost = lost
        self._connection: AbstractConnection | None = None
        self._pings: deque[asyncio.Future[None]] = deque()
        self._heard = 0
        self._is_taking = False
        self._tried = asyncio.Event()
        self._listening = asyncio.create_task(self._listen_always())
        self._batcher = Batcher(self._publish, max_bytes=PIPELINE_BYTES, timeout=timeout)

    async def tried(self) -> None:
        """Wait until it is known whether the server is there."""
        await self._tried.wait()

    async def aclose(self) -> None:
        """Close both connections; what waits to be published fails."""
        self._listening.cancel()
        await asyncio.wait([self._listening])
        await self._batcher.aclose()

    # Listening

    async def subscribe(self, channels: Iterable[bytes]) -> None:
        """Subscribe, and wait for the confirmation if the server is there."""
        new = dict.fromkeys(channels)
        self.channels.update(new)
        await self._tell(self._commands.subscribe, new, wait=True)

    async def unsubscribe(self, channels: Iterable[bytes]) -> None:
        """End the subscription; messages that still arrive are ignored."""
        ended = [channel for channel in channels if self.channels.pop(channel, True) is None]
        await self._tell(self._commands.unsubscribe, ended, wait=False)

    async def _tell(self, word: str, channels: Collection[bytes], *, wait: bool) -> None:
        connection = self._connection
        if connection is None or not channels:
            return
        # If it fails, the listening task finds out as well.
        with suppress(RedisError, OSError):
            pong = await self._send(connection, word, channels)
            if wait:
                await asyncio.wait({pong}, timeout=self._timeout)

    async def _send(
        self, connection: AbstractConnection, word: str, channels: Collection[bytes]
    ) -> asyncio.Future[None]:
        """Send a command for channels, if any; return a future for its answer."""
        names = list(channels)
        size = self._commands.at_once
        commands: list[tuple[Any, ...]] = [
            (word, *names[at : at + size]) for at in range(0, len(names), size)
        ]
        pong = asyncio.get_running_loop().create_future()
        if not connection.is_connected:
            raise OSError("the connection was lost")  # redis-py would reconnect by itself
        self._pings.append(pong)
        packed = connection.pack_commands([*commands, ("PING",)])
        async with answering(self._timeout):
            await connection.send_packed_command(packed, check_health=False)
        return pong

    async def _listen_always(self) -> None:
        """Supervise the connection that listens, until cancelled or no longer needed."""
        try:
            is_needed = True
            while is_needed:
                wait = 0.0
                try:
                    await self._listen()
                except Exception as error:  # noqa: BLE001  # whatever it is, it must not end this
                    wait = self.outage.failed(error)
                self._tried.set()
                await self._drop_publisher()
                await asyncio.sleep(wait)
                is_needed = self._lost is None or await self._lost()
        finally:
            await self._pool.disconnect()
            for sentinel in getattr(getattr(self._pool, "sentinel_manager", None), "sentinels", ()):
                await sentinel.aclose()

    async def _drop_publisher(self) -> None:
        """Close idle connections that publish: they are as dead as the other one."""
        with suppress(RedisError, OSError):
            await self._pool.disconnect(inuse_connections=False)

    async def _listen(self) -> None:
        """Connect, subscribe to all channels, and receive until the connection is lost."""
        connection = self._pool.make_connection()
        beating = None
        try:
            async with answering(self._timeout):
                await connection.connect()
            self._connection = connection
            pong = await self._send(connection, self._commands.subscribe, self.channels)
            async with answering(None) as limit:
                beating = asyncio.create_task(self._beat(connection, limit, pong))
                await self._read(connection)
        finally:
            self._connection = None
            if beating is not None:
                beating.cancel()
            for pong in self._pings:
                pong.cancel()
            self._pings.clear()
            with suppress(RedisError, OSError):
                await connection.disconnect()

    async def _read(self, connection: AbstractConnection) -> None:
        message = self._commands.message
        while True:
            try:
                reply: Any = await connection.read_response(
                    disable_decoding=True, disconnect_on_error=False
                )
            except MovedError as error:
                if self._moved is None:
                    raise
                self._moved(error)
                continue
            finally:
                self._heard += 1
            if reply[0] == message:
                if reply[1] in self.channels:
                    await self._hand_over(reply[1], reply[2])
            elif reply == b"PONG" or reply[0] == b"pong":
                self._pings.popleft().set_result(None)
            elif reply[0] == self._commands.ended and reply[1] in self.channels:
                # Its slot went to another server; the answer to this says to which.
                await self._send(connection, self._commands.subscribe, [reply[1]])

    async def _hand_over(self, channel: bytes, body: bytes) -> None:
        self._is_taking = True
        try:
            await self._take(channel, body)
        except Exception as error:  # noqa: BLE001  # it is logged
            text = "What came for '%s' from %s was not delivered."
            log(logger, logging.ERROR, text, escape(channel), self._name, error=error)
        finally:
            self._is_taking = False

    async def _beat(
        self, connection: AbstractConnection, limit: asyncio.Timeout, pong: asyncio.Future[None]
    ) -> None:
        """Ping a silent server; stop listening if it does not answer."""
        with suppress(RedisError, OSError):
            while await self._is_answered(pong):
                self.outage.over()
                self._tried.set()
                await asyncio.sleep(PING_EVERY)
                pong = await self._send(connection, self._commands.subscribe, ())
        limit.reschedule(0)

    async def _is_answered(self, pong: asyncio.Future[None]) -> bool:
        """Wait for an answer; our own slowness, or a long queue before it, is not silence."""
        heard = -1
        while not pong.done() and (self._is_taking or heard != self._heard):
            heard = self._heard
            await asyncio.wait({pong}, timeout=self._timeout)
        return pong.done()

    # Publishing

    async def publish(self, channel: bytes, body: bytes) -> None:
        """Publish, in one pipeline with what others publish meanwhile."""
        self.refuse_if_away(channel)
        try:
            await self._batcher.publish((channel, body), len(body))
        except Exception as error:
            raise not_accepted(self._name, channel.decode(), error) from error

    def refuse_if_away(self, channel: bytes) -> None:
        """Raise ``BackendError`` while the server is known to be away."""
        error = self.outage.error
        if error is not None:
            raise not_accepted(self._name, channel.decode(), error) from error

    async def _publish(self, batch: Sequence[Waiting[tuple[bytes, bytes]]]) -> None:
        connection = await self._pool.get_connection()
        try:
            packed = connection.pack_commands(
                [(self._commands.publish, *one.item) for one in batch]
            )
            await connection.send_packed_command(packed, check_health=False)
            for waiting in batch:
                try:
                    await connection.read_response(disable_decoding=True)
                except ResponseError as error:
                    waiting.fail(error)
                else:
                    waiting.succeed()
        except BaseException:
            await connection.disconnect(nowait=True)
            raise
        finally:
            await self._pool.release(connection)
