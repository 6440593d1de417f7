"""``servers/daphne/scope.py``: the request as it came, and not as autobahn edits it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from twisted.internet.interfaces import ISSLTransport
from zope.interface import directlyProvides

from tests.servers.daphne.peer import Daphne, settled
from wsconsumer import servers
from wsconsumer.servers.daphne.fallback import explain_fallback

if TYPE_CHECKING:
    from collections.abc import Callable

UPGRADE = (
    "Host: testserver",
    "Upgrade: websocket",
    "Connection: Upgrade",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
)


async def scope_of(
    target: str, *headers: str, before: Callable[[Daphne], None] = lambda peer: None
) -> dict[str, Any]:
    """Return the adapted scope of a request; ``before`` may change daphne's objects."""
    scopes: list[Any] = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        before(peer)
        scopes.append(servers.adapt(scope, receive, send)[0])

    peer = Daphne(application)
    peer.open(request="\r\n".join([f"GET {target} HTTP/1.1", *UPGRADE, *headers, "", ""]))
    await settled()
    (scope,) = scopes
    return dict(scope)


@pytest.mark.parametrize(
    ("target", "raw_path", "path"),
    [
        ("/ws/a;b", b"/ws/a;b", "/ws/a;b"),
        ("/ws/a;b/c;d?e=f;g", b"/ws/a;b/c;d", "/ws/a;b/c;d"),
        ("/ws/a%3Bb", b"/ws/a%3Bb", "/ws/a;b"),
        ("//x/ws", b"//x/ws", "//x/ws"),
        ("/m%C3%BCller%2Fx+y", b"/m%C3%BCller%2Fx+y", "/müller/x+y"),
        ("ws://testserver/ws/a;b?c", b"/ws/a;b", "/ws/a;b"),
        ("http://testserver", b"/", "/"),
    ],
)
async def test_path(target: str, raw_path: bytes, path: str) -> None:
    """The path is the request's up to the first question mark, decoded, with nothing cut off."""
    scope = await scope_of(target)
    assert (scope["raw_path"], scope["path"]) == (raw_path, path)


async def test_repeated_headers() -> None:
    """Each header comes by itself, so that a cookie in a second Cookie header is found."""
    scope = await scope_of("/ws/", "Cookie: theme=dark,a", "X-Y: é", "Cookie: sessionid=abc")
    cookies = [value for name, value in scope["headers"] if name == b"cookie"]
    assert cookies == [b"theme=dark,a", b"sessionid=abc"]
    assert (b"x-y", "é".encode()) in scope["headers"]
    assert (b"host", b"testserver") in scope["headers"]


async def test_headers_that_daphne_takes_out() -> None:
    """A name with an underscore could pass for another one, and the root path is a setting."""
    scope = await scope_of("/ws/", "X_Forwarded_For: 1.2.3.4", "Daphne-Root-Path: /sub%20path")
    names = {name for name, _ in scope["headers"]}
    assert names.isdisjoint({b"x_forwarded_for", b"daphne-root-path"})
    assert scope["root_path"] == "/sub path"


async def test_subprotocols() -> None:
    """Offers may be spread over several headers (RFC 6455 section 11.3.4)."""
    offers = "Sec-WebSocket-Protocol: a, b", "Sec-WebSocket-Protocol: c%2Cd"
    assert (await scope_of("/ws/", *offers))["subprotocols"] == ["a", "b", "c%2Cd"]
    assert (await scope_of("/ws/"))["subprotocols"] == []


@pytest.mark.parametrize(
    ("forwarded", "tls", "scheme"),
    [(None, False, "ws"), (None, True, "wss"), ("https", False, "wss"), ("http", True, "ws")],
)
async def test_scheme(forwarded: str | None, tls: bool, scheme: str) -> None:
    """The scheme is that of the transport, or the trusted proxy's word; daphne says nothing."""

    def before(peer: Daphne) -> None:
        if forwarded is not None:
            peer.protocol.client_scheme = forwarded
        if tls:
            directlyProvides(peer.transport, ISSLTransport)

    assert (await scope_of("/ws/", before=before))["scheme"] == scheme


@pytest.mark.parametrize("break_", ["producer", "requests", "headers"])
async def test_a_request_that_is_not_found(break_: str, caplog: pytest.LogCaptureFixture) -> None:
    """Without Twisted's request daphne's own headers are used, and a line says so."""
    explain_fallback.cache_clear()

    def before(peer: Daphne) -> None:
        channel = peer.transport.producer
        if break_ == "producer":
            peer.transport.producer = None
        elif break_ == "requests":
            channel.requests = []
        else:
            channel.requests[-1].requestHeaders = {}

    scope = await scope_of("/ws/", "Cookie: a=1", "Cookie: b=2", before=before)
    assert (b"cookie", b"a=1,b=2") in scope["headers"]
    assert "Repeated headers are joined" in caplog.text
