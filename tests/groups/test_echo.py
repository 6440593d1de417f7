"""``groups/echo.py``: whether a broadcast comes back, told within bounds."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from wsconsumer import BackendError
from wsconsumer.groups import echo
from wsconsumer.groups.echo import hear_echo
from wsconsumer.groups.memory import MemoryBackend

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from wsconsumer.groups.base import Deliver


def made(kind: type[MemoryBackend] = MemoryBackend) -> MemoryBackend:
    """Return a backend that was not started."""
    return kind("", "echo", {})


def test_it_comes_back() -> None:
    """It is heard twice, in one group that nobody else has."""
    heard = []

    class Hearing(MemoryBackend):
        async def start(self, deliver: Deliver) -> None:
            async def note(group: str, body: bytes, _: object = None) -> None:
                heard.append((threading.get_ident(), group))
                await deliver(group, body)

            await super().start(note)

    assert 0 < hear_echo(made(Hearing)) < echo.PATIENCE
    assert len(heard) == 2
    assert len(set(heard)) == 1
    assert heard[0][1].startswith("wsconsumer.echo.")


class RefusingToStart(MemoryBackend):
    async def start(self, deliver: Deliver) -> None:
        raise ConnectionRefusedError("go away")


class RefusingToPublish(MemoryBackend):
    async def publish(self, group: str, body: bytes, _: object = None) -> None:
        raise BackendError("did not take it") from ConnectionResetError("by peer")


class RefusingWithoutCause(MemoryBackend):
    async def publish(self, group: str, body: bytes, _: object = None) -> None:
        raise BackendError("did not take it")


class RefusingThreads(MemoryBackend):
    def publish_sync(self, group: str, body: bytes) -> None:
        raise OSError("not in a thread")


class SlowToStart(MemoryBackend):
    async def start(self, deliver: Deliver) -> None:
        await asyncio.Event().wait()


class SlowToSubscribe(MemoryBackend):
    async def subscribe(self, groups: Sequence[str]) -> None:
        await asyncio.Event().wait()


class Losing(MemoryBackend):
    async def publish(self, group: str, body: bytes, _: object = None) -> None:
        """Lose it."""


class LosingFromThreads(MemoryBackend):
    def publish_sync(self, group: str, body: bytes) -> None:
        """Lose it."""


FAILURES: dict[str, tuple[type[MemoryBackend], str]] = {
    "start": (RefusingToStart, r"^ConnectionRefusedError: go away$"),
    "publish": (RefusingToPublish, r"^ConnectionResetError: by peer$"),
    "publish-without-a-cause": (RefusingWithoutCause, r"^did not take it$"),
    "publish-in-a-thread": (RefusingThreads, r"^OSError: not in a thread$"),
    "slow-start": (SlowToStart, r"^no answer within 0\.5 seconds, while it connected$"),
    "slow-subscribe": (SlowToSubscribe, r"^no answer within 0\.5 seconds, while it subscribed$"),
    "lost": (Losing, r"^no answer .* while a broadcast went out and came back$"),
    "lost-in-a-thread": (LosingFromThreads, r"while a broadcast from a thread went out and came"),
}


@pytest.mark.parametrize(("kind", "text"), FAILURES.values(), ids=FAILURES)
def test_it_does_not_come_back(kind: type[MemoryBackend], text: str) -> None:
    """The error says what prevented it, or what it was waited for."""
    patience = 0.5 if "while" in text else echo.PATIENCE
    with pytest.raises(BackendError, match=text):
        hear_echo(made(kind), patience)


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """What opens in the end."""
    monkeypatch.setattr(echo, "CLOSING", 0.1)
    opened = threading.Event()
    yield opened
    opened.set()
    for thread in threading.enumerate():
        if thread.name == "wsconsumer-thread":
            thread.join(10)


@pytest.mark.parametrize("method", ["start", "publish_sync", "aclose"])
def test_a_backend_that_blocks(method: str, gate: threading.Event) -> None:
    """Nobody waits for one that blocks its event loop or thread, at whatever it is."""

    def block(*_: Any) -> Any:
        gate.wait(10)

    backend = made(type("Blocking", (MemoryBackend,), {method: block}))
    began = time.monotonic()
    if method == "aclose":
        hear_echo(backend)
    else:
        with pytest.raises(BackendError, match=r"^no answer within 0\.1 seconds, while "):
            hear_echo(backend, 0.1)
    assert time.monotonic() - began < 9
