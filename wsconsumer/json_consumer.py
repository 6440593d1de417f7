"""
``JsonWebsocketConsumer``: what clients send is JSON, and ``receive_json()`` gets it decoded.

What a consumer sends may be JSON anyway: ``send()`` and ``broadcast()`` encode whatever is neither
text nor bytes.
"""

from __future__ import annotations

import logging
from typing import Any, Final

import msgspec

from .consumer import WebsocketConsumer
from .counters import counters
from .escaping import escape
from .hooks import check_hooks
from .log_thread import log
from .misnomers import check_foreign, check_spelling
from .protocol import CloseCode
from .reporting import log_ignored

logger = logging.getLogger("wsconsumer.consumer")

JSON_HOOKS: Final[dict[str, tuple[str, ...]]] = {
    "receive_json": ("content",),
    "receive_malformed": ("data", "problem"),
}
"""The hooks that the class adds, with the arguments that they are called with."""

CODECS: Final = {
    "encode_json": "send() encodes Django's types; give it what it knows, or a str.",
    "decode_json": "Override receive(), which decodes.",
}
"""Two more hooks of Channels, which may be names of one's own in other consumers."""

_decode: Final = msgspec.json.Decoder().decode


class JsonWebsocketConsumer(WebsocketConsumer):
    """
    A consumer to which clients send JSON, as text or as bytes.

    Override ``receive_json()`` in place of ``receive()``.
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        check_foreign(cls, CODECS)
        check_spelling(cls, JSON_HOOKS)
        check_hooks(cls, JSON_HOOKS)

    async def receive(self, data: str | bytes) -> None:
        """Decode a message for ``receive_json()``."""
        try:
            content = _decode(data)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            await self.receive_malformed(data, str(error))
        else:
            await self.receive_json(content)

    async def receive_json(self, content: Any) -> None:
        """
        Override to handle a message: what its JSON says, as ``dict``, ``list``, ``str``, numbers,
        ``bool`` or ``None``. Ignored as is.
        """
        if type(self).receive_json is JsonWebsocketConsumer.receive_json:
            log_ignored(self, "receive_json(self, content)")

    async def receive_malformed(self, data: str | bytes, problem: str) -> None:
        """
        Override to handle a message that is not JSON; ``problem`` says in words why.

        As is, the connection is closed with 1007 (invalid payload), and the log says so.
        """
        counters["message_malformed"] += 1
        log(
            logger,
            logging.WARNING,
            "%s on %s: closing with 1007, the client sent what is not JSON: %s.",
            type(self).__name__,
            escape(self.request.path),
            escape(problem),
            extra={"request": self.request, "code": CloseCode.INVALID_PAYLOAD.value},
            from_stranger=True,
        )
        await self.close(CloseCode.INVALID_PAYLOAD, "not JSON")
