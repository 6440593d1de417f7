"""``connected/answering.py``: an event loop that answers, whatever it is asked, and goes on."""

from __future__ import annotations

import asyncio
import logging
from contextlib import AsyncExitStack
from math import inf
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from tests.connected.members import Member, Other, asked
from tests.fakes import CONNECT, Wire, close, scope, until
from tests.fakes import disconnect as gone
from wsconsumer import BackendError, CloseCode, WebsocketConsumer
from wsconsumer.connected import answering
from wsconsumer.connected.asking import disconnect
from wsconsumer.connected.questions import Answer, Disconnect, Selection, WhoIsConnected, channel_of
from wsconsumer.connection.monitor import monitor
from wsconsumer.counters import counters
from wsconsumer.groups.hub import close_hub, exchange_hub, hub, started_hub
from wsconsumer.groups.memory import MemoryBackend
from wsconsumer.groups.orders import CHANNEL, atell, body_of
from wsconsumer.test import connect, real_engine

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from wsconsumer.test import Websocket

REPLY = "0123456789abcdef"


@pytest.fixture(autouse=True)
def _settings(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """Cut no slices because the machine is busy, and hear of warnings only."""
    monkeypatch.setattr(answering, "SLICE", inf)
    caplog.set_level(logging.WARNING)


class Mailbox:
    """Collects what is answered to ``REPLY``."""

    def __init__(self) -> None:
        self.answers: list[Answer] = []
        self.sizes: list[int] = []
        self._came = asyncio.Event()

    async def open(self) -> None:
        """Begin to listen."""
        await hub().hear(channel_of(REPLY), self._hear)

    def _hear(self, body: bytes) -> None:
        self.answers.append(msgspec.json.decode(body, type=Answer))
        self.sizes.append(len(body))
        self._came.set()

    async def until_last(self, times: int = 1) -> None:
        """Wait for the end of so many answers."""
        async with asyncio.timeout(10):
            while sum(answer.is_last for answer in self.answers) < times:
                self._came.clear()
                await self._came.wait()


@pytest.fixture
async def crowd() -> AsyncIterator[list[Websocket]]:
    """Twelve websockets."""
    async with AsyncExitStack() as stack:
        found = []
        for number in range(12):
            opening = connect(Member, f"/{number}/", kwargs={"groups": [f"room.{number}"]})
            found.append(await stack.enter_async_context(opening))
        await found[0].settle()
        yield found


@pytest.fixture
async def mailbox(crowd: list[Websocket]) -> Mailbox:
    """A mailbox that is open."""
    found = Mailbox()
    await found.open()
    return found


@pytest.mark.usefixtures("crowd")
async def test_one_piece(mailbox: Mailbox) -> None:
    """Few connections are told in one piece."""
    await atell(WhoIsConnected(REPLY))
    await mailbox.until_last()
    (answer,) = mailbox.answers
    assert (answer.number, answer.is_last, answer.total) == (0, True, 12)
    assert answer.consumers == {f"{Member.__module__}.Member": 12}
    assert [row.path for row in answer.rows] == [f"/{number}/" for number in range(12)]


async def test_many_pieces(mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is big comes in pieces, each numbered, none much bigger than it may be."""
    monkeypatch.setattr(answering, "PIECE", 600)
    await atell(WhoIsConnected(REPLY))
    await mailbox.until_last()
    numbers = [answer.number for answer in mailbox.answers]
    assert numbers == list(range(len(numbers)))
    assert len(numbers) > 3
    assert max(mailbox.sizes) < 1_600
    paths = [row.path for answer in mailbox.answers for row in answer.rows]
    assert paths == [f"/{number}/" for number in range(12)]
    assert [answer.total for answer in mailbox.answers if answer.is_last] == [12]


async def test_slices(mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between two slices the loop does what else there is, and a first piece says: wait for me."""
    monkeypatch.setattr(answering, "SLICE", -1.0)
    turns = 0

    async def turn() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    turning = asyncio.create_task(turn())
    await atell(WhoIsConnected(REPLY))
    await mailbox.until_last()
    turning.cancel()
    assert turns >= 12
    assert [(answer.number, answer.is_last) for answer in mailbox.answers] == [
        (0, False),
        (1, True),
    ]


async def test_a_limit(mailbox: Mailbox) -> None:
    """Beyond a limit connections are only counted."""
    await atell(WhoIsConnected(REPLY, limit=3))
    await mailbox.until_last()
    (answer,) = mailbox.answers
    assert len(answer.rows) == 3
    assert answer.consumers == {f"{Member.__module__}.Member": 12}


async def test_a_connection_that_ends_meanwhile(
    crowd: list[Websocket], mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that has ended before its turn is left out."""
    monkeypatch.setattr(answering, "SLICE", -1.0)
    await crowd[11].close()
    hub_tell = hub().tell

    async def tell(name: str, body: bytes) -> None:
        await crowd[10].close()
        await crowd[10].settle()
        await hub_tell(name, body)

    monkeypatch.setattr(hub(), "tell", tell)
    await hub_tell(CHANNEL, body_of(WhoIsConnected(REPLY)))
    await mailbox.until_last()
    paths = [row.path for answer in mailbox.answers for row in answer.rows]
    assert paths == [f"/{number}/" for number in range(11) if number != 10]


async def test_too_many_questions(
    mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever floods the engine with questions gets some of them answered, one by one."""
    monkeypatch.setattr(answering, "MAX_WAITING", 2)
    for _ in range(5):
        await atell(WhoIsConnected(REPLY))
    await mailbox.until_last(2)
    assert counters["question_dropped"] == 3
    assert caplog.text.count("Too many ask at once who is connected. Not answered: WhoIsConn") == 1
    await atell(WhoIsConnected(REPLY))
    await mailbox.until_last(3)


async def closing(**chosen: str) -> int:
    """Disconnect by a selection; return how many that were."""
    answers = await disconnect(Selection(**chosen), by="a test")
    return sum(report.closed for report in answers.reports)


async def test_closing(crowd: list[Websocket], caplog: pytest.LogCaptureFixture) -> None:
    """Those that are meant are closed with 4501, and the log says by whose order."""
    assert await closing(group="room.1*") == 3
    for number in (1, 10, 11):
        assert await crowd[number].receive_close() == CloseCode.DISCONNECTED
        assert crowd[number].close_reason == "disconnected by the server's owner"
    assert crowd[0].close_code is None
    assert counters["owner_closed"] == 3
    text = "Closing with 4501 by order of a test: group room.1*. Connections: 3."
    assert text in caplog.messages
    assert await closing(group="room.1*") == 0


async def test_nobody_to_close(crowd: list[Websocket], caplog: pytest.LogCaptureFixture) -> None:
    """Nothing is logged where nothing was closed."""
    assert await closing(path="/nowhere/") == 0
    assert caplog.messages == []


class Deciding(WebsocketConsumer):
    """Decides when the test says so."""

    decided: asyncio.Event

    async def connect(self) -> None:
        await self.decided.wait()


async def test_closing_before_accept() -> None:
    """A connection that is not accepted yet is closed once it is, and counts."""
    Deciding.decided = asyncio.Event()
    wire = Wire(CONNECT)
    task = asyncio.create_task(Deciding.as_asgi()(scope(), wire.receive, wire.send))
    await until(lambda: started_hub() and monitor().sessions[0].handling)
    assert (await asked()).rows[0].state == "connecting"
    assert await closing(path="*") == 1
    assert wire.sent == []
    Deciding.decided.set()
    await wire.until_sent(1)
    monitor().tick()
    await wire.until_sent(2)
    assert wire.sent[1] == close(4501, "disconnected by the server's owner")
    wire.put(gone(4501))
    await task
    await close_hub()


class Slow(WebsocketConsumer):
    """Closes, and is not done with it until the test says so."""

    released: asyncio.Event

    async def receive(self, data: str | bytes) -> None:
        await self.close(4000)
        await self.released.wait()


async def test_closing_states() -> None:
    """A connection that is closing already is shown, and closed by nobody twice."""
    Slow.released = asyncio.Event()
    async with connect(Slow) as ws:
        await ws.send("close")
        assert await ws.receive_close() == 4000
        assert [row.state for row in (await asked()).rows] == ["closing"]
        assert await closing(path="*") == 0
        Slow.released.set()


@pytest.mark.parametrize(
    "order",
    [
        b'\x00\x0eWhoIsConnected{"reply": "room.lobby"}',
        b'\x00\x0eWhoIsConnected{"reply": 1}',
        b"\x00\x0eWhoIsConnected[]",
        b'\x00\x0aDisconnect{"reply": "0123456789abcdef"}',
        body_of(Disconnect(REPLY, Selection(), 1005)),
    ],
)
async def test_orders_of_strangers(
    order: bytes, mailbox: Mailbox, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever is in the engine closes nobody by mistake, and stops no later question."""
    await hub().tell(CHANNEL, order)
    await atell(WhoIsConnected(REPLY))
    await mailbox.until_last()
    assert mailbox.answers[-1].total == 12
    assert caplog.messages[0].startswith(("Refused an order: ", "An order failed: Disconnect"))


class Failing(MemoryBackend):
    """An engine that takes questions, and no answers."""

    async def publish(self, group: str, body: bytes) -> None:
        if group != CHANNEL:
            raise BackendError("It is full.")
        await super().publish(group, body)


async def test_an_answer_that_is_not_sent(caplog: pytest.LogCaptureFixture, settings: Any) -> None:
    """An engine that fails is logged, and the next question is answered again."""
    settings.WSCONSUMER = {"GROUPS": {"BACKEND": f"{__name__}.Failing", "PREFIX": "failing"}}
    with real_engine():
        async with connect(Other, kwargs={"groups": ["room"]}) as ws:
            await ws.settle()
            for _ in range(2):
                assert (await asked(patience=0.05)).reports == []
    assert caplog.messages == ["An answer to who is connected was not sent: It is full."] * 2


async def test_a_fault_of_ours(
    mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever goes wrong with one question, the next one is answered."""
    with monkeypatch.context() as broken:
        broken.setattr(answering, "facts_of", None)
        await atell(WhoIsConnected(REPLY))
        await until(lambda: caplog.messages)
    await atell(WhoIsConnected(REPLY))
    await mailbox.until_last()
    (text,) = caplog.messages
    assert text == "A question for who is connected was not answered: WhoIsConnected."


async def test_a_server_that_stops(crowd: list[Websocket]) -> None:
    """Where the hub has gone already, nothing is answered, and no other hub is made for it."""
    await close_hub()
    answering._answering.get().take(WhoIsConnected(REPLY))  # noqa: SLF001  # as an order does
    await crowd[0].settle()
    assert exchange_hub(None) is None
