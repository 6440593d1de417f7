"""``handshake/draining.py``: what SIGTERM does to this process, and when the server hears of it."""

from __future__ import annotations

import asyncio
import logging
import signal
import threading
from functools import wraps
from typing import TYPE_CHECKING, Any

import pytest
from django.test import override_settings
from django.urls import path

from tests.connection.test_monitor import Run, Slow
from tests.fakes import ACCEPT, CONNECT, DENIAL, Wire, close, disconnect, run, scope, until
from wsconsumer import WebsocketConsumer, serving
from wsconsumer.asgi import get_asgi_application, lifespan
from wsconsumer.connection.monitor import TICK, monitor
from wsconsumer.counters import counters
from wsconsumer.handshake import draining
from wsconsumer.handshake.dispatcher import WebsocketDispatcher
from wsconsumer.handshake.draining import ECHO, GRACE, SETTLE, end_watching, watch_for_stop
from wsconsumer.protocol import OWN_SUBPROTOCOL
from wsconsumer.test import advance

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

GOODBYE = close(1012, "after=1")

began, gate = threading.Event(), threading.Event()


def held_up(view: Any) -> Any:
    """Let the handshake take its time."""

    @wraps(view)
    def held_up_view(request: Any) -> Any:
        began.set()
        gate.wait(5)
        return view(request)

    return held_up_view


urlpatterns = [
    path("", WebsocketConsumer.as_view()),
    path("held-up/", held_up(WebsocketConsumer.as_view())),
]

pytestmark = [
    pytest.mark.urls(__name__),
    pytest.mark.usefixtures("_process"),
]

here = override_settings(MIDDLEWARE=[], WSCONSUMER={"DRAIN_SECONDS": 10})


@pytest.fixture
def _process(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """Let the process be as it was, in the end."""
    caplog.set_level(logging.INFO, "wsconsumer")
    monkeypatch.setattr(serving, "_draining", False)
    began.clear()
    gate.clear()


@pytest.fixture
async def stopped() -> AsyncIterator[list[int]]:
    """Be a server that waits for SIGTERM and SIGINT; return the signals that it got."""
    got: list[int] = []
    before = {
        number: signal.signal(number, lambda number, _: got.append(number))
        for number in (signal.SIGTERM, signal.SIGINT)
    }
    yield got
    await end_watching()
    for number, handler in before.items():
        signal.signal(number, handler)


async def raised(number: int = signal.SIGTERM) -> None:
    """Let this process get a signal, and do what is due at once."""
    signal.raise_signal(number)
    await advance(0)


async def connected() -> Run:
    """Return an open connection."""
    opened = Run(Slow)
    await opened.wire.until_sent(1)
    return opened


async def leave(*runs: Run) -> None:
    """Let clients answer the close."""
    for one in runs:
        one.wire.put(disconnect(1012))
        await one.finished()


@here
async def test_the_server_stops_when_all_are_gone(
    stopped: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    """SIGTERM closes one after the other; the server hears of it after the last."""
    watch_for_stop()
    runs = [await connected() for _ in range(2)]
    await raised()
    await advance(TICK)
    assert sum(GOODBYE in one.wire.sent for one in runs) == 1
    assert stopped == []
    await advance(6)
    await leave(*runs)
    await advance(0)
    assert stopped == [signal.SIGTERM]
    assert "The server was asked to stop. Websockets to close over 10 s: 2." in caplog.messages
    assert "Websockets closed: 2, refused: 0, left: 0." in caplog.messages[-1]


@here
async def test_nobody_is_closed_before(stopped: list[int]) -> None:
    """Without SIGTERM the setting does nothing."""
    watch_for_stop()
    one = await connected()
    await advance(60)
    assert (one.wire.sent, stopped) == ([ACCEPT], [])
    await leave(one)


@here
async def test_no_connections(stopped: list[int]) -> None:
    """The server stops at once."""
    watch_for_stop()
    await raised()
    assert stopped == [signal.SIGTERM]


@here
async def test_a_client_that_never_answers(
    stopped: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    """What takes longer than the window and a grace is left to the server."""
    with override_settings(WSCONSUMER={"DRAIN_SECONDS": 1}):
        watch_for_stop()
    one = await connected()
    await raised()
    await advance(1 + GRACE - 0.1)
    assert stopped == []
    await advance(0.1)
    assert stopped == [signal.SIGTERM]
    assert "Websockets closed: 1, refused: 0, left: 1." in caplog.messages[-1]
    await leave(one)


@here
async def test_new_ones_are_refused(stopped: list[int], caplog: pytest.LogCaptureFixture) -> None:
    """They get 503, and the log and a counter tell; our subprotocol has no final code for it."""
    application = WebsocketDispatcher()
    one = await connected()
    assert (await run(application, disconnect()))[0] == ACCEPT
    await raised()
    for subprotocols in ([], [OWN_SUBPROTOCOL]):
        start, _ = await run(application, subprotocols=subprotocols, **DENIAL)
        assert (start["type"], start["status"]) == ("websocket.http.response.start", 503)
    assert counters["drain_refused"] == 2
    assert "Refused a websocket on / with 503: the server is going to stop." in caplog.messages
    await advance(TICK)
    await leave(one)
    await advance(SETTLE)
    assert stopped == [signal.SIGTERM]


@here
async def test_a_handshake_that_is_not_through(stopped: list[int]) -> None:
    """It is refused when it comes to its end, and waited for."""
    wire = Wire(CONNECT)
    handshake = asyncio.create_task(
        WebsocketDispatcher()(scope(path="/held-up/", **DENIAL), wire.receive, wire.send)
    )
    await asyncio.to_thread(began.wait, 5)
    await raised()
    assert stopped == []
    gate.set()
    await handshake
    assert wire.sent[0]["status"] == 503
    await until(lambda: stopped)
    assert stopped == [signal.SIGTERM]


@here
async def test_a_handshake_that_hangs(stopped: list[int]) -> None:
    """It is not waited for without end."""
    wire = Wire(CONNECT)
    handshake = asyncio.create_task(
        WebsocketDispatcher()(scope(path="/held-up/", **DENIAL), wire.receive, wire.send)
    )
    await asyncio.to_thread(began.wait, 5)
    await raised()
    await advance(SETTLE)
    assert stopped == [signal.SIGTERM]
    gate.set()
    await handshake


@here
async def test_a_second_signal(stopped: list[int], caplog: pytest.LogCaptureFixture) -> None:
    """The first echoes; one that comes later lets the server stop at once."""
    watch_for_stop()
    runs = [await connected() for _ in range(10)]
    await raised()
    await advance(ECHO - 0.1)
    await raised()
    assert stopped == []
    await advance(0.1)
    await raised()
    assert stopped == [signal.SIGTERM]
    assert "A second signal: the server stops at once." in caplog.messages
    await leave(*runs)


@here
async def test_an_interrupt_during_the_drain(stopped: list[int]) -> None:
    """Ctrl-C lets the server stop at once, whenever it comes."""
    watch_for_stop()
    runs = [await connected() for _ in range(10)]
    await raised()
    await raised(signal.SIGINT)
    assert stopped == [signal.SIGTERM]
    await raised(signal.SIGINT)
    assert stopped == [signal.SIGTERM, signal.SIGINT]
    await leave(*runs)


@here
async def test_an_interrupt(stopped: list[int]) -> None:
    """Ctrl-C alone closes nobody one by one: it is the server's."""
    watch_for_stop()
    one = await connected()
    await raised(signal.SIGINT)
    assert stopped == [signal.SIGINT]
    assert not serving.is_draining()
    await leave(one)


@here
async def test_the_server_stops_by_itself(stopped: list[int]) -> None:
    """A lifespan that ends takes SIGTERM out of our hands, also while they are full."""
    wire = Wire({"type": "lifespan.startup"})
    serve = get_asgi_application()({"type": "lifespan"}, wire.receive, wire.send)
    task = asyncio.ensure_future(serve)
    await wire.until_sent(1)
    runs = [await connected() for _ in range(4)]
    await raised()
    await advance(TICK)
    wire.put({"type": "lifespan.shutdown"})
    await wire.until_sent(2)
    await task
    assert stopped == []
    await raised()
    assert stopped == [signal.SIGTERM]
    await leave(*runs)


@here
async def test_a_signal_on_its_way(stopped: list[int]) -> None:
    """One that came before the end, and is looked at after it, is the server's."""
    watch_for_stop()
    drain = vars(draining)["_drains"].peek()
    await end_watching()
    drain._on_stop(signal.SIGTERM)  # noqa: SLF001  # what the loop would have called
    assert not serving.is_draining()
    assert stopped == []


@here
async def test_mounted_applications(stopped: list[int]) -> None:
    """The lifespan that another framework enters watches too."""
    async with lifespan(None):
        await raised()
        assert serving.is_draining()
    assert stopped == [signal.SIGTERM]


@pytest.mark.parametrize("configured", [{}, {"DRAIN_SECONDS": 0}, {"DRAIN_SECONDS": "soon"}])
async def test_without_the_setting(configured: dict[str, Any], stopped: list[int]) -> None:
    """SIGTERM goes straight to the server; wrong settings are told where they are used."""
    before = signal.getsignal(signal.SIGTERM)
    with override_settings(WSCONSUMER=configured):
        watch_for_stop()
    assert signal.getsignal(signal.SIGTERM) == before
    await raised()
    assert stopped == [signal.SIGTERM]


@here
async def test_in_development(stopped: list[int], caplog: pytest.LogCaptureFixture) -> None:
    """Servers that reload code stop their process by SIGTERM, and nobody wants to wait then."""
    with override_settings(DEBUG=True):
        watch_for_stop()
        watch_for_stop()
    await raised()
    assert stopped == [signal.SIGTERM]
    assert caplog.messages == ["DRAIN_SECONDS has no effect while DEBUG is on."]


@here
async def test_in_a_thread(stopped: list[int], caplog: pytest.LogCaptureFixture) -> None:
    """An event loop elsewhere hears of no signals, and says so once."""

    async def serve() -> None:
        watch_for_stop()
        watch_for_stop()

    await asyncio.to_thread(asyncio.run, serve())
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert "DRAIN_SECONDS has no effect in this event loop: Python tells" in caplog.text
    assert stopped == []


@here
async def test_without_a_server(caplog: pytest.LogCaptureFixture) -> None:
    """In a test nobody waits for SIGTERM, so nothing is held and nobody is warned."""
    watch_for_stop()
    (record,) = caplog.records
    assert record.levelname == "INFO"
    assert "no server has a handler for SIGTERM" in caplog.text
    assert monitor().sessions == ()
