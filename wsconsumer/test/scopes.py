"""The scope of a browser's handshake, as each server makes it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from .dialects import DIALECTS

if TYPE_CHECKING:
    from .page import Page


def make_scope(
    path: str,
    headers: Iterable[tuple[str, str]] | Mapping[str, str],
    subprotocols: Iterable[str],
    server: str,
    *,
    secure: bool = False,
    page: Page | None = None,
) -> dict[str, Any]:
    """Return the scope that a server of this dialect makes of a browser's handshake."""
    if page is not None:
        path, subprotocols = page.path(path), page.subprotocols(subprotocols)
    path, _, query = path.partition("?")
    pairs = headers.items() if isinstance(headers, Mapping) else headers
    lines = [(name.lower().encode(), value.encode("latin-1")) for name, value in pairs]
    if not any(name == b"host" for name, _ in lines):
        lines.insert(0, (b"host", b"testserver"))
    offered = list(subprotocols)
    if offered:
        lines.append((b"sec-websocket-protocol", ", ".join(offered).encode("latin-1")))
    scope: dict[str, Any] = {
        "type": "websocket",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "path": unquote(path),
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": lines,
        "client": ["127.0.0.1", 50000],
        "server": ["127.0.0.1", 8000],
        "subprotocols": offered,
    }
    scope["scheme"] = "wss" if secure else "ws"
    if server == "daphne-unadapted":
        del scope["scheme"]
    if not server.startswith("daphne"):  # which leaves these out
        scope |= {"http_version": "1.1", "extensions": {}}
    if DIALECTS[server].denial_response:
        scope["extensions"] = {"websocket.http.response": {}}
    return scope
