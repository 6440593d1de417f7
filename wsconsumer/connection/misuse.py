"""The errors for verbs that were called where, or with what, they can't work."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from ..escaping import quote
from ..exceptions import InvalidState
from ..protocol import OWN_SUBPROTOCOL, ConnectionState

if TYPE_CHECKING:
    from collections.abc import Sequence

logger = logging.getLogger("wsconsumer.consumer")


def out_of_turn(
    owner: str, verb: str, state: ConnectionState, rejected_with: int | None
) -> InvalidState | None:
    """Return the error for a verb that this state forbids, unless the connection is closed."""
    verb = f"{owner}.{verb}"
    if rejected_with is not None:
        return InvalidState(f"{verb} comes too late: reject({rejected_with}) was called.")
    if state is ConnectionState.CONNECTING:
        return InvalidState(
            f"{verb} needs an open connection, but it is CONNECTING. Call accept() first."
        )
    if state is ConnectionState.OPEN:
        return InvalidState(
            f"{verb} comes too late: the connection is OPEN, accept() was called. End it with "
            "close()."
        )
    return None


def wrong_loop(owner: str, verb: str) -> InvalidState:
    """Return the error for a verb that was called in another event loop, or in a thread."""
    return InvalidState(
        f"{owner}.{verb} belongs to the event loop of its connection, and was called from another "
        "thread or event loop. To reach the client from there, broadcast() to a group that it is "
        "in. Or wrap the blocking work in sync_to_async() and send here, or hand the coroutine "
        "over with asyncio.run_coroutine_threadsafe(coroutine, loop)."
    )


def wrong_subprotocol(owner: str, chosen: object, offered: Sequence[str]) -> ValueError:
    """Return the error for a subprotocol that the client does not offer."""
    return ValueError(
        f"{owner}.accept() can't choose the subprotocol {quote(chosen)}: the client offers "
        f"{quote(offered)} (RFC 6455 section 4.2.2). Choose one of these or None."
    )


def log_unanswered_offer(owner: str) -> None:
    """Say what becomes of a client that offers subprotocols and gets none."""
    logger.info(
        "%s accepted without a subprotocol, but the client offers some: a browser then closes with "
        "1006. Choose one with accept(subprotocol).",
        owner,
    )


def late_subprotocol(owner: str, chosen: object) -> InvalidState:
    """Return the error for another subprotocol than ours, when groups speak ours already."""
    return InvalidState(
        f"{owner}.accept() chooses the subprotocol {quote(chosen)} after a join(), and the client "
        f"also offers {OWN_SUBPROTOCOL}, in which its groups speak already. Call accept() first."
    )


def check_rejection(owner: str, status: object, body: object) -> None:
    """Raise ``ValueError`` or ``TypeError`` for a denial that can't be sent."""
    if status not in range(300, 600):
        raise ValueError(
            f"{owner}.reject() expects an HTTP status from 300 to 599, got {quote(status)}."
        )
    if not isinstance(body, str | bytes):
        raise TypeError(f"{owner}.reject() expects body to be str or bytes, got {quote(body)}.")


def early_close(owner: str, code: int, reason: str) -> InvalidState:
    """Return the error for a close with a code or reason before there is a websocket."""
    return InvalidState(
        f"{owner}.close({int(code)}, {quote(reason)}) can't reach the client, the connection is "
        "CONNECTING: a close code needs an accepted websocket. Call accept() first, or refuse the "
        "handshake with reject(status)."
    )
