"""
One broadcast on its way out: checked and encoded once, then announced and handed to a backend.

``broadcast()``, ``abroadcast()`` and ``WebsocketConsumer.broadcast()`` all go this way.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from .envelope import encode
from .listeners import notify
from .names import check_group

if TYPE_CHECKING:
    from typing import Self


class Publication(NamedTuple):
    """What is broadcast to which group, and the body that travels."""

    group: str
    data: Any
    body: bytes

    @classmethod
    def of(cls, group: str, data: Any, sender_id: bytes = b"") -> Self:
        """Check and encode; raise ``TypeError`` or ``ValueError`` for what can't be broadcast."""
        check_group(group)
        return cls(group, data, encode(data, sender_id))

    def announce(self) -> None:
        """Tell the listeners, just before it is handed to a backend."""
        notify(self.group, self.data)
