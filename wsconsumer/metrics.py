"""
What this process counts, with ``WSCONSUMER["METRICS"]``: plain numbers, for whoever exports them.

A consumer class has one ``Tally`` for each thread with an event loop, so that no number has two
writers and none needs a lock. ``snapshot()`` adds them up. Read ``prometheus.py`` for the names
under which they are known outside.
"""

from __future__ import annotations

import os
import threading
from bisect import bisect_left
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from . import conf
from .counters import counters
from .protocol import CloseCode

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from .protocol import Event, Send

BOUNDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""The upper bounds of a histogram's buckets, in seconds; what is longer is in one more bucket."""

HOOKS: Final = ("connect", "receive", "disconnect", "group_message", "group_reset")
"""The hooks whose durations are measured."""

_CODES: Final = frozenset(map(int, CloseCode))


def is_on() -> bool:
    """Return whether the connections that begin now are to be counted."""
    found: bool = conf.get("METRICS")
    return found


class Histogram:
    """Durations, sorted into buckets."""

    __slots__ = ("counts", "seconds")

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS) + 1)
        self.seconds = 0.0

    def observe(self, seconds: float) -> None:
        """Add a duration."""
        self.counts[bisect_left(BOUNDS, seconds)] += 1
        self.seconds += seconds

    def snapshot(self) -> dict[str, Any]:
        """Return what it holds."""
        return {"counts": list(self.counts), "seconds": self.seconds}


class Tally:
    """The numbers of one consumer class in one thread."""

    __slots__ = (
        "accepted",
        "delivered_bytes",
        "deliveries",
        "ended",
        "hooks",
        "messages_received",
        "messages_sent",
        "received_bytes",
        "sent_bytes",
    )

    def __init__(self) -> None:
        self.accepted = 0
        self.ended: Counter[str] = Counter()
        self.messages_received = 0
        self.received_bytes = 0
        self.messages_sent = 0
        self.sent_bytes = 0
        self.deliveries = 0
        self.delivered_bytes = 0
        self.hooks = {hook: Histogram() for hook in HOOKS}

    def end(self, code: int) -> None:
        """Count the end of a connection; a client may choose any of thousands of codes."""
        self.ended[str(int(code)) if code in _CODES else "other"] += 1

    def snapshot(self) -> dict[str, Any]:
        """Return what it holds."""
        ended = dict(self.ended)
        return {
            "accepted": self.accepted,
            "ended": ended,
            "messages_received": self.messages_received,
            "received_bytes": self.received_bytes,
            "messages_sent": self.messages_sent,
            "sent_bytes": self.sent_bytes,
            "deliveries": self.deliveries,
            "delivered_bytes": self.delivered_bytes,
            "hooks": {hook: each.snapshot() for hook, each in self.hooks.items()},
        }


class Measure:
    """The numbers of one connection, which count in its class's tally, too."""

    __slots__ = ("deliveries", "messages_received", "messages_sent", "tally")

    def __init__(self, tally: Tally) -> None:
        self.tally = tally
        self.messages_received = 0
        self.messages_sent = 0
        self.deliveries = 0

    def counts(self) -> dict[str, int]:
        """Return them by the names of ``log_fields.FIELDS``."""
        return {
            "messages_received": self.messages_received,
            "messages_sent": self.messages_sent,
            "deliveries": self.deliveries,
        }

    def counting_send(self, send: Send) -> Send:
        """Return a ``send`` that counts the messages of the consumer."""
        tally = self.tally

        def send_counted(event: Event) -> Awaitable[None]:
            # No coroutine: it would cost three times as much.
            self.messages_sent += 1
            tally.messages_sent += 1
            text = event.get("text")
            if text is None:
                tally.sent_bytes += len(event["bytes"])
            else:
                tally.sent_bytes += len(text) if text.isascii() else size_of(text)
            return send(event)

        return send_counted

    def counting_delivery(self, deliver: Callable[[Any], bool]) -> Callable[[Any], bool]:
        """Return a ``deliver`` of a group's member that counts the broadcasts that it takes."""
        tally = self.tally

        def deliver_counted(message: Any) -> bool:
            has_no_room = deliver(message)
            if not has_no_room:
                self.deliveries += 1
                tally.deliveries += 1
                tally.delivered_bytes += message.size
            return has_no_room

        return deliver_counted


def size_of(data: str | bytes) -> int:
    """Return the bytes of a message."""
    if isinstance(data, bytes) or data.isascii():
        return len(data)
    return len(data.encode(errors="surrogatepass"))


class LoopTally:
    """What one thread's event loop has to say, as its monitor sees it at each tick."""

    __slots__ = ("lag", "outbox_bytes", "outbox_waiting")

    def __init__(self) -> None:
        self.lag = Histogram()
        self.outbox_bytes = 0
        self.outbox_waiting = 0

    def note_outboxes(self, sizes: list[int]) -> None:
        """Note how many bytes wait now, of each connection for which something does."""
        self.outbox_bytes = sum(sizes)
        self.outbox_waiting = len(sizes)


_tallies: dict[tuple[int, str], Tally] = {}
_loops: dict[int, LoopTally] = {}
_handshakes: Counter[str] = Counter()
_broadcasts: Counter[str] = Counter()

gauges: Final[dict[str, Callable[[], int]]] = {}
"""What others can say of the process as it is now, by the name of the figure."""


def tally_of(label: str) -> Tally:
    """Return the tally of a consumer class in this thread."""
    return _tallies.setdefault((threading.get_ident(), label), Tally())


def loop_tally() -> LoopTally:
    """Return the tally of this thread's event loop."""
    return _loops.setdefault(threading.get_ident(), LoopTally())


def count_handshake(outcome: str, status: int) -> None:
    """Count a handshake by its outcome, one of ``OUTCOMES``, and the status."""
    if is_on():
        _handshakes[f"{outcome} {status}"] += 1


OUTCOMES: Final = {
    "accepted": "the consumer accepted",
    "denied": "the project denied: middleware, a view, or the consumer",
    "host": "ALLOWED_HOSTS has no such host",
    "origin": "the Origin may not open sockets",
    "draining": "the server was going to stop",
    "overloaded": "too many handshakes waited for a thread",
    "ended": "the login had ended a moment before",
    "malformed": "it was no request that Django can read",
    "gone": "the client left before there was an answer; its status is 0",
}
"""What becomes of a handshake."""


def count_broadcast(group: str, data: object) -> None:
    """Count a broadcast that this process makes."""
    if is_on():
        _broadcasts["all"] += 1


def snapshot() -> dict[str, Any]:
    """Return all numbers of this process, of types that JSON has, fit for ``add()``."""
    consumers: dict[str, Any] = {}
    for (_, label), tally in list(_tallies.items()):
        consumers[label] = add(consumers.get(label, {}), tally.snapshot())
    lag = Histogram().snapshot()
    outboxes = {"outbox_bytes": 0, "outbox_waiting": 0}
    for loop in list(_loops.values()):
        lag = add(lag, loop.lag.snapshot())
        outboxes["outbox_bytes"] += loop.outbox_bytes
        outboxes["outbox_waiting"] += loop.outbox_waiting
    return {
        "consumers": consumers,
        "handshakes": dict(_handshakes),
        "broadcasts": _broadcasts["all"],
        "lag": lag,
        "counters": dict(counters),
        "gauges": {**outboxes, **{name: read() for name, read in gauges.items()}},
    }


def add(one: Any, other: Any) -> Any:
    """Return the sum of two snapshots, or of the same part of two."""
    if isinstance(one, dict):
        names = {**one, **other}
        return {
            name: add(one[name], other[name]) if name in one and name in other else names[name]
            for name in names
        }
    if isinstance(one, list):
        return [add(*pair) for pair in zip(one, other, strict=True)]
    return one + other


def forget() -> None:
    """Count from zero: in a forked process, which has none of these connections."""
    for counts in (_tallies, _loops, _handshakes, _broadcasts):
        counts.clear()


os.register_at_fork(after_in_child=forget)
