"""
A strict ASGI server for one websocket: it speaks any server's dialect, and accepts nothing illegal.

An illegal message raises ``IllegalEvent``, which names the rule, and fails the test even if the
application swallows it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any

from django.http import SimpleCookie
from django.utils.datastructures import CaseInsensitiveMapping

from ..escaping import quote
from ..protocol import OWN_SUBPROTOCOL, CloseCode, check_close

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..protocol import Event, Header
    from .dialects import Dialect
    from .page import Page


class IllegalEvent(AssertionError):
    """The application sent something that ASGI or RFC 6455 does not allow at this point."""


class Denial:
    """
    A denial response: ``status``, ``body``, and like a Django response ``headers`` and ``cookies``.
    """

    def __init__(self, status: int, headers: list[Header]) -> None:
        self.status = status
        self.headers, self.cookies = readable(headers)
        self.body = b""

    def __repr__(self) -> str:
        return f"<Denial {self.status} {dict(self.headers)} {self.body!r}>"


def readable(headers: list[Header]) -> tuple[CaseInsensitiveMapping[str], SimpleCookie]:
    """Return headers with case-insensitive names, and the cookies that they set."""
    texts = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in headers]
    cookies = SimpleCookie()
    for name, value in texts:
        if name == "set-cookie":
            cookies.load(value)
    return CaseInsensitiveMapping(dict(texts)), cookies


class StrictServer:
    """
    ``receive`` and ``send`` for an application, and their other ends for a test.

    ``changed`` is called whenever something happens. ``page`` is the client, if it is one of ours.
    """

    def __init__(
        self,
        dialect: Dialect,
        subprotocols: list[str],
        changed: Callable[[], None],
        page: Page | None = None,
    ) -> None:
        self.dialect = dialect
        self.page = page
        self.log: list[str] = []
        self.illegal: list[IllegalEvent] = []
        self.messages: deque[str | bytes] = deque()
        self.accepted: bool | None = None
        self.subprotocol: str | None = None
        self.headers, self.cookies = readable([])
        self.close_code: int | None = None
        self.close_reason = ""
        self.denial: Denial | None = None
        self.is_waited_for = False
        self.blocked_sends = 0
        self.client_has_left = False
        self._subprotocols = subprotocols
        self._changed = changed
        self._inbox: deque[Event] = deque([{"type": "websocket.connect"}])
        self._arrived = asyncio.Event()
        self._may_send = asyncio.Event()
        self._may_send.set()
        self._is_over = False

    # The application's side

    async def receive(self) -> Event:
        """Hand the next event to the application."""
        if self._is_over:
            raise self._refuse("receive() after websocket.disconnect waits forever")
        while not self._inbox:
            self._arrived.clear()
            self.is_waited_for = True
            self._changed()
            try:
                await self._arrived.wait()
            finally:
                self.is_waited_for = False
        event = self._inbox.popleft()
        self._is_over = event["type"] == "websocket.disconnect"
        self._note("->", event)
        return event

    async def send(self, event: Event) -> None:
        """Take a message from the application."""
        kind = event.get("type")
        handler = getattr(self, f"_{str(kind).replace('.', '_')}", None)
        if handler is None:
            raise self._refuse(f"ASGI has no message of type {quote(kind)} for a websocket")
        await self._until_read()
        if self.client_has_left:
            if self.dialect.send_after_disconnect is not None:
                raise self.dialect.send_after_disconnect("The client has left.")
            return
        handler(event)
        self._note("<-", event)
        self._changed()

    async def _until_read(self) -> None:
        if not self._may_send.is_set():
            self.blocked_sends += 1
            self._changed()
            await self._may_send.wait()
            self.blocked_sends -= 1

    def _websocket_accept(self, event: Event) -> None:
        self._expect_undecided("websocket.accept")
        subprotocol, headers = event.get("subprotocol"), list(event.get("headers") or ())
        if subprotocol is not None and subprotocol not in self._subprotocols:
            raise self._refuse(
                f"the subprotocol {quote(subprotocol)} is not offered, {self._subprotocols} are "
                "(RFC 6455 section 4.2.2)"
            )
        self._expect_headers(headers)
        self.accepted = True
        self.subprotocol = subprotocol
        self.headers, self.cookies = readable(headers if self.dialect.accept_headers else [])

    def _websocket_send(self, event: Event) -> None:
        self._expect_open("websocket.send")
        text, data = event.get("text"), event.get("bytes")
        if (text is None) == (data is None):
            raise self._refuse("websocket.send has either text or bytes, one of them not None")
        message = data if text is None else text
        if not isinstance(message, str if data is None else bytes):
            raise self._refuse(f"text is str and bytes are bytes, got {type(message).__name__}")
        if isinstance(message, str):
            message.encode()  # raises as servers do, for half of a surrogate pair
        if message or not self.dialect.drops_empty_messages:
            self._arrive(message)

    def _arrive(self, message: str | bytes) -> None:
        """Let the client have a message, or its page, which keeps to itself what is not for it."""
        if self.page is None or self.subprotocol != OWN_SUBPROTOCOL:
            self.messages.append(message)
            return
        seen, answer = self.page.take(message)
        if seen is not None:
            self.messages.append(seen)
        if answer is not None:
            self.put_message(answer)

    def _websocket_close(self, event: Event) -> None:
        if self.accepted is None:
            self._expect_undecided("websocket.close")
            self.accepted = False
            self.denial = Denial(403, [])
            return
        self._expect_open("websocket.close")
        code = event.get("code")
        code, reason = 1000 if code is None else code, event.get("reason") or ""
        try:
            check_close(code, reason)
        except (TypeError, ValueError) as error:
            raise self._refuse(str(error)) from None
        if self.dialect.only_own_close_codes and code != CloseCode.NORMAL and code < 3000:
            raise Exception("invalid close code")  # as this server does
        self.close_code, self.close_reason = code, reason
        self._put_disconnect(code, reason)

    def _websocket_http_response_start(self, event: Event) -> None:
        self._expect_undecided("websocket.http.response.start")
        if not self.dialect.denial_response:
            raise self._refuse("the scope has no extension websocket.http.response")
        headers = list(event.get("headers") or ())
        self._expect_headers(headers)
        self.accepted = False
        self.denial = Denial(event["status"], headers)

    def _websocket_http_response_body(self, event: Event) -> None:
        if self.denial is None:
            raise self._refuse("websocket.http.response.body comes after response.start")
        self.denial.body += event.get("body", b"")

    def _expect_undecided(self, kind: str) -> None:
        if self.accepted is not None:
            said = "accepted" if self.accepted else "denied"
            raise self._refuse(f"{kind} comes too late: the connection was {said}")

    def _expect_open(self, kind: str) -> None:
        if not self.accepted:
            raise self._refuse(f"{kind} needs websocket.accept first")
        if self.close_code is not None:
            raise self._refuse(f"{kind} comes after websocket.close")

    def _expect_headers(self, headers: list[Any]) -> None:
        for header in headers:
            match header:
                case (bytes() as name, bytes()) if name == name.lower():
                    continue
            raise self._refuse(
                f"headers must be pairs of bytes with names in lower case, got {quote(header)}"
            )

    def _refuse(self, rule: str) -> IllegalEvent:
        error = IllegalEvent(f"Illegal: {rule}.")
        self.illegal.append(error)
        self._changed()
        return error

    # The test's side

    def put_message(self, data: str | bytes) -> None:
        """Let a message of the client arrive."""
        text, binary = (data, None) if isinstance(data, str) else (None, data)
        event: Event = {"type": "websocket.receive", "text": text, "bytes": binary}
        if not self.dialect.both_keys:
            del event["bytes" if binary is None else "text"]
        self._put(event)

    def leave(self, code: int, reason: str = "") -> None:
        """Let the client leave, unless the application has closed already."""
        if self.is_open:
            self.client_has_left = True
            self._may_send.set()
            self._put_disconnect(code, reason)

    def pause(self) -> None:
        """Let ``send()`` wait, as behind a client that does not read."""
        self._may_send.clear()

    def resume(self) -> None:
        """Let ``send()`` go on."""
        self._may_send.set()

    @property
    def is_open(self) -> bool:
        """Whether a client could send something now."""
        return bool(self.accepted) and self.close_code is None and not self.client_has_left

    @property
    def is_idle(self) -> bool:
        """Whether the application waits for an event, or for a client that does not read."""
        return self.blocked_sends > 0 or (self.is_waited_for and not self._inbox)

    def _put_disconnect(self, code: int, reason: str) -> None:
        facts = {"code": code, "reason": reason}
        known = {key: facts[key] for key in self.dialect.disconnect_keys}
        self._put({"type": "websocket.disconnect", **known})

    def _put(self, event: Event) -> None:
        self._inbox.append(event)
        self._arrived.set()

    def _note(self, arrow: str, event: Event) -> None:
        details = {key: value for key, value in event.items() if key != "type"}
        self.log.append(f"{arrow} {event['type']} {details}")
