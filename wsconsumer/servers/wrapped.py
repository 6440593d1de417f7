"""
A server's ``send`` and ``receive`` behind those of ASGI middleware, seen through.

Middleware such as ``SentryAsgiMiddleware`` and ``OpenTelemetryMiddleware`` gives the application
functions of its own, with the server's in their closures, by the names that ASGI gives them. So
what the server is can be told, and what it leaves out be added below the middleware.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from ..log_thread import log

if TYPE_CHECKING:
    from types import CellType

    from ..protocol import Scope

logger = logging.getLogger("wsconsumer.server")

MAX_LEVELS: Final = 10
"""Middleware around middleware that is looked through."""


def innermost(function: Any, name: str) -> Any:
    """Return the server's own ``send`` or ``receive``, by that name, as far as it can be seen."""
    cell = _innermost_cell(function, name)
    return function if cell is None else cell.cell_contents


def replace_innermost(function: Any, name: str, by: Any) -> Any:
    """Put another function in the place of the innermost one; return what is to be called."""
    cell = _innermost_cell(function, name)
    if cell is None:
        return by
    cell.cell_contents = by
    return function


def _innermost_cell(function: Any, name: str) -> CellType | None:
    found = None
    for _ in range(MAX_LEVELS):
        cell = _cell(function, name)
        if cell is None:
            break
        found, function = cell, cell.cell_contents
    return found


def _cell(function: Any, name: str) -> CellType | None:
    code, closure = getattr(function, "__code__", None), getattr(function, "__closure__", None)
    if code is None or closure is None or name not in code.co_freevars:
        return None
    cell: CellType = closure[code.co_freevars.index(name)]
    return cell


def explain_hidden(scope: Scope, send: Any) -> None:
    """Say once that daphne serves us behind something that can't be seen through."""
    if "asgi" not in scope:
        return  # no server's: somebody calls a consumer with two functions of their own
    reactor = sys.modules.get("twisted.internet.reactor")
    if "daphne.server" not in sys.modules or not getattr(reactor, "running", False):
        return
    # Tests, for one, may have a daphne in this process and a websocket in another event loop.
    if getattr(reactor, "_asyncioEventloop", None) in (None, asyncio.get_running_loop()):
        named = send if hasattr(send, "__qualname__") else type(send)
        _explain_hidden(f"{named.__module__}.{named.__qualname__}")


@cache
def _explain_hidden(name: str) -> None:
    log(
        logger,
        logging.WARNING,
        "Daphne's send() is hidden behind %s, so daphne can't be adapted: close codes and reasons, "
        "accept headers and denial responses are lost, and send() does not wait for slow clients. "
        "Put that middleware around the HTTP application alone.",
        name,
    )
