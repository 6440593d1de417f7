"""A page with our browser client on it, as a test sees it: it counts what it gets, and resumes."""

from __future__ import annotations

import base64
import secrets
from typing import TYPE_CHECKING, Any

import msgspec

from ..framing import MARK, MARK_BYTE, PARAMETER, framed_event, split_event
from ..protocol import OWN_SUBPROTOCOL

if TYPE_CHECKING:
    from collections.abc import Iterable


class Page:
    """
    A page that outlives its sockets: give it to ``connect()`` again, and it is where it was.

    ``live``: what ``position()`` wrote into the page. ``at``: where it is in each group that keeps,
    ``(epoch, offset)``. ``reloads``: groups of which it was told to reload; ``reload_seconds``:
    the seconds over which pages spread that, as it was told last.
    """

    def __init__(self, live: str = "") -> None:
        self.id = secrets.token_hex(16)
        self.live = live
        self.at: dict[str, tuple[str, int]] = {}
        self.reloads: list[str] = []
        self.reload_seconds = 0

    def path(self, path: str) -> str:
        """Return the path with the parameter in which the page says where it is."""
        said = msgspec.json.encode({"id": self.id, "at": self.at, "live": self.live})
        value = base64.urlsafe_b64encode(said).decode().rstrip("=")
        return f"{path}{'&' if '?' in path else '?'}{PARAMETER}={value}"

    @staticmethod
    def subprotocols(offered: Iterable[str]) -> list[str]:
        """Return what the page offers to speak."""
        return [OWN_SUBPROTOCOL, *offered]

    def take(self, data: str | bytes) -> tuple[str | bytes | None, str | None]:
        """
        Return what the page sees of a message, if anything, and what it answers, if anything.

        What is about groups is counted, as the browser client does.
        """
        name = "text" if isinstance(data, str) else "bytes"
        header, event = split_event({"type": "websocket.send", name: data})
        if header is None:
            return data, None
        if "ping" in header:
            return None, f'{MARK}{{"pong":1}}'
        if "joined" in header:
            self._join(header)
            return None, None
        if "offset" in header:
            group = header["group"]
            self.at[group] = (self.at.get(group, ("", 0))[0], header["offset"])
        return (None if header.get("skip") else event[name]), None

    def _join(self, header: Any) -> None:
        group, at = header["joined"], (header["epoch"], header["offset"])
        is_lost = self.at.get(group, at) != at
        if header.get("reload", is_lost):
            self.reloads.append(group)
            self.reload_seconds = header.get("seconds", 0)
        self.at[group] = at

    @staticmethod
    def escape(data: str | bytes) -> str | bytes:
        """Put an empty header before what the page sends, if it looks like one."""
        if data[:1] not in (MARK, MARK_BYTE):
            return data
        name = "text" if isinstance(data, str) else "bytes"
        escaped: str | bytes = framed_event({name: data}, {})[name]
        return escaped
