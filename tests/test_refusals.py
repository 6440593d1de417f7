"""``refusals.py``: whom a process refuses within a minute of an order, and for how long."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from tests.fakes import CONNECT, DENIAL, Wire, close, disconnect, scope
from tests.test_disconnecting import ADA, Ended, session, session_of_ada
from wsconsumer import WebsocketConsumer, adisconnect_session, adisconnect_user
from wsconsumer.counters import counters
from wsconsumer.protocol import OWN_SUBPROTOCOL
from wsconsumer.refusals import SECONDS, Remembered, Verdict
from wsconsumer.test import connect


def verdict(at: float) -> Verdict:
    """Return a verdict of a time."""
    return Verdict(at, 4501, "")


def test_for_a_minute() -> None:
    """A verdict counts for a minute from the last time that it came."""
    remembered: Remembered[str] = Remembered()
    remembered.add("a", verdict(10))
    assert remembered.find("a", 10 + SECONDS) == verdict(10)
    assert remembered.find("a", 10.1 + SECONDS) is None
    assert remembered.find("b", 10) is None
    remembered.add("a", verdict(30))
    assert remembered.find("a", 30 + SECONDS) == verdict(30)


def test_memory_is_bounded() -> None:
    """What is over is forgotten when something else comes, and so is the oldest of too many."""
    remembered: Remembered[str] = Remembered(limit=2)
    for name, at in (("a", 1), ("b", 2), ("a", 3), ("c", 4)):
        remembered.add(name, verdict(at))
    assert [name for name in "abc" if remembered.find(name, 4)] == ["a", "c"]
    remembered.add("d", verdict(4 + 2 * SECONDS))
    assert len(remembered) == 1


async def test_a_session_that_comes_back(caplog: pytest.LogCaptureFixture) -> None:
    """It is denied with 403, without ``connect()``, and the log and a counter say so."""
    caplog.set_level(logging.INFO, "wsconsumer")
    begun: list[Any] = []

    class Begun(WebsocketConsumer):
        async def connect(self) -> None:
            begun.append(self)

    async with connect(Ended, session=session()) as ws:
        await adisconnect_session("k" * 32, reason="bye")
        await ws.receive_close()
        async with connect(Begun, user=ADA, session=session_of_ada()) as again:
            assert again.denial is not None
            assert again.denial.status == 403
        async with connect(Begun, session=session("other")) as other:
            assert other.accepted
    assert len(begun) == 1
    assert counters["disconnected_refused"] == 1
    assert (
        "Refused a websocket on / with 403: its user or session was disconnected within the last "
        "minute (4501, bye)." in caplog.messages
    )


@pytest.mark.parametrize("code", [4501, 4401])
async def test_our_client_comes_back(code: int) -> None:
    """A page sees no status, so a client of ours gets the code of its close again."""
    async with connect(Ended, session=session()) as ws:
        await adisconnect_session("k" * 32, code=code)
        await ws.receive_close()
        own = [OWN_SUBPROTOCOL]
        async with connect(Ended, session=session(), subprotocols=own, allow_unread=True) as again:
            assert await again.receive_close() == code


@pytest.mark.parametrize("is_ours", [False, True], ids=["plain", "ours"])
@pytest.mark.parametrize("whose", ["session", "user"])
async def test_an_order_while_the_handshake_is_under_way(whose: str, is_ours: bool) -> None:
    """What comes between the handshake's look at the session and the websocket is not missed."""
    facts = {"session": session("j" * 32)} if whose == "session" else {"user": ADA}
    more = {"subprotocols": [OWN_SUBPROTOCOL]} if is_ours else {}
    wire, begun = Wire(), scope(**facts, **DENIAL, **more)
    async with connect(Ended) as other:
        task = asyncio.create_task(Ended.as_asgi()(begun, wire.receive, wire.send))
        await other.settle()
        if whose == "session":
            await adisconnect_session("j" * 32)
        else:
            await adisconnect_user(ADA)
        await other.settle()
        wire.put(CONNECT)
        await wire.until_sent(2)
        wire.put(disconnect(4501))
        await asyncio.wait([task])
    if is_ours:
        assert wire.sent[1] == close(4501, "403")
    else:
        assert wire.sent[0]["status"] == 403


async def test_a_user_who_comes_back() -> None:
    """Whoever begins a handshake after the order may come in, if the project lets them."""
    async with connect(Ended, user=ADA) as ws:
        await adisconnect_user(ADA)
        await ws.receive_close()
        async with connect(Ended, user=ADA) as again:
            assert again.accepted
