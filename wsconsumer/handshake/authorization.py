"""
A token in the subprotocols, for browsers: their ``WebSocket`` can send no header.

``new WebSocket(url, ["bearer", token])`` becomes ``Authorization: Bearer <token>``, before anything
of the project runs: a subprotocol would be in logs and error pages, which hide that header. Read
``authorize`` first.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, NamedTuple

from .. import conf
from ..escaping import escape
from ..log_thread import log
from ..protocol import AUTHORIZATION_KEY, OWN_SUBPROTOCOL, is_token

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..protocol import Header, Scope

logger = logging.getLogger("wsconsumer.handshake")


class _Pair(NamedTuple):
    """The name as the client spelt it, what may be a token, and the subprotocols around them."""

    name: str
    token: str
    others: list[str]


def authorize(scope: Scope) -> tuple[Scope, str | None]:
    """
    Return the scope with the token of its subprotocols in a header, and what is wrong with them.

    The name that comes before the token is ``WSCONSUMER["AUTHORIZATION_SUBPROTOCOL"]``, in any
    case. A problem is told without the token, and the scope that comes with it has none either.
    """
    scheme: str | None = conf.get("AUTHORIZATION_SUBPROTOCOL")
    if scheme is None:
        return scope, None
    offered = _offered(scope)
    places = [place for place, name in enumerate(offered) if name.lower() == scheme.lower()]
    if not places:
        return scope, None
    if len(places) > 1:
        return _with_subprotocols(scope, []), f"the client offers the subprotocol {scheme} twice"
    pair = _split(offered, places[0])
    scope = {**_with_subprotocols(scope, pair.others), AUTHORIZATION_KEY: pair.name}
    if not is_token(pair.token) or pair.token == OWN_SUBPROTOCOL:
        return scope, (
            f"the client offers the subprotocol {scheme} with no token behind it, as in "
            f"new WebSocket(url, ['{scheme}', token])"
        )
    return _with_header(scope, scheme, pair.token), None


def _offered(scope: Scope) -> list[str]:
    """Return what the client offers, be it in several headers, of which servers may see one."""
    lines = [value for name, value in scope.get("headers", ()) if _is_offer(name)]
    if not lines:
        return list(scope.get("subprotocols") or ())
    names = (name.strip() for name in b",".join(lines).decode("latin-1").split(","))
    return [name for name in names if name]


def _is_offer(name: bytes) -> bool:
    return name.lower() == b"sec-websocket-protocol"


def _split(offered: list[str], place: int) -> _Pair:
    token = offered[place + 1] if place + 1 < len(offered) else ""
    return _Pair(offered[place], token, offered[:place] + offered[place + 2 :])


def _with_subprotocols(scope: Scope, names: Iterable[str]) -> Scope:
    """Return the scope of a client that offers these subprotocols."""
    names = list(names)
    headers: list[Header] = [line for line in scope.get("headers", ()) if not _is_offer(line[0])]
    if names:
        headers.append((b"sec-websocket-protocol", ", ".join(names).encode("latin-1")))
    return {**scope, "headers": headers, "subprotocols": names}


def _with_header(scope: Scope, scheme: str, token: str) -> Scope:
    if any(name.lower() == b"authorization" for name, _ in scope["headers"]):
        log(
            logger,
            logging.INFO,
            "A websocket on %s came with an Authorization header, which stays, and a token in its "
            "subprotocols, which was dropped.",
            escape(scope.get("path", "")),
            from_stranger=True,
        )
        return scope
    line = (b"authorization", f"{scheme} {token}".encode("ascii"))
    return {**scope, "headers": [*scope["headers"], line]}
