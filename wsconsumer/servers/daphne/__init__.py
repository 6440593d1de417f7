"""
Daphne, adapted to all of ASGI. ``adapt()`` is the way in.

Daphne 4.2 drops what ASGI asks for on the way to autobahn, which has it: close codes and reasons,
empty messages, accept headers, denial responses, flow control. Its ``send`` is
``partial(server.handle_reply, protocol)``. With that protocol at hand, each module mends a part
through public calls of autobahn and Twisted: ``send.py`` what the application may say, ``flow.py``
the buffers of both directions, ``scope.py`` the request, ``ending.py`` the end of a connection, and
``shutdown.py`` that of the server, ``warned.py`` Python's warnings. If daphne is not what we know,
it stays as it is.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from daphne.server import Server
from daphne.ws_protocol import WebSocketProtocol

from .fallback import explain_fallback
from .flow import Inflow
from .scope import adapt_scope
from .send import DaphneSend
from .shutdown import end_with_the_server
from .warned import show_warnings

if TYPE_CHECKING:
    from functools import partial

    from ...protocol import Receive, Scope, Send


def adapt(scope: Scope, receive: Receive, send: partial[Any]) -> tuple[Scope, Receive, Send]:
    """Return the connection with what daphne leaves out, if ``send`` is what daphne makes today."""
    server = getattr(send.func, "__self__", None)
    protocol = send.args[0] if send.args else None
    if not isinstance(server, Server) or not isinstance(protocol, WebSocketProtocol):
        explain_fallback(
            f"its Server and WebSocketProtocol behind send(), got {type(server).__qualname__} and "
            f"{type(protocol).__qualname__}. Some close codes, all reasons, accept headers and "
            "denial responses are lost, and send() does not wait for slow clients."
        )
        return scope, receive, send
    end_with_the_server(asyncio.current_task())
    show_warnings()
    inflow = Inflow(receive, protocol)
    return adapt_scope(scope, protocol), inflow.receive, DaphneSend(server, protocol, inflow)
