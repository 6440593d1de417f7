"""``connected/asking.py``: gathering answers, whoever answers, and whoever does not."""

from __future__ import annotations

import asyncio
import logging
import threading
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from tests.connected.members import Member, asked
from wsconsumer import BackendError, WebsocketConsumer
from wsconsumer.connected import answering, asking
from wsconsumer.connected.asking import Answers, disconnect, in_own_loop, who_is_connected
from wsconsumer.connected.facts import Facts
from wsconsumer.connected.questions import Answer, Selection, WhoIsConnected, channel_of
from wsconsumer.counters import counters
from wsconsumer.groups.hub import close_hub, hub, started_hub
from wsconsumer.groups.memory import MemoryBackend
from wsconsumer.groups.orders import CHANNEL, heard_by
from wsconsumer.processes import Process
from wsconsumer.test import connect, real_engine

if TYPE_CHECKING:
    from collections.abc import Callable

ONE, TWO = Process("b", 1, "1"), Process("a", 2, "2")


def piece(process: Process = ONE, loop: str = "x", number: int = 0, **more: Any) -> Answer:
    """Return a piece of an answer."""
    return Answer(process, loop, number, **more)


def last(process: Process = ONE, loop: str = "x", number: int = 0, **more: Any) -> Answer:
    """Return the last piece of an answer."""
    return piece(process, loop, number, is_last=True, **more)


def gathered(*pieces: Answer) -> Answers:
    """Return answers of these pieces."""
    answers = Answers()
    for each in pieces:
        answers.add(each, 0.0)
    return answers


def test_processes() -> None:
    """The loops of a process are one, and processes are in the order of their hosts."""
    answers = gathered(
        last(ONE, "x", total=3, consumers={"A": 1, "B": 1}, closed=1),
        last(ONE, "y", total=1, consumers={"A": 1}, closed=1),
        last(TWO, "z", total=5, consumers={"B": 4}, is_draining=True),
    )
    assert answers.reports == [(TWO, 5, 4, 0, True, True), (ONE, 4, 3, 2, True, False)]
    assert answers.consumers == {"A": 2, "B": 5}
    assert answers.is_whole


@pytest.mark.parametrize(
    "pieces",
    [[piece()], [piece(number=0), last(number=2)], [last(number=1)]],
    ids=["not ended", "lost", "first lost"],
)
def test_an_answer_that_is_not_whole(pieces: list[Answer]) -> None:
    """An answer of which something is missing is told as that."""
    answers = gathered(*pieces, last(TWO, "z"))
    assert not answers.is_whole
    assert [report.is_whole for report in answers.reports] == [True, False]


def test_where_a_connection_is() -> None:
    """A connection's id says in which process it is."""
    answers = gathered(last(ONE, "x"), last(TWO, "z"))
    assert answers.process_of(Facts("z-1", "Room", "/")) == TWO
    assert answers.process_of(Facts("other-1", "Room", "/")) is None


async def test_from_anywhere() -> None:
    """An event loop with websockets is asked from itself, and from a thread; its hub remains."""
    async with connect(Member, kwargs={"groups": ["room"]}) as ws:
        await ws.settle()
        before = started_hub()
        here = await asked()
        there = await asyncio.to_thread(in_own_loop, asked)
        assert here.rows[0].id == there.rows[0].id
        assert started_hub() is before is not None
        assert set(hub()._heard) == {CHANNEL}  # noqa: SLF001  # nothing is left of it


async def test_two_at_once() -> None:
    """Two who ask at the same time get their own answers."""
    async with connect(Member, "/one/", kwargs={"groups": []}) as ws:
        await ws.settle()
        both = await asyncio.gather(asked(Selection(path="/one/")), asked(Selection(path="/two/")))
    assert [len(answers.rows) for answers in both] == [1, 0]
    assert [answers.reports[0].total for answers in both] == [1, 1]


async def test_nobody_is_there() -> None:
    """A process that serves nobody does not answer."""
    answers = await asked(patience=0.05)
    assert (answers.reports, answers.rows, answers.is_whole) == ([], [], True)


class Answering:
    """Answers questions for a process that is not there, once the test has said how."""

    def __init__(self) -> None:
        self.asked: asyncio.Queue[WhoIsConnected] = asyncio.Queue()

    async def channel(self) -> str:
        """Wait for a question; return where its answer goes."""
        async with asyncio.timeout(10):
            return channel_of((await self.asked.get()).reply)


@pytest.fixture
def elsewhere() -> Any:
    """Hear questions instead of what answers them."""
    found = Answering()
    heard_by(WhoIsConnected, found.asked.put_nowait)
    yield found
    heard_by(WhoIsConnected, answering._take)  # noqa: SLF001  # as before


async def test_who_has_begun_is_waited_for(elsewhere: Answering) -> None:
    """Beyond the time for beginning, an answer that has begun is let finish."""
    async with connect(WebsocketConsumer) as ws:
        await ws.settle()
        asking_task = asyncio.create_task(who_is_connected(patience=0.01))
        channel = await elsewhere.channel()
        await hub().tell(channel, msgspec.json.encode(piece(number=0)))
        loop = asyncio.get_running_loop()
        waited: asyncio.Future[None] = loop.create_future()
        loop.call_later(0.05, waited.set_result, None)  # longer than the patience
        await waited
        assert not asking_task.done()
        await hub().tell(channel, msgspec.json.encode(last(number=1, total=1)))
        answers = await asking_task
    assert answers.is_whole


async def test_who_never_ends_is_given_up(
    elsewhere: Answering, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An answer that stays without its end holds nobody up for long."""
    monkeypatch.setattr(asking, "TIMEOUT", 0.02)
    async with connect(WebsocketConsumer) as ws:
        await ws.settle()
        asking_task = asyncio.create_task(who_is_connected(patience=0.01))
        await hub().tell(await elsewhere.channel(), msgspec.json.encode(piece()))
        assert not (await asking_task).is_whole


async def test_answers_of_strangers(elsewhere: Answering, caplog: pytest.LogCaptureFixture) -> None:
    """What is no answer is refused, counted, and no reason to miss those that are."""
    async with connect(WebsocketConsumer) as ws:
        await ws.settle()
        asking_task = asyncio.create_task(who_is_connected(patience=0.05))
        channel = await elsewhere.channel()
        for body in (b"", b"\xff", b"{}", b'{"process": ["a", "b", "c"], "loop": "", "number": 0}'):
            await hub().tell(channel, body)
        await hub().tell(channel, msgspec.json.encode(last(total=2)))
        answers = await asking_task
    assert [report.total for report in answers.reports] == [2]
    assert counters["body_refused"] == 4
    assert caplog.text.count("Refused an answer: ") == 1  # one line of a flood


class Away(MemoryBackend):
    """An engine that takes nothing."""

    is_local = False

    async def publish(self, group: str, body: bytes) -> None:
        raise BackendError("It is away.")


class Hanging(MemoryBackend):
    """An engine that answers nothing."""

    async def start(self, deliver: Any) -> None:
        await asyncio.get_running_loop().create_future()


class Blocking(MemoryBackend):
    """An engine that holds up the event loop."""

    release = threading.Event()

    async def start(self, deliver: Any) -> None:
        self.release.wait()


@pytest.mark.parametrize(
    ("backend", "error"),
    [
        (Away, "It is away"),
        (Hanging, r"did not answer within 0\.05 seconds"),
        (Blocking, "holds up whoever asks"),
    ],
)
def test_an_engine_that_does_not_answer(
    backend: type[MemoryBackend], error: str, monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    """Whatever the engine does, whoever asks hears of it in time."""
    monkeypatch.setattr(asking, "PATIENCE", 0.05)
    monkeypatch.setattr(asking, "LONGEST", 0.05)
    name = f"{__name__}.{backend.__name__}"
    settings.WSCONSUMER = {"GROUPS": {"BACKEND": name, "PREFIX": name}}
    Blocking.release.clear()
    with real_engine(), pytest.raises(BackendError, match=error):
        in_own_loop(who_is_connected, 0.05)
    Blocking.release.set()


def test_a_long_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever waits for longer than an answer may take does not blame the engine."""
    monkeypatch.setattr(asking, "PATIENCE", 0.5)
    monkeypatch.setattr(asking, "LONGEST", 0.0)
    assert in_own_loop(lambda: asked(patience=1.5), 1.5).reports == []


class Far(MemoryBackend):
    """An engine that carries between processes."""

    is_local = False


@pytest.mark.parametrize(("backend", "is_waited"), [("Far", True), ("MemoryBackend", False)])
async def test_how_long_is_waited(backend: str, is_waited: bool, settings: Any) -> None:
    """Where others may answer they have their time; in one process nobody waits for it."""
    name = f"{__name__}.{backend}"
    settings.WSCONSUMER = {"GROUPS": {"BACKEND": name, "PREFIX": backend}}
    loop = asyncio.get_running_loop()
    with real_engine():
        async with connect(Member, kwargs={"groups": ["room"]}) as ws:
            await ws.settle()
            began = loop.time()
            assert len((await who_is_connected(patience=0.5)).rows) == 1
            assert (loop.time() - began >= 0.5) is is_waited


async def test_a_server_that_stops_while_it_asks(elsewhere: Answering) -> None:
    """Whoever asks from a server that stops gets what has come until then."""
    async with connect(WebsocketConsumer) as ws:
        await ws.settle()
        asking_task = asyncio.create_task(who_is_connected(patience=0.1))
        await hub().tell(await elsewhere.channel(), msgspec.json.encode(last(total=2)))
        await close_hub()
        assert [report.total for report in (await asking_task).reports] == [2]


@pytest.mark.parametrize(
    ("arguments", "error"),
    [({"code": 1005}, ValueError), ({"reason": "x" * 200}, ValueError), ({"code": "1"}, TypeError)],
)
async def test_what_can_not_be_closed_with(
    arguments: dict[str, Any], error: type[Exception]
) -> None:
    """A code or reason that no close frame can have is refused before anybody is asked."""
    with pytest.raises(error, match=r"close\(\)"):
        await disconnect(Selection(path="*"), by="a test", **arguments)


@pytest.fixture(autouse=True)
def _levels(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)


def test_only_groups_of_its_own(monkeypatch: pytest.MonkeyPatch, settings: Any) -> None:
    """A backend that delivers all there is disturbs nobody who asks."""
    settings.WSCONSUMER = {"GROUPS": {"BACKEND": f"{__name__}.Chatty", "PREFIX": "chatty"}}
    with real_engine():
        assert in_own_loop(lambda: asked(patience=0.05)).reports == []
    assert counters["body_refused"] == 0


class Chatty(MemoryBackend):
    """An engine that brings what nobody has subscribed to."""

    async def start(self, deliver: Callable[..., Any]) -> None:
        await super().start(deliver)
        await deliver("room.lobby", b"hello")
