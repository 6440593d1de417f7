"""
Whether a client has left, asked of the server and of the socket instead of the messages.

ASGI tells it in order, behind every message that came before, so an application that does not read
them does not learn it. Most servers stop reading from such a client, and do not know either. But
the operating system does: a socket that is polled shows the end of a stream (``POLLRDHUP``) that
stands behind unread data. Where the server's objects are not what we know, nothing can be said.
"""

from __future__ import annotations

import asyncio
import select
from typing import TYPE_CHECKING, Any, Final

from .wrapped import innermost

if TYPE_CHECKING:
    from ..protocol import Send

_HUNG_UP: Final = getattr(select, "POLLRDHUP", 0)
"""Linux has it; elsewhere a socket shows only a connection that was reset."""

LINGER: Final = 50.0
"""Seconds in which a client that did not answer our close can still take what was sent before."""


def client_has_left(send: Send) -> bool | None:
    """
    Return whether the client of a connection has left, or ``None`` if that can't be known.

    ``send`` is what ``adapt()`` returned. It costs a system call: for connections whose messages
    can't be read for now.
    """
    send = innermost(send, "send")
    ask = getattr(send, "client_has_left", None)
    if ask is not None:
        has_left: bool | None = ask()
        return has_left
    transport = _transport(getattr(send, "__self__", None))
    if transport is None:
        return None
    if transport.is_closing():
        return True
    sock = transport.get_extra_info("socket")
    return None if sock is None else has_hung_up(sock.fileno())


def has_hung_up(descriptor: int) -> bool | None:
    """Return whether the other end of a socket was closed; ``None`` if it would not show here."""
    if descriptor < 0:
        return True
    if not _HUNG_UP:  # pragma: no cover  # Linux has it
        return None
    poll = select.poll()
    poll.register(descriptor, _HUNG_UP)
    # Errors and resets are always reported.
    return bool(poll.poll(0))


def give_up(send: Send) -> None:
    """
    Reset a connection that we have closed, unless it ends by itself soon.

    A server waits until what it has buffered is read, so a client that never reads would keep its
    socket and the buffers, though no consumer knows of it any more.
    """
    protocol = getattr(innermost(send, "send"), "__self__", None)
    stream = getattr(getattr(protocol, "send", None), "__self__", None)
    transport = _transport(protocol)
    # Other websockets may share a connection of HTTP/2.
    if transport is not None and type(stream).__name__ != "H2Protocol":
        asyncio.get_running_loop().call_later(LINGER, transport.abort)


def _transport(protocol: Any) -> Any:
    """Return the asyncio transport behind a bound ``send`` of uvicorn or hypercorn."""
    package = type(protocol).__module__.partition(".")[0]
    if package == "hypercorn":
        # From the stream to HTTP/1.1 or HTTP/2, and from there to the TCP server and its writer.
        for _ in range(2):
            protocol = getattr(getattr(protocol, "send", None), "__self__", None)
        return getattr(getattr(protocol, "writer", None), "transport", None)
    return getattr(protocol, "transport", None) if package == "uvicorn" else None
