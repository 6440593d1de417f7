"""
Django signals about connections: ``websocket_accepted``, ``websocket_denied`` and
``websocket_disconnected``.

A receiver is a guest: whatever it does, no websocket waits for it. It is called in a thread of its
own, one signal after the other, and what waits is bounded. Without receivers nothing is done.
"""

from __future__ import annotations

import asyncio
from contextvars import copy_context
from functools import partial
from typing import TYPE_CHECKING, Any

from django.dispatch import Signal

from .log_thread import guest_thread
from .loops import in_event_loop, start_task

if TYPE_CHECKING:
    from django.http import HttpRequest

websocket_accepted = Signal()
"""
A consumer accepted a connection. ``sender``: the consumer class; ``request``: that of the
handshake; ``connection_id``: a number that the connection has in its process.
"""

websocket_denied = Signal()
"""
A handshake came to nothing. ``sender``: the consumer class if it got so far, else
``WebsocketDispatcher``; ``request``; ``status``: what the client gets; ``outcome``: one of
``wsconsumer.metrics.OUTCOMES``.
"""

websocket_disconnected = Signal()
"""
A connection that was accepted has ended, after ``disconnect()``. ``sender``, ``request`` and
``connection_id`` as in ``websocket_accepted``; ``code`` and ``reason``: those that ``disconnect()``
gets; ``duration``: seconds since it was accepted.
"""


def send_soon(signal: Signal, sender: type, request: HttpRequest, **named: Any) -> None:
    """Send a signal in the thread for it, if anybody listens."""
    if not signal.receivers:
        return
    guests = guest_thread()
    if guests.is_in_place and in_event_loop():
        after = _pending[-1] if _pending else None
        task = start_task(_asend(after, signal, sender, request, named), copy_context())
        _pending.append(task)
        task.add_done_callback(_pending.remove)
    else:
        guests.submit(partial(_send, signal, sender, request, named), from_stranger=True)


def _send(signal: Signal, sender: type, request: HttpRequest, named: dict[str, Any]) -> None:
    # Django logs what a receiver raises, on django.dispatch.
    signal.send_robust(sender=sender, request=request, **named)


# For tests: receivers use the database connections of the test, as hooks do.

_pending: list[asyncio.Task[None]] = []


async def _asend(
    after: asyncio.Task[None] | None,
    signal: Signal,
    sender: type,
    request: HttpRequest,
    named: dict[str, Any],
) -> None:
    if after is not None:
        await asyncio.wait([after])
    await signal.asend_robust(sender=sender, request=request, **named)


async def settle(seconds: float) -> None:
    """Wait, within bounds, until the receivers have been called that are called in place."""
    if _pending:
        await asyncio.wait(tuple(_pending), timeout=seconds)
