"""``servers/stopping.py``: signals of this very process, which come to us before they go on."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import select
import signal
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

from wsconsumer.servers.hypercorn import shutdown_event
from wsconsumer.servers.stopping import CannotHold, NothingToHold, hold_stop

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PATIENCE = 5.0


class Heard:
    """Who heard of which signal, in order."""

    def __init__(self) -> None:
        self.log: list[tuple[str, int]] = []
        self._changed = asyncio.Event()

    def by(self, name: str) -> Callable[..., None]:
        """Return a function that notes the signal it is called with."""

        def note(number: int, *_: object) -> None:
            self.log.append((name, number))
            self._changed.set()

        return note

    async def until(self, *log: tuple[str, int]) -> None:
        """Wait until this was heard, and nothing else."""
        async with asyncio.timeout(PATIENCE):
            while len(self.log) < len(log):
                self._changed.clear()
                await self._changed.wait()
        assert self.log == list(log)


@pytest.fixture(autouse=True)
def _signals_as_they_were() -> Iterator[None]:
    """Leave no handler behind."""
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
    before = {number: signal.getsignal(number) for number in numbers}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)
    assert signal.set_wakeup_fd(-1) == -1


def by_python(heard: Heard, *numbers: int) -> None:
    """Handle signals as uvicorn and daphne do."""
    for number in numbers or (signal.SIGTERM,):
        signal.signal(number, heard.by("server"))


def by_loop(heard: Heard, *numbers: int) -> None:
    """Handle signals as granian does, and hypercorn without workers."""
    for number in numbers or (signal.SIGTERM,):
        asyncio.get_running_loop().add_signal_handler(number, heard.by("server"), number)


def forget(*numbers: int) -> None:
    """Take the loop's handlers away again."""
    for number in numbers or (signal.SIGTERM,):
        asyncio.get_running_loop().remove_signal_handler(number)


TERM = int(signal.SIGTERM)
INT = int(signal.SIGINT)
USR1 = int(signal.SIGUSR1)


@pytest.mark.parametrize("handle", [by_python, by_loop])
async def test_first_we_then_the_server(handle: Any) -> None:
    """The signal comes to us alone; the server's own handler hears of it when we let it go."""
    heard = Heard()
    handle(heard)
    held = hold_stop(heard.by("we"))
    signal.raise_signal(signal.SIGTERM)
    await heard.until(("we", TERM))
    held.let_go()
    await heard.until(("we", TERM), ("server", TERM))
    signal.raise_signal(signal.SIGTERM)
    await heard.until(("we", TERM), ("server", TERM), ("server", TERM))
    forget()


@pytest.mark.parametrize("handle", [by_python, by_loop])
async def test_other_signals_pass(handle: Any) -> None:
    """SIGINT and the others go straight to their handlers."""
    heard = Heard()
    handle(heard, TERM, INT, USR1)
    held = hold_stop(heard.by("we"))
    signal.raise_signal(signal.SIGINT)
    await heard.until(("server", INT))
    signal.raise_signal(signal.SIGUSR1)
    await heard.until(("server", INT), ("server", USR1))
    held.end()
    forget(TERM, INT, USR1)


@pytest.mark.parametrize("handle", [by_python, by_loop])
async def test_interrupts_on_request(handle: Any) -> None:
    """SIGINT comes to us from then on; what the server gets in the end is one SIGTERM."""
    heard = Heard()
    handle(heard, TERM, INT)
    held = hold_stop(heard.by("we"))
    held.hold_interrupt()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.raise_signal(number)
        await asyncio.sleep(0)
    await heard.until(("we", TERM), ("we", INT))
    held.let_go()
    await heard.until(("we", TERM), ("we", INT), ("server", TERM))
    signal.raise_signal(signal.SIGINT)
    await heard.until(("we", TERM), ("we", INT), ("server", TERM), ("server", INT))
    forget(TERM, INT)


@pytest.mark.parametrize("handle", [by_python, by_loop])
async def test_an_interrupt_just_before(handle: Any) -> None:
    """What came before is the server's, as at Ctrl-C, where its parent sends SIGTERM after that."""
    heard = Heard()
    handle(heard, TERM, INT)
    held = hold_stop(lambda _: held.hold_interrupt())
    signal.raise_signal(signal.SIGINT)
    signal.raise_signal(signal.SIGTERM)  # before the event loop has heard of the other
    await heard.until(("server", INT))
    held.end()
    forget(TERM, INT)


async def test_an_interrupt_that_is_ignored() -> None:
    """It stays ignored, as in a process in the background."""
    heard = Heard()
    by_python(heard)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    held = hold_stop(heard.by("we"))
    held.hold_interrupt()
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    held.end()


@pytest.mark.parametrize("handle", [by_python, by_loop])
async def test_the_server_stops_without_us(handle: Any) -> None:
    """What was held is the server's again, and a second end does nothing."""
    heard = Heard()
    handle(heard)
    before = signal.getsignal(signal.SIGTERM)
    held = hold_stop(heard.by("we"))
    held.end()
    held.end()
    assert signal.getsignal(signal.SIGTERM) == before
    signal.raise_signal(signal.SIGTERM)
    await heard.until(("server", TERM))
    forget()


@pytest.mark.parametrize("handle", [by_python, by_loop])
async def test_somebody_comes_between(handle: Any) -> None:
    """A handler that is set later is held too, once we look."""
    first, second = Heard(), Heard()
    by_python(first)
    held = hold_stop(second.by("we"))
    handle(second)
    held.renew()
    signal.raise_signal(signal.SIGTERM)
    await second.until(("we", TERM))
    held.let_go()
    await second.until(("we", TERM), ("server", TERM))
    assert first.log == []
    forget()


async def test_somebody_comes_between_and_stays() -> None:
    """A handler that was set meanwhile is not taken away at the end, nor is its descriptor."""
    first, second = Heard(), Heard()
    by_python(first)
    held = hold_stop(first.by("we"))
    by_loop(second)
    held.end()
    signal.raise_signal(signal.SIGTERM)
    await second.until(("server", TERM))
    assert first.log == []
    forget()


async def test_somebody_ignores_it_later() -> None:
    """Then it is ignored."""
    heard = Heard()
    by_python(heard)
    held = hold_stop(heard.by("we"))
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    held.renew()
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
    held.end()


async def test_a_descriptor_that_was_closed() -> None:
    """Numbers that can't be passed on are dropped."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer)
    heard = Heard()
    by_python(heard, TERM, USR1)
    held = hold_stop(heard.by("we"))
    os.close(reader)
    os.close(writer)
    signal.raise_signal(signal.SIGUSR1)
    await heard.until(("server", USR1))
    await asyncio.sleep(0)
    held.end()


async def test_ignored() -> None:
    """A process that ignores SIGTERM is not stopped by it."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    with pytest.raises(CannotHold, match=r"SIGTERM is ignored"):
        hold_stop(print)


async def test_no_server() -> None:
    """Where Python ends the process at once, as in tests, there is nothing to hold."""
    with pytest.raises(NothingToHold, match=r"no server has a handler for SIGTERM"):
        hold_stop(print)


async def test_another_thread() -> None:
    """Only the main thread hears of signals."""
    by_python(Heard())

    def hold() -> None:
        with pytest.raises(CannotHold, match=r"only the main thread"):
            hold_stop(print)

    await asyncio.to_thread(hold)


async def test_a_loop_that_watches_no_sockets(monkeypatch: pytest.MonkeyPatch) -> None:
    """As that of Windows: what is half done is undone."""

    def add_reader(*_: object) -> None:
        raise NotImplementedError

    heard = Heard()
    by_python(heard)
    loop = asyncio.get_running_loop()
    monkeypatch.setattr(loop, "add_reader", add_reader)
    monkeypatch.setattr(loop, "remove_reader", add_reader)
    with pytest.raises(CannotHold, match=r"watches no sockets"):
        hold_stop(print)
    signal.raise_signal(signal.SIGTERM)
    await heard.until(("server", TERM))


def test_a_loop_that_has_ended() -> None:
    """A signal that comes later goes to whom it belongs."""
    log: list[tuple[str, int]] = []
    signal.signal(signal.SIGTERM, lambda number, _: log.append(("server", number)))
    asyncio.run(_hold(log))
    signal.raise_signal(signal.SIGTERM)
    assert log == [("server", TERM)]


async def _hold(log: list[tuple[str, int]]) -> None:
    hold_stop(lambda number: log.append(("we", number)))


FORKS = r"""
import asyncio, os, signal
from wsconsumer.servers.stopping import hold_stop

def say(*words):
    os.write(1, f"{' '.join(map(str, words))}\n".encode())  # in one piece

async def main():
    signal.signal(signal.SIGTERM, lambda *_: say("the server", os.getpid()))
    hold_stop(lambda _: say("we", os.getpid()))
    child = os.fork()
    signal.raise_signal(signal.SIGTERM)
    if child:
        await asyncio.sleep(0.1)
        os.waitpid(child, 0)
        say(os.getpid(), child)
    else:
        os._exit(0)

asyncio.run(main())
"""


def test_a_forked_process() -> None:
    """It has inherited our handler, and does as if it had the server's alone."""
    options = ["-W", "ignore", "-c", FORKS]
    done = subprocess.run(
        [sys.executable, *options], check=True, capture_output=True, text=True, timeout=60
    )
    *lines, last = done.stdout.splitlines()
    parent, child = last.split()
    assert sorted(lines) == [f"the server {child}", f"we {parent}"]


# Workers of hypercorn


def work(**_: object) -> None:
    """Be what a worker does."""


work.__module__ = "hypercorn.asyncio.run"


@pytest.fixture
def event(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Let this process be a worker of hypercorn; return the event of its parent."""
    found = multiprocessing.get_context("spawn").Event()
    process = multiprocessing.current_process()
    monkeypatch.setattr(process, "_target", work, raising=False)
    monkeypatch.setattr(process, "_kwargs", {"shutdown_event": found}, raising=False)
    return found


async def test_a_worker(event: Any) -> None:
    """We see that the event was set, once, and the worker when we let go."""
    heard = Heard()
    held = hold_stop(heard.by("we"))
    assert [event.is_set(), event.is_set()] == [False, False]
    event.set()
    assert [event.is_set(), event.is_set()] == [False, False]
    await heard.until(("we", TERM))
    held.renew()
    held.hold_interrupt()
    held.let_go()
    assert event.is_set()
    held.end()
    assert event.is_set()
    event.clear()
    assert not event.is_set()


async def test_a_signal_to_a_worker(event: Any) -> None:
    """It comes to us, and in the end the worker stops in order, which Python would not let it."""
    heard = Heard()
    held = hold_stop(heard.by("we"))
    signal.raise_signal(signal.SIGTERM)
    await heard.until(("we", TERM))
    assert not event.is_set()
    held.let_go()
    assert event.is_set()
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    held.end()


def test_no_worker() -> None:
    """Any other process has no such event."""
    assert shutdown_event() is None


async def test_the_loop_wakes_up() -> None:
    """An event loop that sleeps hears of a signal at once."""
    heard = Heard()
    by_python(heard)
    held = hold_stop(heard.by("we"))
    threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGTERM)).start()
    await heard.until(("we", TERM))
    held.end()
    assert select.select([], [], [], 0) == ([], [], [])
