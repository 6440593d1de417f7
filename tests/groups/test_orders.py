"""What the processes of a project tell one another."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

import pytest
from django.db import connections, transaction
from django.test import override_settings

from tests.fakes import Wire
from wsconsumer import WebsocketConsumer
from wsconsumer.counters import counters
from wsconsumer.groups import orders
from wsconsumer.groups.hub import close_hub, hub
from wsconsumer.groups.names import check_group
from wsconsumer.groups.orders import CHANNEL, Order, atell, heard_by, listen, tell, tell_now
from wsconsumer.handshake.dispatcher import WebsocketDispatcher
from wsconsumer.test import connect
from wsconsumer.test.clock import turns
from wsconsumer.test.engine import own_hub

if TYPE_CHECKING:
    from wsconsumer.protocol import Receive, Scope, Send


class Ring(Order, frozen=True):
    """An order that tests give."""

    times: int


class Heard:
    """Collects orders; ``wait()`` for the next."""

    def __init__(self) -> None:
        self.orders: asyncio.Queue[Ring] = asyncio.Queue()

    def __call__(self, order: Ring) -> None:
        if order.times < 0:
            raise RuntimeError("no such bell")
        self.orders.put_nowait(order)

    async def wait(self) -> Ring:
        """Return the next order."""
        async with asyncio.timeout(10):
            return await self.orders.get()


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> Heard:
    """Hear rings, in this test only."""
    monkeypatch.setattr(orders, "_kinds", dict(orders._kinds))  # noqa: SLF001  # put back after the test
    found = Heard()
    heard_by(Ring, found)
    return found


async def test_a_process_with_websockets_hears_orders(heard: Heard) -> None:
    """Orders are heard wherever a websocket is open, whether they come from async or sync code."""
    async with connect(WebsocketConsumer) as ws:
        await ws.settle()
        await atell(Ring(1))
        assert await heard.wait() == Ring(1)
        await asyncio.to_thread(tell, Ring(2))
        assert await heard.wait() == Ring(2)


async def test_an_order_is_told_from_a_loop_without_websockets(heard: Heard) -> None:
    """Async code of a process that serves nobody can tell as well."""
    async with connect(WebsocketConsumer) as ws:
        await ws.settle()
        await asyncio.to_thread(asyncio.run, atell(Ring(3)))
        assert await heard.wait() == Ring(3)


class Pages(WebsocketDispatcher):
    """Serves pages too, which say nothing."""

    async def serve_other(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a page."""


async def test_a_process_hears_orders_before_its_first_websocket(heard: Heard) -> None:
    """From the first scope on, whatever it is: who has just logged out may ask here next."""
    wire = Wire()
    async with own_hub():
        await Pages([])({"type": "http", "path": "/"}, wire.receive, wire.send)
        await turns()
        await atell(Ring(4))
        assert await heard.wait() == Ring(4)


async def test_listening_twice_is_listening_once(heard: Heard) -> None:
    """However many websockets there are, an order is obeyed once in a loop."""
    async with connect(WebsocketConsumer) as one, connect(WebsocketConsumer) as other:
        await one.settle()
        await other.settle()
        listen()
        await atell(Ring(1))
        await atell(Ring(2))
        assert [await heard.wait(), await heard.wait()] == [Ring(1), Ring(2)]
        assert heard.orders.empty()


@pytest.mark.parametrize("is_rolled_back", [False, True], ids=["committed", "rolled-back"])
async def test_at_once_although_in_a_transaction(
    is_rolled_back: bool, pg: str, heard: Heard
) -> None:
    """On PostgreSQL what a transaction tells comes with its commit, unless it has to come now."""
    groups = {"BACKEND": "wsconsumer.groups.postgres.PostgresBackend", "LOCATION": pg}

    def work(loop: asyncio.AbstractEventLoop) -> Ring:
        with transaction.atomic(using=pg):
            tell(Ring(2))
            tell_now(Ring(1))
            first = asyncio.run_coroutine_threadsafe(heard.wait(), loop).result(10)
            transaction.set_rollback(is_rolled_back, using=pg)
        tell_now(Ring(3))
        connections.close_all()
        return first

    with override_settings(WSCONSUMER={"GROUPS": groups}):
        listen()
        await hub()._subscriptions.subscribe(CHANNEL)  # noqa: SLF001  # to wait for it
        try:
            assert await asyncio.to_thread(work, asyncio.get_running_loop()) == Ring(1)
            assert await heard.wait() == Ring(3 if is_rolled_back else 2)
        finally:
            await close_hub()


async def test_what_fails_stops_no_later_order(
    heard: Heard, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever comes from the engine, the next order is obeyed; of a flood there is one line."""
    async with connect(WebsocketConsumer) as ws:
        await ws.settle()
        with caplog.at_level(logging.INFO, "wsconsumer.groups"):
            for body in (b"", b"\xff\xff", b"\x00\x04Ring", b'\x00\x04Ring{"times":"x"}'):
                await hub().tell(CHANNEL, body)
            for _ in range(2):
                await hub().tell(CHANNEL, b"\x00\x04Bell{}")
                await atell(Ring(-1))
            await atell(Ring(7))
            assert await heard.wait() == Ring(7)
    texts = [record.getMessage() for record in caplog.records]
    assert sum(text.startswith("Refused an order: ") for text in texts) == 1
    assert counters["body_refused"] == 4
    assert (
        texts.count("Passed over an order of a kind that is not known here: 'Bell'. Times: 1.") == 1
    )
    assert texts.count("An order failed: Ring. Times: 1.") == 1


async def test_settings_that_can_not_work_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    """A websocket that uses no groups works without their engine, and the log says what is off."""
    with override_settings(WSCONSUMER={"GROUPS": {"BACKEND": "no.such.Backend"}}):
        listen()
    assert "This process hears no orders of others: WSCONSUMER['GROUPS'] names" in caplog.text


def test_no_group_can_listen_in() -> None:
    """The name of the channel is no name for a group."""
    with pytest.raises(ValueError, match="Names that begin with 'wsconsumer:' are reserved"):
        check_group(CHANNEL)
