"""
What the client asked for, as it asked: daphne reads it from autobahn, which edits it.

Autobahn cuts a path at its last semicolon, takes ``//x`` for a host, and sees repeated headers
joined by a comma, which ends the session of a client that sends two Cookie headers (RFC 9113
section 8.2.3 lets proxies do so).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from twisted.internet.interfaces import ISSLTransport
from twisted.web.http import HTTPChannel
from twisted.web.http_headers import Headers

from .fallback import explain_fallback

if TYPE_CHECKING:
    from daphne.ws_protocol import WebSocketProtocol

    from ...protocol import Header, Scope


def adapt_scope(scope: Scope, protocol: WebSocketProtocol) -> Scope:
    """Return the scope with what daphne leaves out, and with path and headers as they came."""
    raw_path = _path(protocol.http_request_uri)
    adapted = {
        **scope,
        "scheme": _scheme(protocol),
        "path": unquote(raw_path),
        "raw_path": raw_path.encode("ascii"),
        "extensions": {**(scope.get("extensions") or {}), "websocket.http.response": {}},
    }
    headers = _headers(protocol)
    if headers is None:
        explain_fallback("the Twisted request behind its transport. Repeated headers are joined.")
    else:
        adapted |= {"headers": headers, "subprotocols": _subprotocols(headers)}
    return adapted


def _scheme(protocol: WebSocketProtocol) -> str:
    """Return ws or wss, as the proxy's header says where daphne is told to trust one."""
    forwarded = getattr(protocol, "client_scheme", None)
    if forwarded is not None:
        return "wss" if forwarded in {"https", "wss"} else "ws"
    return "wss" if ISSLTransport.providedBy(protocol.transport) else "ws"


def _path(uri: str) -> str:
    """Return the path of a request target, in origin-form or absolute (RFC 9112 section 3.2)."""
    target = uri.partition("?")[0]
    if target.startswith("/"):
        return target
    return "/" + target.partition("://")[2].partition("/")[2]


def _headers(protocol: WebSocketProtocol) -> list[Header] | None:
    """Return all headers of the request that was upgraded, or ``None`` if it can't be found."""
    # daphne leaves the HTTP channel registered; we take its place when the websocket is accepted.
    channel: Any = getattr(protocol.transport, "producer", None)
    requests = channel.requests if isinstance(channel, HTTPChannel) else ()
    headers = getattr(requests[-1], "requestHeaders", None) if requests else None
    if not isinstance(headers, Headers):
        return None
    # Names with an underscore could pass for others (CVE-2015-0219); daphne keeps the root path.
    return [
        (name.lower(), value)
        for name, values in headers.getAllRawHeaders()
        if b"_" not in name and name.lower() != b"daphne-root-path"
        for value in values
    ]


def _subprotocols(headers: list[Header]) -> list[str]:
    """Return what the client offers, in order, however many headers it is spread over."""
    return [
        offer.strip()
        for name, value in headers
        if name == b"sec-websocket-protocol"
        for offer in value.decode("latin-1").split(",")
    ]
