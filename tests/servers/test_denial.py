"""``servers/denial.py``: a denial that a server has noted before the application returns."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from tests.fakes import Wire, disconnect, until
from wsconsumer.servers import denied


def send_of(package: str, **attributes: Any) -> Any:
    """Return a bound ``send`` of an object of a server, as ``type().__module__`` tells it."""
    protocol = type("Protocol", (), {"__module__": f"{package}.protocol", **attributes})()
    return SimpleNamespace(__self__=protocol)


async def test_uvicorn_that_has_not_noted_it() -> None:
    """Events are read until the protocol says that the handshake is over."""
    wire, send = Wire(disconnect(1006)), send_of("uvicorn", handshake_complete=False)
    waiting = asyncio.create_task(denied(wire.receive, send))
    await until(lambda: not wire.inbox)  # this disconnect event says that the denial was sent
    assert not waiting.done()
    send.__self__.handshake_complete = True
    wire.put(disconnect(1006))
    await waiting


@pytest.mark.parametrize(
    "send",
    [print, send_of("hypercorn"), send_of("uvicorn"), send_of("uvicorn", handshake_complete=True)],
    ids=["function", "hypercorn", "uvicorn-websockets", "uvicorn-wsproto"],
)
async def test_servers_that_know_at_once(send: Any) -> None:
    """Nothing is read."""
    wire = Wire(disconnect(1006))
    await denied(wire.receive, send)
    assert wire.inbox
