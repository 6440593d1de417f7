"""
What each ASGI server leaves out, mended in one place.

``mend()`` looks at what ``send`` is; no server is ever imported or required here. A server that
does all that ASGI says needs no module of its own.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..protocol import Receive, Scope, Send


def mend(scope: Scope, receive: Receive, send: Send) -> tuple[Scope, Receive, Send]:
    """Return the same connection, speaking all of ASGI as far as its server can be taught to."""
    if isinstance(send, partial) and _package(send.func) == "daphne":
        from . import daphne

        return daphne.mend(scope, receive, send)
    return scope, receive, send


def _package(function: object) -> str:
    module = getattr(function, "__module__", None) or ""
    return module.partition(".")[0]
