"""What is between an application and a client that speaks our subprotocol: see ``framing.py``."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from ..escaping import escape
from ..framing import NOBODY, escaped_event, read_page, split_event
from ..protocol import OWN_SUBPROTOCOL

if TYPE_CHECKING:
    from typing import Protocol

    from ..framing import Page
    from ..protocol import Event, Receive, Scope, Send

    class Connection(Protocol):
        """What is asked of a connection."""

        owner: str
        receive: Receive
        subprotocol: str | None


logger = logging.getLogger("wsconsumer.consumer")


def page_of(scope: Scope, owner: str) -> Page:
    """Return what the client says of itself; nothing, if it can't be read."""
    try:
        return read_page(scope.get("query_string") or b"")
    except ValueError as error:
        logger.info("%s: the client does not say where it was: %s.", owner, escape(error))
        return NOBODY


def unframed(connection: Connection) -> Receive:
    """
    Return a ``receive`` that gives the application what is its own, once our subprotocol is spoken.
    """
    receive = connection.receive

    async def receive_unframed() -> Event:
        while True:
            event = await receive()
            if connection.subprotocol != OWN_SUBPROTOCOL or event["type"] != "websocket.receive":
                return event
            try:
                header, event = split_event(event)
            except ValueError as error:
                text = "%s: a header that can't be read: %s."
                logger.info(text, connection.owner, escape(error))
                continue
            # Whatever else there is in a header answers a heartbeat.
            if not header:
                return event

    return receive_unframed


def escaped(send: Send) -> Send:
    """Return a ``send`` that puts what looks like a header of ours behind an empty one."""

    async def send_escaped(event: Event) -> None:
        await send(escaped_event(event))

    return send_escaped
