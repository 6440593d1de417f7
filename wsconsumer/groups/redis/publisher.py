"""
Publishing from an event loop: one connection, many commands on their way.

Replies come in the order of the commands. So a ``Wire`` writes whenever there is something to
write, one task reads, and each reply belongs to whoever has waited longest. The ``Publisher`` opens
a wire when there is none, and keeps it from idling unnoticed.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from redis.exceptions import RedisError, ResponseError

from ...loops import start_task
from ..batching import Pipeline, Waiting, answering
from .role import ReplicaError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from redis.asyncio.connection import AbstractConnection

    from .role import Command

PIPELINE_BYTES: Final = 1024 * 1024
"""Bytes of bodies after which no more go into a pipeline."""

IDLE: Final = 0.001
"""Seconds without a command after which the event loop may not know yet that a wire was closed."""

LATE: Final = 0.1
"""Seconds by which a timer is late if it is our own event loop that was blocked."""

Ask: TypeAlias = "Callable[[Command], Awaitable[Any]]"
Check: TypeAlias = "Callable[[Ask], Awaitable[None]]"
"""Asks a server what it is; raises if it is of no use."""


class Wire:
    """A connection with one task that reads it. Each command is answered within ``timeout``."""

    def __init__(self, connection: AbstractConnection, timeout: float) -> None:
        self._connection = connection
        self._timeout = timeout
        self._loop = asyncio.get_running_loop()
        self._asked: deque[Waiting[Any]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._used_at = self._loop.time()
        self.is_open = True
        """Whether it takes commands."""
        self._is_reading = False
        self._reading = start_task(self._read())

    async def ask(self, command: Command) -> Any:
        """Return the reply to a command, or raise what it is."""
        done = self._loop.create_future()
        await self.send([command], [Waiting(None, 0, self._loop.time() + self._timeout, done)])
        return await done

    async def send(self, commands: Sequence[Any], asked: Sequence[Waiting[Any]]) -> None:
        """Write commands; settle who asked for each, here or when its reply comes."""
        if not self.is_open:
            # redis-py would open another connection, whose replies nobody reads.
            for waiting in asked:
                waiting.fail(ConnectionError("the connection was lost"))
            return
        self._used_at = asked[-1].deadline - self._timeout
        packed = self._connection.pack_commands(commands)
        self._asked.extend(asked)
        if self._timer is None:
            self._timer = self._loop.call_at(asked[0].deadline, self._expire)
        try:
            await self._connection.send_packed_command(packed, check_health=False)
        # Tests run this on Python 3.11; writelines() of 3.13.0 never makes drain() wait.
        except (RedisError, OSError) as error:  # pragma: no cover
            self.close(error)
        except BaseException:  # pragma: no cover  # cancelled while Redis takes nothing more
            # Half of it may have been written.
            self.close(TimeoutError("it was not written in time"))
            raise

    async def look(self) -> bool:
        """Return whether it is open, after a look at what came in while it idled."""
        if self._loop.time() - self._used_at > IDLE:
            for _ in range(2):  # the end of the connection is read, then the task that reads runs
                await asyncio.sleep(0)
        return self.is_open

    def retire(self) -> None:
        """Take no more; close when all replies are there."""
        self.is_open = False
        if not self._asked:
            self.close(ConnectionError("the connection was closed"))

    def close(self, error: Exception) -> None:
        """Close at once; whoever waits for a reply gets this error."""
        self._end(error)
        if self._is_reading:  # a task that never ran would not close the connection
            self._reading.cancel()

    async def aclose(self, error: Exception) -> None:
        """Do the same, and wait until the connection is closed."""
        self.close(error)
        await asyncio.wait([self._reading])

    async def finish(self) -> None:
        """Take no more, and wait until all replies are there and the connection is closed."""
        self.retire()
        await asyncio.wait([self._reading])

    def _end(self, error: Exception) -> None:
        self.is_open = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._asked:
            self._asked.popleft().fail(error)

    def _expire(self) -> None:
        """Give up if the reply that is next is overdue; otherwise come back when it would be."""
        timer, self._timer = self._timer, None
        if timer is None or not self._asked:
            return
        now = self._loop.time()
        deadline = self._asked[0].deadline
        if now - timer.when() > LATE:
            # The replies may have been there all the time: let them be read first.
            self._timer = self._loop.call_at(now + LATE, self._expire)
        elif deadline <= now:
            self.close(TimeoutError(f"no answer within {self._timeout:.1f} seconds"))
        else:
            self._timer = self._loop.call_at(deadline, self._expire)

    async def _read(self) -> None:
        """Give each reply to whoever asked, until the connection is lost."""
        self._is_reading = True
        try:
            while self.is_open or self._asked:
                await self._read_one()
        except Exception as error:  # noqa: BLE001  # whatever it is, those who wait are told
            self._end(error)
        finally:
            with suppress(RedisError, OSError):
                await self._connection.disconnect()

    async def _read_one(self) -> None:
        error = reply = None
        try:
            reply = await self._connection.read_response(
                disable_decoding=True, disconnect_on_error=False
            )
        except ResponseError as refusal:
            error = refusal
        if not self._asked:
            raise ConnectionError(f"a reply that nobody asked for: {error or reply!r}")
        waiting = self._asked.popleft()
        if error is None:
            waiting.succeed(reply)
        else:
            waiting.fail(error)


class Publisher:
    """
    Publishes through one wire.

    ``connect`` returns a connection that is connected; ``check`` is asked about each, and again
    with each beat.
    """

    def __init__(
        self,
        connect: Callable[[], Awaitable[AbstractConnection]],
        check: Check,
        timeout: float,
    ) -> None:
        self._connect = connect
        self._check = check
        self._timeout = timeout
        self._wire: Wire | None = None
        self._opening = asyncio.Lock()
        self._pipeline: Pipeline[Command] = Pipeline(
            self._send, max_bytes=PIPELINE_BYTES, timeout=timeout
        )

    async def run(self, command: Command, size: int) -> Any:
        """Return the reply to a command of so many bytes; raise what prevented it."""
        return await self._pipeline.publish(command, size)

    async def ask(self, command: Command) -> Any:
        """Return the reply to another command, or raise what it is."""
        return await (await self._open()).ask(command)

    async def beat(self) -> None:
        """
        Use the connection, so that nothing on the way forgets it, and see what it leads to.

        Opens one if there is none. Raises if that is not possible, or if it leads to a replica.
        """
        wire = self._wire
        if wire is not None and wire.is_open:
            try:
                await self._check(wire.ask)
            except ReplicaError as error:
                wire.close(error)
                raise
            except (RedisError, OSError) as error:
                wire.close(error)  # the next one is asked
            else:
                return
        async with answering(self._timeout):
            await self._open()

    def drop(self) -> None:
        """Use the connection no more; what is on its way may still be answered."""
        if self._wire is not None:
            self._wire.retire()

    async def finish(self) -> None:
        """Close the connection when all that was published is answered; take nothing more."""
        await self._pipeline.finish()
        if self._wire is not None:
            await self._wire.finish()

    async def aclose(self) -> None:
        """Close the connection; what waits to be published fails."""
        await self._pipeline.aclose()
        if self._wire is not None:
            await self._wire.aclose(ConnectionError("the backend was closed"))

    async def _send(self, batch: Sequence[Waiting[Command]]) -> None:
        wire = self._wire
        if wire is None or not await wire.look():
            wire = await self._open()
        await wire.send([waiting.item for waiting in batch], batch)

    async def _open(self) -> Wire:
        async with self._opening:
            if self._wire is None or not self._wire.is_open:
                wire = Wire(await self._connect(), self._timeout)
                try:
                    await self._check(wire.ask)
                except BaseException:
                    wire.close(ConnectionError("the connection was given up"))
                    raise
                self._wire = wire
            return self._wire
