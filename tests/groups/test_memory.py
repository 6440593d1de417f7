"""The memory backend: the contract, and what is its own."""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import warnings
from typing import TYPE_CHECKING

import pytest
from django.core.exceptions import ImproperlyConfigured

from tests.fakes import until
from wsconsumer import serving
from wsconsumer.groups import memory
from wsconsumer.groups.budget import BACKLOG
from wsconsumer.groups.histories import histories
from wsconsumer.groups.keeping import Keep
from wsconsumer.groups.leases import leases
from wsconsumer.groups.memory import MemoryBackend
from wsconsumer.test import KeepingContract, LeasingContract, listener

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from wsconsumer.groups.base import Backend


class TestMemoryBackend(KeepingContract, LeasingContract):
    """The contract, within this process."""

    def make_backend(self, prefix: str = "contract") -> Backend:
        return MemoryBackend("", prefix, {})

    async def lose(self, prefix: str, groups: Sequence[str]) -> None:
        histories.clear()

    async def forget(self, prefix: str) -> None:
        leases.clear(prefix)


@pytest.fixture(autouse=True)
def _nobody_serves(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let this process be one that serves nobody and has said nothing about it yet."""
    monkeypatch.setattr(serving, "_serving", False)
    explanations = (memory._explain_alone, memory._explain_workers)  # noqa: SLF001  # what is inside is what is tested
    for explain in explanations:
        explain.cache_clear()
    yield
    for explain in explanations:
        explain.cache_clear()


class Server(threading.Thread):
    """An event loop in a thread of its own, which waits for one body and ends."""

    def __init__(self, *, close: bool = True) -> None:
        super().__init__(daemon=True)
        self.started = threading.Event()
        self.came: tuple[str, bytes] | None = None
        self._close = close

    def run(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        came: asyncio.Future[tuple[str, bytes]] = asyncio.get_running_loop().create_future()

        async def deliver(group: str, body: bytes, _: object = None) -> None:
            came.set_result((group, body))

        backend = MemoryBackend("", "loops", {})
        await backend.start(deliver)
        self.started.set()
        async with asyncio.timeout(10):
            self.came = await came
        if self._close:
            await backend.aclose()


def serve(*, close: bool = True) -> Server:
    """Start such a loop."""
    server = Server(close=close)
    server.start()
    assert server.started.wait(10)
    return server


def test_every_loop_of_the_process_hears() -> None:
    """A broadcast from any thread reaches all event loops, each on its own thread."""
    servers = [serve() for _ in range(3)]
    MemoryBackend("", "loops", {}).publish_sync("g", b"body")
    for server in servers:
        server.join(10)
        assert server.came == ("g", b"body")


async def test_one_loop_reaches_another() -> None:
    """A broadcast from one event loop reaches the others."""
    server = serve()
    heard: list[bytes] = []

    async def deliver(group: str, body: bytes, _: object = None) -> None:
        heard.append(body)

    backend = MemoryBackend("", "loops", {})
    await backend.start(deliver)
    await backend.publish("g", b"body")
    await asyncio.to_thread(server.join, 10)
    assert server.came == ("g", b"body")
    assert heard == [b"body"]
    await backend.aclose()


def test_a_loop_that_is_closed_is_forgotten(caplog: pytest.LogCaptureFixture) -> None:
    """A loop that ended without ``aclose()`` is no longer published to, and nobody is told."""
    serving.note_serving()
    server = serve(close=False)
    idle = MemoryBackend("", "loops", {})
    idle.publish_sync("g", b"body")
    server.join(10)
    (ended,) = memory._started  # noqa: SLF001  # what is inside is what is tested
    idle.publish_sync("g", b"to nobody")
    assert not memory._started  # noqa: SLF001  # what is inside is what is tested
    ended.hand_over("g", b"as it was being closed")
    assert caplog.messages == []


def test_a_process_that_serves_nobody_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    """A broadcast in a process without websockets can't arrive; the log says so once."""
    idle = MemoryBackend("", "loops", {})
    idle.append_sync("g", b"body", Keep(1, 60), None)
    idle.publish_sync("g", b"body")
    assert [message.partition(",")[0] for message in caplog.messages] == [
        "A broadcast was made in a process that serves no websockets"
    ]


async def test_one_of_several_workers_is_told_once(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker's groups are its own; the log says so once, with the remedy."""

    async def deliver(group: str, body: bytes, _: object = None) -> None:
        raise AssertionError

    monkeypatch.setattr(sys, "argv", ["uvicorn", "--workers", "2"])
    for prefix in ("one", "two"):
        backend = MemoryBackend("", prefix, {})
        await backend.start(deliver)
        await backend.aclose()
    (message,) = caplog.messages
    assert message.startswith("The command line asks for 2 workers, and the memory backend")
    assert "Name a backend that carries to them" in message


def test_a_process_that_serves_is_not_told(caplog: pytest.LogCaptureFixture) -> None:
    """Where websockets are served, a broadcast while nobody is there is right."""
    serving.note_serving()
    MemoryBackend("", "loops", {}).publish_sync("g", b"body")
    assert caplog.messages == []


@pytest.mark.parametrize(
    ("location", "options"),
    [("redis://localhost", {}), ("", {"TIMEOUT": 5})],
    ids=["location", "options"],
)
def test_settings_of_another_backend_are_refused(location: str, options: dict[str, int]) -> None:
    """A LOCATION or OPTIONS mean that another BACKEND was forgotten."""
    with pytest.raises(ImproperlyConfigured, match="takes no LOCATION and no OPTIONS, got"):
        MemoryBackend(location, "prefix", options)


async def test_the_contract_notices_what_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """A body that does not come fails a test of the contract, which says what did."""
    monkeypatch.setattr(listener, "WAIT", 0.01)
    came = listener.Listener(MemoryBackend("", "lost", {}))
    await came.deliver("g", b"body")
    with pytest.raises(AssertionError, match=r"Expected b'end' for 'g' .*so far: 1,.*b'body'"):
        await came.until("g", b"end")


def test_the_contract_notices_warnings() -> None:
    """What is warned of or logged while a backend closes is no longer quiet."""
    with listener.noticing() as noticed:
        logging.getLogger("a.backend").warning("logged")
        warnings.warn("warned", ResourceWarning, stacklevel=1)
    assert noticed == ["logged", "warned"]


class Slow:
    """A started backend in this loop, whose deliveries wait until the test lets them go on."""

    def __init__(self) -> None:
        self.let = asyncio.Event()
        self.bodies: list[bytes] = []
        self.backend = MemoryBackend("", "slow", {})

    async def deliver(self, group: str, body: bytes, _: object = None) -> None:
        self.bodies.append(body)  # in the order in which they come, as the hub takes them
        await self.let.wait()


async def test_a_thread_waits_for_a_loop_that_is_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """With many broadcasts on their way to a loop a thread waits, until they are delivered."""
    monkeypatch.setattr(memory, "PATIENCE", 1000)
    slow = Slow()
    await slow.backend.start(slow.deliver)
    publisher = MemoryBackend("", "slow", {})
    bodies = [b"%d" % number for number in range(BACKLOG + 1)]
    try:
        for body in bodies[:-1]:
            await asyncio.to_thread(publisher.publish_sync, "g", body)
        last = asyncio.create_task(asyncio.to_thread(publisher.publish_sync, "g", bodies[-1]))
        await until(lambda: slow.backend.is_behind)
        assert not last.done()
        slow.let.set()
        await last
        assert slow.bodies == bodies
    finally:
        await slow.backend.aclose()


async def test_a_thread_waits_in_vain_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A loop that took too long is not waited for again until nothing is on its way to it."""
    monkeypatch.setattr(memory, "PATIENCE", 0)
    slow = Slow()
    await slow.backend.start(slow.deliver)
    publisher = MemoryBackend("", "slow", {})

    def publish() -> None:
        for _ in range(BACKLOG + 1):
            publisher.publish_sync("g", b"body")

    try:
        await asyncio.to_thread(publish)
        monkeypatch.setattr(memory, "PATIENCE", 1000)
        await asyncio.to_thread(publish)
        slow.let.set()
        await until(lambda: len(slow.bodies) == 2 * (BACKLOG + 1))
        slow.let.clear()
        await asyncio.to_thread(publish_some, publisher, BACKLOG)
        waiting = asyncio.create_task(asyncio.to_thread(publisher.publish_sync, "g", b"last"))
        await until(lambda: slow.backend.is_behind)
        assert not waiting.done()
        slow.let.set()
        await waiting
    finally:
        await slow.backend.aclose()


def publish_some(publisher: MemoryBackend, count: int) -> None:
    for _ in range(count):
        publisher.publish_sync("g", b"body")


async def test_a_loop_waits_for_another_that_is_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """What one event loop publishes is slowed by another one, within the same bounds."""
    monkeypatch.setattr(memory, "PATIENCE", 1000)
    slow = Slow()
    await slow.backend.start(slow.deliver)

    async def publish() -> None:
        backend = MemoryBackend("", "slow", {})
        await backend.start(drop)
        for _ in range(BACKLOG + 1):
            await backend.publish("g", b"body")
        await backend.aclose()

    try:
        publishing = asyncio.create_task(asyncio.to_thread(lambda: asyncio.run(publish())))
        await until(lambda: slow.backend.is_behind)
        assert not publishing.done()
        slow.let.set()
        await publishing
    finally:
        await slow.backend.aclose()


async def drop(group: str, body: bytes, _: object = None) -> None:
    """Take a body."""
