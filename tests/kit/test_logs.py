"""``test/logs.py``: log records where a test looks for them."""

from __future__ import annotations

import logging
import threading

import pytest

from tests.fakes import disconnect, run, text
from wsconsumer import WebsocketConsumer
from wsconsumer import log_thread as module
from wsconsumer.log_thread import LogThread
from wsconsumer.test import connect, logs_in_place


class Failing(WebsocketConsumer):
    """Fails at the first message."""

    async def receive(self, data: str | bytes) -> None:
        raise RuntimeError(data)


class Noting(logging.Handler):
    """Notes the threads that records are emitted in."""

    def __init__(self) -> None:
        super().__init__()
        self.threads: list[threading.Thread] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.threads.append(threading.current_thread())


@pytest.fixture
def handler(monkeypatch: pytest.MonkeyPatch) -> Noting:
    """Return a handler of our consumers' logger, which emits in its thread as in production."""
    monkeypatch.setattr(module, "_threads", [LogThread()])
    found = Noting()
    monkeypatch.setattr(logging.getLogger("wsconsumer.consumer"), "handlers", [found])
    return found


async def test_inside_connect(handler: Noting) -> None:
    """What a consumer logs is there when the block ends, emitted in the test's own thread."""
    async with connect(Failing, raise_exceptions=False) as websocket:
        await websocket.send("x")
        assert await websocket.receive_close() == 1011
    assert handler.threads == [threading.current_thread()]


async def test_around_an_application_of_ones_own(handler: Noting) -> None:
    """A block does the same for an application that the test calls by itself."""
    with logs_in_place():
        await run(Failing.as_asgi(), text("x"), disconnect())
    assert handler.threads == [threading.current_thread()]
