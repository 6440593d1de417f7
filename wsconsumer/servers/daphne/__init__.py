"""
Daphne, adapted to all of ASGI. ``adapt()`` is the way in.

Daphne 4.2 drops what ASGI asks for on the way to autobahn, which has it: close codes and reasons,
empty messages, accept headers, denial responses, flow control. Its ``send`` is
``partial(server.handle_reply, protocol)``. With that protocol at hand, ``send.py`` speaks all of
ASGI through public calls of autobahn and Twisted, ``flow.py`` bounds both directions, and
``shutdown.py`` ends the applications before the reactor stops. If daphne is not what we know, it
stays as it is.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from daphne.server import Server
from daphne.ws_protocol import WebSocketProtocol
from twisted.internet.interfaces import ISSLTransport

from .fallback import explain_fallback
from .flow import Inflow
from .send import DaphneSend
from .shutdown import end_with_the_server

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
    extensions = {**(scope.get("extensions") or {}), "websocket.http.response": {}}
    adapted = {**scope, "scheme": _scheme(protocol), "extensions": extensions}
    inflow = Inflow(receive, protocol)
    return adapted, inflow.receive, DaphneSend(server, protocol, inflow)


def _scheme(protocol: WebSocketProtocol) -> str:
    """Return ws or wss, as the proxy's header says where daphne is told to trust one."""
    forwarded = getattr(protocol, "client_scheme", None)
    if forwarded is not None:
        return "wss" if forwarded in {"https", "wss"} else "ws"
    return "wss" if ISSLTransport.providedBy(protocol.transport) else "ws"
