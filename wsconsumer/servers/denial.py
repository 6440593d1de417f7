"""A denied handshake on uvicorn, which is told too late that the handshake is over."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from .wrapped import innermost

if TYPE_CHECKING:
    from ..protocol import Receive, Send

TIMEOUT: Final = 10.0
"""Seconds that a client has to take a denial before the application returns all the same."""


async def denied(receive: Receive, send: Send) -> None:
    """
    Return when the server has noted that the handshake is over; call it after a denial response.

    uvicorn's ``websockets-sansio`` notes it when the connection is lost, and logs an error for each
    application that returns before that. Other servers know at once.
    """
    protocol = getattr(innermost(send, "send"), "__self__", None)
    if type(protocol).__module__.partition(".")[0] != "uvicorn":
        return
    with suppress(TimeoutError):
        async with asyncio.timeout(TIMEOUT):
            # Its first disconnect event says that the denial was sent, another one the rest.
            while getattr(protocol, "handshake_complete", True) is False:
                await receive()
