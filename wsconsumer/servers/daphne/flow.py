"""
Flow control for daphne, both ways: a client that sends more than is taken is not read from, and a
message to a client that takes less than it is sent waits.
"""

from __future__ import annotations

import asyncio
import math
import time
from typing import TYPE_CHECKING, Any, Final

from daphne.ws_protocol import WebSocketProtocol
from twisted.internet.interfaces import IPushProducer
from zope.interface import implementer

from .fallback import explain_fallback

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ...protocol import Event, Receive

QUEUED_EVENTS: Final = 32
QUEUED_SIZE: Final = 64 * 1024
"""
The messages, and their bytes, that may wait in daphne's queue while more is read.

The queue is the server's part, in front of what is read ahead while a hook runs.

What Twisted reads in one go is parsed to its end: 64 KiB of small messages, or the end of one that
is as long as daphne allows.
"""


class Inflow:
    """
    An ASGI ``receive`` that stops reading from a client that sends more than is taken.

    It replaces the protocol's ``onMessage``, which fills the queue behind daphne's ``receive``
    without looking at its length. If ``receive`` is not what we know, nothing changes.
    """

    def __init__(self, receive: Receive, protocol: WebSocketProtocol) -> None:
        self._receive = receive
        self._protocol = protocol
        self._queue: Any = getattr(receive, "__self__", None)
        self._size = 0
        self._is_full = False

    def open(self) -> None:
        """Count the messages that arrive from now on."""
        queue, transport = self._queue, self._protocol.transport
        if not isinstance(queue, asyncio.Queue) or not IPushProducer.providedBy(transport):
            explain_fallback(
                f"a Queue behind receive() and a transport that can pause, got "
                f"{type(queue).__qualname__} and {type(transport).__qualname__}. "
                "What clients send is buffered without bound."
            )
            return
        self._put = self._protocol.onMessage
        self._protocol.onMessage = self._on_message

    def close(self) -> None:
        """The application has closed: read on, to reach the client's answer."""
        if self._is_full:
            self._protocol.transport.resumeProducing()

    def receive(self) -> Awaitable[Event]:
        """
        Return daphne's own coroutine: a level of ours would cost every message.

        Only while reading is paused is there something to do behind it.
        """
        return self._receive_and_read_on() if self._is_full else self._receive()

    async def _receive_and_read_on(self) -> Event:
        # What filled the queue may have been taken before it was known to be full.
        if self._has_room():
            self._read_on()
        event = await self._receive()
        if self._is_full:
            self._size -= len(event.get("text") or event.get("bytes") or "")
            if self._has_room():
                self._read_on()
        return event

    def _on_message(self, payload: bytes, is_binary: bool) -> None:
        is_open = self._protocol.state == WebSocketProtocol.STATE_OPEN
        if self._is_full and not is_open:
            return
        if self._queue.empty():
            self._size = 0
        self._size += len(payload)
        self._put(payload, is_binary)
        if self._size > QUEUED_SIZE or self._queue.qsize() > QUEUED_EVENTS:
            # The answer to a ping could not be read, so daphne must not ask.
            self._protocol.last_ping = math.inf
            if is_open and not self._is_full:
                self._protocol.transport.pauseProducing()
            self._is_full = True

    def _has_room(self) -> bool:
        """Return whether half of what may wait has been taken, so that pauses are few."""
        waiting: int = self._queue.qsize()
        return not waiting or (waiting <= QUEUED_EVENTS // 2 and self._size <= QUEUED_SIZE // 2)

    def _read_on(self) -> None:
        self._is_full = False
        self._protocol.last_ping = time.time()
        self._protocol.transport.resumeProducing()


@implementer(IPushProducer)
class Outflow:
    """
    Where messages wait, in order, while the transport's buffer is full.

    A message waits in ``passage()``, and only while ``is_shut``. Of the pings that arrive while it
    is full, the last is answered, by ``answer``, when it is not (RFC 6455 section 5.5.3).
    """

    def __init__(self, answer: Callable[[bytes], None]) -> None:
        self._answer = answer
        self._ping: bytes | None = None
        self.is_shut = False
        self._queued = 0
        # Made at need: an Event is most of what an idle connection would cost here.
        self._turn: asyncio.Lock | None = None
        self._resumed: asyncio.Event | None = None

    async def passage(self) -> None:
        """Wait for the transport, and for all messages that came before."""
        self._turn = self._turn or asyncio.Lock()
        self._queued += 1
        try:
            async with self._turn:
                if self._resumed is not None:
                    await self._resumed.wait()
        finally:
            self._queued -= 1
            self._update()

    def on_ping(self, payload: bytes) -> None:
        """Answer a ping, or keep it for later."""
        if self._resumed is None:
            self._answer(payload)
        else:
            self._ping = payload

    def pauseProducing(self) -> None:  # noqa: N802  # Twisted's name
        self._resumed = self._resumed or asyncio.Event()
        self._update()

    def resumeProducing(self) -> None:  # noqa: N802  # Twisted's name
        if self._resumed is not None:
            self._resumed.set()
            self._resumed = None
        self._update()
        if self._ping is not None:
            ping, self._ping = self._ping, None
            self._answer(ping)

    def stopProducing(self) -> None:  # noqa: N802  # Twisted's name
        """The connection is lost: whoever waits shall learn it at once."""
        self.resumeProducing()

    def _update(self) -> None:
        self.is_shut = self._queued > 0 or self._resumed is not None


def join_fragments(protocol: WebSocketProtocol) -> None:
    """Keep a fragmented message in one piece: small ones in a list take many times their size."""

    def on_message_frame(payload: list[bytes]) -> None:
        pieces: list[bytes | bytearray] = protocol.message_data
        if not pieces:
            pieces.extend(payload)
            return
        if not isinstance(pieces[0], bytearray):
            pieces[:] = [bytearray().join(pieces)]
        pieces[0] += b"".join(payload)

    protocol.onMessageFrame = on_message_frame
