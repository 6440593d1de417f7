"""``groups/redis/publisher.py``: many commands on one connection, and each its own reply."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from redis.asyncio.connection import Connection
from redis.exceptions import RedisError, ResponseError

from tests.groups.redis.harness import Fake, Said, listening
from wsconsumer.groups.redis.publisher import Publisher, Wire

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.engines import Redis


@asynccontextmanager
async def opened(fake: Fake, seconds: float = 5) -> AsyncIterator[Wire]:
    """Open a wire to a fake server, and close it in the end."""
    connection = Connection(host="127.0.0.1", port=fake.port, socket_connect_timeout=5, protocol=2)
    await connection.connect()
    wire = Wire(connection, seconds)
    try:
        yield wire
    finally:
        await wire.aclose(ConnectionError("the end"))


async def outcomes(*asking: Any) -> list[Any]:
    """Return what each got, be it an error."""
    return await asyncio.gather(*asking, return_exceptions=True)


async def test_pipelines_on_their_way(said: Said) -> None:
    """A pipeline goes out before the replies to the last are there, in order."""
    async with (
        Fake(SUBSCRIBE=b"") as fake,
        listening(f"redis://127.0.0.1:{fake.port}") as one,
    ):
        await fake.until(b"HELLO", 2)
        fake.is_answering.clear()
        first = asyncio.create_task(one.backend.publish("g", b"first"))
        await fake.until(b"PUBLISH")
        second = asyncio.create_task(one.backend.publish("g", b"second"))
        await fake.until(b"PUBLISH", 2)
        assert not first.done()
        fake.is_answering.set()
        await asyncio.gather(first, second)
    assert said.lines == []


async def test_replies_are_matched_in_order() -> None:
    """Each gets its own reply, or error."""
    async with (
        Fake(ONE=b":1\r\n", BAD=b"-ERR bad\r\n", TWO=b":2\r\n") as fake,
        opened(fake) as wire,
    ):
        one, bad, two = await outcomes(wire.ask(("ONE",)), wire.ask(("BAD",)), wire.ask(("TWO",)))
        assert (one, two) == (1, 2)
        assert isinstance(bad, ResponseError)
        assert str(bad) == "bad"


async def test_a_reply_that_is_overdue() -> None:
    """All that are on their way fail with the first that is not answered in time."""
    async with Fake() as fake, opened(fake, seconds=0.1) as wire:
        assert await wire.ask(("PING",)) == b"PONG"
        fake.is_answering.clear()
        errors = await outcomes(wire.ask(("PING",)), wire.ask(("PING",)))
        assert [str(error) for error in errors] == ["no answer within 0.1 seconds"] * 2
        assert not wire.is_open
        (late,) = await outcomes(wire.ask(("PING",)))
        assert str(late) == "the connection was lost"


async def test_an_event_loop_that_was_blocked() -> None:
    """A reply that came while nobody could read it is not overdue."""
    async with Fake() as fake, opened(fake, seconds=0.5) as wire:
        asked = asyncio.create_task(wire.ask(("PING",)))
        await fake.until(b"PING")
        time.sleep(0.8)  # noqa: ASYNC251  # this is what it is about
        assert await asked == b"PONG"


async def test_a_reply_that_nobody_asked_for() -> None:
    """Then replies can't be matched any more: the connection is closed."""
    async with Fake(TWICE=b":1\r\n:2\r\n") as fake, opened(fake) as wire:
        assert await wire.ask(("TWICE",)) == 1
        await outcomes(wire.ask(("PING",)))
        assert not wire.is_open


async def test_a_write_that_fails(own: Redis) -> None:
    """Whoever asked is told, if the server goes while it takes nothing more."""
    connection = Connection(host="127.0.0.1", port=own.port, socket_connect_timeout=5, protocol=2)
    await connection.connect()
    wire = Wire(connection, 30)
    own.pause()
    asked = asyncio.create_task(wire.ask(("ECHO", "x" * 50_000_000)))
    await asyncio.wait({asked}, timeout=0.1)
    own.kill()
    (error,) = await outcomes(asked)
    assert isinstance(error, OSError | RedisError)
    assert not wire.is_open
    await wire.aclose(ConnectionError("the end"))


async def test_finished() -> None:
    """It ends when what was asked is answered, and not before."""
    async with Fake() as fake, opened(fake) as wire:
        fake.is_answering.clear()
        asked = asyncio.create_task(wire.ask(("PING",)))
        await fake.until(b"PING")
        finishing = asyncio.create_task(wire.finish())
        await asyncio.wait({finishing}, timeout=0)
        assert not finishing.done()
        fake.is_answering.set()
        await finishing
        assert await asked == b"PONG"


async def test_finished_before_it_began() -> None:
    """A publisher that has never had a connection opens none to end."""

    async def connect() -> Any:
        raise AssertionError

    async def check(ask: Any) -> None:
        raise AssertionError

    publisher = Publisher(connect, check, 5)
    await publisher.finish()
    with pytest.raises(ConnectionError, match="the backend is closed"):
        await publisher.run(("PUBLISH", b"channel", b"body"), 4)


@pytest.mark.parametrize("is_asked", [True, False], ids=["asked", "idle"])
async def test_retired(is_asked: bool) -> None:
    """It takes no more, and what was asked before is answered."""
    async with Fake() as fake, opened(fake) as wire:
        fake.is_answering.clear()
        asked = [asyncio.create_task(wire.ask(("PING",)))] if is_asked else []
        if is_asked:
            await fake.until(b"PING")
        wire.retire()
        (late,) = await outcomes(wire.ask(("PING",)))
        assert isinstance(late, ConnectionError)
        fake.is_answering.set()
        assert await outcomes(*asked) == [b"PONG"] * len(asked)
