"""Errors are mailed, and the mail server is slow: that is nobody's business but the mail's."""

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed

from tests.servers.harness import PATIENCE, Server, new_key, remaining, running
from tests.servers.smtp import SlowSmtp, slow_smtp

SERVERS = ["daphne", "uvicorn-websockets"]

MAIL = 3.0
"""Seconds that one mail takes."""

FAILURES = 500

AT_ONCE = 10
"""Clients that fail at the same time."""

BOUND = MAIL / 2
"""Seconds for anything that waits for no mail, on a machine that has other things to do."""


@pytest.fixture(params=SERVERS)
def name(request: pytest.FixtureRequest) -> str:
    """A server with a lifespan, and one without."""
    server: str = request.param
    return server


@contextmanager
def mailing(name: str, folder: Path, smtp: SlowSmtp) -> Iterator[Server]:
    """Run a server that mails its errors."""
    with running(name, folder, SMTP_PORT=str(smtp.port)) as server:
        yield server


@dataclass
class Waits:
    """How long each thing took, in seconds."""

    echo: list[float] = field(default_factory=list)
    handshake: list[float] = field(default_factory=list)
    failure: list[float] = field(default_factory=list)


async def fail(server: Server, waits: Waits) -> None:
    """Let a hook fail, and note how soon its client hears of it."""
    async with server.connect(f"/ws/fails-in-receive/{new_key()}/") as websocket:
        began = time.monotonic()
        await websocket.send("go")
        await remaining(websocket)
    waits.failure.append(time.monotonic() - began)
    assert websocket.close_code == 1011


async def fail_often(server: Server, waits: Waits) -> None:
    """Let a share of all hooks fail, one after the other."""
    for _ in range(FAILURES // AT_ONCE):
        await fail(server, waits)


async def use(server: Server, waits: Waits) -> None:
    """Talk to the server, on a websocket that stays and on new ones, until cancelled."""
    async with await server.open(f"/ws/echo/{new_key()}/") as websocket:
        while True:
            began = time.monotonic()
            await websocket.send("still here")
            await websocket.recv()
            waits.echo.append(time.monotonic() - began)
            began = time.monotonic()
            async with await server.open(f"/ws/echo/{new_key()}/"):
                waits.handshake.append(time.monotonic() - began)


async def test_a_slow_mail_server_holds_up_nobody(name: str, tmp_path: Path) -> None:
    """While 500 hooks fail, others talk and come, and each client gets its 1011 at once."""
    waits = Waits()
    with (
        slow_smtp(partial(time.sleep, MAIL)) as smtp,
        mailing(name, tmp_path, smtp) as server,
    ):
        others = asyncio.create_task(use(server, waits))
        await asyncio.gather(*(fail_often(server, waits) for _ in range(AT_ONCE)))
        others.cancel()
        with suppress(asyncio.CancelledError):
            await others
        assert smtp.came.acquire(timeout=PATIENCE)
        assert smtp.taken < FAILURES
    assert len(waits.failure) == FAILURES
    longest = {what: max(seconds) for what, seconds in vars(waits).items()}
    assert max(longest.values()) < BOUND, longest


async def stop_while_a_mail_waits(server: Server, smtp: SlowSmtp) -> None:
    """Stop a server in the middle of a mail; return once its connections know of it."""
    key = new_key()
    other = await server.open(f"/ws/echo/{key}/")
    await fail(server, Waits())
    assert await asyncio.to_thread(smtp.came.acquire, timeout=PATIENCE)
    server.terminate()
    with suppress(ConnectionClosed):
        await other.recv()
    await server.journal.wait(key, event="disconnect")


async def test_what_waits_is_mailed_before_the_server_stops(name: str, tmp_path: Path) -> None:
    """The server waits for it, before Python ends the process."""
    answer = threading.Event()
    with slow_smtp(answer.wait) as smtp, mailing(name, tmp_path, smtp) as server:
        await stop_while_a_mail_waits(server, smtp)
        answer.set()
        assert await asyncio.to_thread(server.has_exited)
        assert smtp.taken == 1
        events = server.journal.events()
    (mailed,) = [event for event in events if "deliberate" in event.get("text", "")]
    # Uvicorn ends by the signal itself, so that Python has no end.
    assert "exit" not in [event["event"] for event in events[: events.index(mailed)]]


async def test_a_mail_server_that_never_answers(name: str, tmp_path: Path) -> None:
    """The server waits for a while, and stops."""
    answer = threading.Event()
    with slow_smtp(answer.wait) as smtp, mailing(name, tmp_path, smtp) as server:
        await stop_while_a_mail_waits(server, smtp)
        assert await asyncio.to_thread(server.has_exited)
        assert smtp.taken == 0
        answer.set()
