"""
One Redis server as an event loop sees it: a connection that listens, and one that publishes.

The first is supervised: if it is lost, another is opened, with all subscriptions. Replies come in
the order of the commands, so the answer to a PING says that all commands before it were answered.
That is how this module knows that a subscription stands, and that the server is there. Read
``publisher.py`` for the other connection.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from contextlib import suppress
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from redis.exceptions import MovedError, NoPermissionError, RedisError, ResponseError

from ...counters import counters
from ...escaping import escape
from ...log_thread import log
from ..batching import answering, not_accepted
from ..reconnecting import Outage
from .letters import SUBSCRIBE_AT_ONCE, Letter
from .publisher import Publisher

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterable

    from redis.asyncio.connection import AbstractConnection

    from .letters import Commands
    from .publisher import Check
    from .role import Command
    from .sentinels import Opener

logger = logging.getLogger("wsconsumer.groups")

PING_EVERY: Final = 5.0
"""Seconds between two pings of a silent server."""

FORBIDDEN: Final = "Give the user the right to all channels of the prefix."
ASKED_AGAIN: Final = f"They are asked for again every {PING_EVERY:.0f} seconds."

Take: TypeAlias = "Callable[[bytes, bytes], Awaitable[None]]"
"""Takes a channel and a body that was received."""

Resumed: TypeAlias = "Callable[[Iterable[bytes]], None]"
"""Takes channels that are subscribed anew: something may have been missed before."""


class Node:
    """
    A server, and the channels that are subscribed there.

    ``check`` is asked about each new connection, and with each beat. ``interrupted`` is told of the
    channels that a new connection will be subscribed to, and ``resumed`` when it is; ``moved`` is
    told when a channel belongs to another server; ``lost`` is awaited when the connection was lost,
    and returns whether this server is still needed.
    """

    def __init__(
        self,
        name: str,
        opener: Opener,
        timeout: float,
        commands: Commands,
        take: Take,
        check: Check,
        interrupted: Resumed,
        resumed: Resumed,
        moved: Callable[[MovedError], None] | None = None,
        lost: Callable[[], Awaitable[bool]] | None = None,
    ) -> None:
        self.channels: dict[bytes, None] = {}
        self.outage = Outage(name)
        self._name = name
        self._opener = opener
        self._timeout = timeout
        self._commands = commands
        self._take = take
        self._check = check
        self._interrupted = interrupted
        self._resumed = resumed
        self._moved = moved
        self._lost = lost
        self._connection: AbstractConnection | None = None
        self._letters: deque[Letter] = deque()
        self._refused: dict[bytes, None] = {}
        self._heard = 0
        self._is_taking = False
        self._tried = asyncio.Event()
        self._publisher = Publisher(opener.connect, check, timeout)
        self._listening = asyncio.create_task(self._listen_always())

    async def tried(self) -> None:
        """Wait until it is known whether the server is there."""
        await self._tried.wait()

    async def retire(self) -> None:
        """Close both connections when all that was published is answered."""
        try:
            await self._publisher.finish()
        finally:
            await self.aclose()

    async def aclose(self) -> None:
        """Close both connections; what waits to be published fails."""
        self._listening.cancel()
        await asyncio.wait([self._listening])
        self._tried.set()  # nobody waits for what is over
        await self._publisher.aclose()

    # Listening

    async def subscribe(self, channels: Iterable[bytes]) -> None:
        """Subscribe, and wait for the confirmation if the server is there."""
        new = dict.fromkeys(channels)
        self.channels.update(new)
        await self._tell(self._commands.subscribe, new, wait=True)

    async def unsubscribe(self, channels: Iterable[bytes]) -> None:
        """End the subscription; messages that still arrive are ignored."""
        ended = [channel for channel in channels if self.channels.pop(channel, True) is None]
        for channel in ended:
            self._refused.pop(channel, None)
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
        self,
        connection: AbstractConnection,
        word: str,
        channels: Iterable[bytes],
        *,
        at_once: int | None = None,
        pong: asyncio.Future[None] | None = None,
    ) -> asyncio.Future[None]:
        """Send a command for channels, if any; return a future for its answer."""
        if not connection.is_connected:
            raise OSError("the connection was lost")  # redis-py would reconnect by itself
        if pong is None:
            pong = asyncio.get_running_loop().create_future()
        letter = Letter(word, channels, at_once or self._commands.at_once, pong)
        self._letters.append(letter)
        packed = connection.pack_commands(letter.commands())
        async with answering(self._timeout):
            await connection.send_packed_command(packed, check_health=False)
        return pong

    async def _listen_always(self) -> None:
        """Supervise the connection that listens, until cancelled or no longer needed."""
        is_needed = True
        while is_needed:
            wait = 0.0
            try:
                await self._listen()
            except Exception as error:  # noqa: BLE001  # whatever it is, it must not end this
                wait = self.outage.failed(error)
            self._tried.set()
            self._publisher.drop()  # it is as dead as the other one
            self._opener.failed()
            await asyncio.sleep(wait)
            is_needed = self._lost is None or await self._lost()
        await self._publisher.aclose()

    async def _listen(self) -> None:
        """Connect, subscribe to all channels, and receive until the connection is lost."""
        connection = await self._opener.connect()
        try:
            async with answering(self._timeout):
                await self._check(partial(_ask, connection))
            self._interrupted(self.channels)
            self._connection = connection
            word = self._commands.subscribe
            await self._send(connection, word, self.channels.keys() - self._refused.keys())
            pong = await self._send(connection, word, self._refused, at_once=1)
            await _until_one_ends(self._read(connection), self._beat(connection, pong))
        finally:
            self._connection = None
            for letter in self._letters:
                letter.pong.cancel()
            self._letters.clear()
            with suppress(RedisError, OSError):
                await connection.disconnect()

    async def _read(self, connection: AbstractConnection) -> None:
        message = self._commands.message
        while True:
            try:
                reply: Any = await connection.read_response(
                    disable_decoding=True, disconnect_on_error=False
                )
            except ResponseError as error:
                self._take_error(error)
                continue
            finally:
                self._heard += 1
            if reply[0] == message:
                if reply[1] in self.channels:
                    await self._hand_over(reply[1], reply[2])
            elif reply == b"PONG" or reply[0] == b"pong":
                await self._take_pong(connection)
            elif reply[0] == self._commands.begun:
                self._take_begin(reply[1])
            elif reply[0] == self._commands.ended:
                await self._take_end(connection, reply[1])

    def _take_begin(self, channel: bytes) -> None:
        self._letters[0].answered(channel)
        if channel in self._refused:
            del self._refused[channel]
            self._resumed([channel])

    async def _take_end(self, connection: AbstractConnection, channel: bytes) -> None:
        if self._letters:
            self._letters[0].answered(channel)
        if channel in self.channels:
            # Its slot went to another server; the answer to this says to which.
            await self._send(connection, self._commands.subscribe, [channel])

    async def _take_pong(self, connection: AbstractConnection) -> None:
        letter = self._letters.popleft()
        if not letter.errors:
            letter.pong.set_result(None)
        elif letter.at_once > 1:
            # An error is that of all channels of its command: ask for each.
            await self._send(connection, letter.word, letter.open, at_once=1, pong=letter.pong)
        else:
            self._leave_out(letter)
            letter.pong.set_result(None)

    def _take_error(self, error: ResponseError) -> None:
        """Find out whose error it is: that of channels, or that of the connection."""
        if not self._letters:
            raise error  # nobody asked for it
        letter = self._letters[0]
        if not isinstance(error, MovedError):
            letter.refused(error)
        elif self._moved is None:
            raise error
        else:
            self._moved(error)
            for channel in [one for one in letter.open if one not in self.channels]:
                letter.answered(channel)

    def _leave_out(self, letter: Letter) -> None:
        """Note the channels that the server refused; they are asked for with each beat."""
        new = [channel for channel in letter.open if channel not in self._refused]
        if letter.word == self._commands.subscribe:
            self._refused.update(dict.fromkeys(new))
        if not new:
            return
        counters["subscription_refused"] += len(new)
        error = letter.errors[0]
        log(
            logger,
            logging.WARNING,
            "%s refused to %s %d channels, such as '%s': %s: %s. Their groups get nothing; all "
            "others work. %s",
            self._name,
            letter.word,
            len(new),
            escape(new[0]),
            type(error).__name__,
            escape(error).rstrip("."),
            FORBIDDEN if isinstance(error, NoPermissionError) else ASKED_AGAIN,
        )

    async def _hand_over(self, channel: bytes, body: bytes) -> None:
        self._is_taking = True
        try:
            await self._take(channel, body)
        except Exception as error:  # noqa: BLE001  # it is logged
            text = "What came for '%s' from %s was not delivered."
            log(logger, logging.ERROR, text, escape(channel), self._name, error=error)
        finally:
            self._is_taking = False

    async def _beat(self, connection: AbstractConnection, pong: asyncio.Future[None]) -> None:
        """Ping a silent server on both connections; raise if it does not answer."""
        await self._is_there(pong)
        self._resumed(self.channels)
        while True:
            await asyncio.sleep(PING_EVERY)
            refused = islice(self._refused, SUBSCRIBE_AT_ONCE)
            pong = await self._send(connection, self._commands.subscribe, refused, at_once=1)
            await self._is_there(pong)

    async def _is_there(self, pong: asyncio.Future[None]) -> None:
        """Wait until the server has answered on both connections."""
        await self._answered(pong)
        await self._publisher.beat()
        self.outage.over()
        self._tried.set()

    async def _answered(self, pong: asyncio.Future[None]) -> None:
        """Wait for an answer; our own slowness, or a long queue before it, is not silence."""
        heard = -1
        while not pong.done() and (self._is_taking or heard != self._heard):
            heard = self._heard
            await asyncio.wait({pong}, timeout=self._timeout)
        if not pong.done():
            raise TimeoutError("no answer in time")

    # Publishing

    async def publish(self, channel: bytes, body: bytes) -> None:
        """Publish, in one pipeline with what others publish meanwhile."""
        await self.run(channel, (self._commands.publish, channel, body), len(body))

    async def run(self, channel: bytes, command: Command, size: int) -> Any:
        """Return the reply to a command about a channel, in the same pipeline."""
        self.refuse_if_away(channel)
        try:
            return await self._publisher.run(command, size)
        except Exception as error:
            raise not_accepted(self._name, channel.decode(), error) from error

    async def ask(self, command: Command) -> Any:
        """Return the server's reply to a command, or raise what it is."""
        return await self._publisher.ask(command)

    def refuse_if_away(self, channel: bytes) -> None:
        """Raise ``BackendError`` while the server is known to be away."""
        error = self.outage.error
        if error is not None:
            raise not_accepted(self._name, channel.decode(), error) from error


async def _ask(connection: AbstractConnection, command: Command) -> Any:
    await connection.send_command(*command, check_health=False)
    return await connection.read_response(disable_decoding=True)


async def _until_one_ends(*coroutines: Coroutine[Any, Any, None]) -> None:
    """Run coroutines at once until one ends, and end the others; raise what it raised."""
    tasks = [asyncio.create_task(coroutine) for coroutine in coroutines]
    try:
        ended, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        ended.pop().result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
