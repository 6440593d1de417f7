"""
A server's stop, held back: SIGTERM reaches us first, and the server when we let it go.

Servers hear of a signal in different ways: by a Python handler (uvicorn, daphne), by one of the
event loop (hypercorn, granian), or from their parent (``hypercorn.py``). So the handler is not
called, and no server is asked: the signal is raised again, and takes the way that it would have
taken. An event loop learns of it from the file descriptor that Python writes the number of each
signal to (``signal.set_wakeup_fd``), so this is held too, and other signals are passed on.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, Protocol

from .hypercorn import shutdown_event

if TYPE_CHECKING:
    from collections.abc import Callable

    OnStop = Callable[[int], object]

STOP: Final = signal.SIGTERM


class CannotHold(Exception):
    """The server's stop can't be held back; the text says why."""


class NothingToHold(CannotHold):
    """No server waits for SIGTERM, as in tests: Python ends the process at once."""


class Held(Protocol):
    """The stop of a server, in our hands."""

    def renew(self) -> None:
        """Hold it again, if somebody has come between: libraries set handlers of their own."""

    def hold_interrupt(self) -> None:
        """Hear of SIGINT too, from now on."""

    def let_go(self) -> None:
        """Let the server stop."""

    def end(self) -> None:
        """Hold nothing any more; the server stops without us."""


def hold_stop(on_stop: OnStop) -> Held:
    """
    Have a function called in the running event loop when the server is asked to stop.

    It gets the number of the signal, and the server learns of it at ``let_go()``. Raises
    ``CannotHold``.
    """
    event = shutdown_event()
    if event is not None:
        return HeldWorker(event, HeldSignals(on_stop), on_stop)
    if signal.getsignal(STOP) == signal.SIG_DFL:
        raise NothingToHold("no server has a handler for SIGTERM")
    return HeldSignals(on_stop)


class HeldSignals:
    """SIGTERM and, on request, SIGINT."""

    def __init__(self, on_stop: OnStop) -> None:
        if threading.current_thread() is not threading.main_thread():
            raise CannotHold("Python tells only the main thread of signals, and it runs in another")
        self._loop = asyncio.get_running_loop()
        self._on_stop = on_stop
        self._pid = os.getpid()
        self._handler = self._take  # each access to a method makes another object
        self._previous: dict[int, Any] = {}
        self._onward = -1
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)
        self._writer.setblocking(False)
        try:
            self._loop.add_reader(self._reader.fileno(), self._pass_on)
            self._hold(STOP)
        except (NotImplementedError, CannotHold) as error:
            self.end()
            raise CannotHold(str(error) or "this event loop watches no sockets") from None
        self.renew()

    def renew(self) -> None:
        for number in self._previous:
            with suppress(CannotHold):
                self._hold(number)
        onward = signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        if onward != self._writer.fileno():
            self._onward = onward

    def hold_interrupt(self) -> None:
        self._pass_on()  # one that came before is not ours
        with suppress(CannotHold):
            self._hold(signal.SIGINT)

    def let_go(self) -> None:
        self.end()
        signal.raise_signal(STOP)

    def end(self) -> None:
        if self._writer.fileno() < 0:
            return
        for number, previous in self._previous.items():
            if signal.getsignal(number) == self._handler:
                signal.signal(number, previous)
        self._give_back_wakeup()
        with suppress(NotImplementedError):
            self._loop.remove_reader(self._reader.fileno())
        self._reader.close()
        self._writer.close()

    def _hold(self, number: int) -> None:
        found = signal.getsignal(number)
        if found == self._handler:
            return
        if found in (None, signal.SIG_IGN):
            name = signal.Signals(number).name
            how = "is ignored" if found else "has a handler that is not Python's"
            raise CannotHold(f"{name} {how}")
        self._previous[number] = found
        signal.signal(number, self._handler)

    def _give_back_wakeup(self) -> None:
        found = signal.set_wakeup_fd(-1)
        if found == self._writer.fileno():
            found = self._onward
        with suppress(OSError, ValueError):  # it may be closed
            signal.set_wakeup_fd(found)

    def _take(self, number: int, frame: Any) -> None:
        """Be Python's handler; it may run between any two lines of anything."""
        if os.getpid() != self._pid:  # pragma: no cover  # runs in forked processes
            self._take_in_child(number)
            return
        try:
            self._loop.call_soon_threadsafe(self._on_stop, number)
        except RuntimeError:  # the loop is closed
            self.end()
            signal.raise_signal(number)

    def _take_in_child(self, number: int) -> None:  # pragma: no cover  # as above
        """Do as if we were not there: a forked process has inherited us."""
        signal.signal(number, self._previous[number])
        signal.raise_signal(number)

    def _pass_on(self) -> None:
        """Write on the numbers of signals that are not ours."""
        try:
            numbers = self._reader.recv(4096)
        except BlockingIOError:  # they were passed on before
            return
        others = bytes(number for number in numbers if number not in self._previous)
        if others and self._onward >= 0:
            with suppress(OSError):
                os.write(self._onward, others)


class HeldWorker:
    """
    What a parent of hypercorn tells its worker by an event, and SIGTERM to the worker itself.

    A worker leaves SIGTERM to Python, which ends the process: it stops by the event instead.
    """

    def __init__(self, event: Any, signals: HeldSignals, on_stop: OnStop) -> None:
        self._event = event
        self._signals = signals
        self._on_stop = on_stop
        self._is_told = False
        self._is_free = False
        self._is_set = event.is_set
        self._event.is_set = self._answer

    def renew(self) -> None:
        self._signals.renew()

    def hold_interrupt(self) -> None:
        self._signals.hold_interrupt()

    def let_go(self) -> None:
        self._signals.end()
        self._is_free = True

    def end(self) -> None:
        self._signals.end()
        del self._event.is_set  # ours, of this one event

    def _answer(self) -> bool:
        """Answer hypercorn's question, ten times a second, whether to stop."""
        if not self._is_told and self._is_set():
            self._is_told = True
            self._on_stop(STOP)
        return self._is_free
