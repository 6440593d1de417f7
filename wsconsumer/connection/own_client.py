"""What is between an application and a client that speaks our subprotocol: see ``framing.py``."""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qs, urlsplit

from django.contrib.auth import REDIRECT_FIELD_NAME
from django.core.signing import BadSignature, SignatureExpired

from ..escaping import escape
from ..framing import NOBODY, Place, escaped_event, read_page, split_event
from ..live_token import read_token
from ..protocol import OWN_SUBPROTOCOL, CloseCode

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Protocol

    from ..framing import Page
    from ..protocol import Event, Header, Receive, Scope, Send

    class Connection(Protocol):
        """What is asked of a connection."""

        owner: str
        receive: Receive
        subprotocol: str | None


logger = logging.getLogger("wsconsumer.consumer")


CODES: Final = {
    HTTPStatus.UNAUTHORIZED: CloseCode.NOT_AUTHENTICATED,
    HTTPStatus.FORBIDDEN: CloseCode.REFUSED,
    HTTPStatus.NOT_FOUND: CloseCode.NO_SUCH_SOCKET,
}
"""What a denial is for a client that can see a close code, and no status."""


def close_for_denial(status: int, headers: Iterable[Header]) -> tuple[int, str] | None:
    """
    Return code and reason of the close for a denial.

    ``None`` for one that a later attempt may not get, unless it says how much later.
    """
    code = CODES.get(HTTPStatus(status)) if status in CODES else None
    if code is None and status // 100 == 3:  # a redirect
        query = parse_qs(urlsplit(_header(headers, b"location")).query)
        if REDIRECT_FIELD_NAME in query:  # to the login
            code = CloseCode.NOT_AUTHENTICATED
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        seconds = _header(headers, b"retry-after")  # or a date (RFC 9110 section 10.2.3)
        if seconds.isdecimal():
            return CloseCode.RATE_LIMITED.value, f"after={seconds}"
    return None if code is None else (code.value, f"{int(status)}")


def _header(headers: Iterable[Header], name: bytes) -> str:
    return next((value for key, value in headers if key.lower() == name), b"").decode("latin-1")


def page_of(scope: Scope, owner: str) -> Page:
    """
    Return what the client says of itself; nothing, if it can't be read.

    Until it has seen something itself, it is where its page was when it was rendered.
    """
    try:
        page = read_page(scope.get("query_string") or b"")
        if page.live:
            for group, place in read_token(page.live).at.items():
                page.at.setdefault(group, Place(*place))
        return page
    except SignatureExpired:
        # What its page shows is old, and nobody knows how old: it has to reload.
        for group in read_token(page.live, max_age=None).at:
            page.at.setdefault(group, Place("", 0))
        return page
    except (ValueError, BadSignature) as error:
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
