"""
One broadcast on its way out: checked and encoded once, then announced and handed to a backend.

``broadcast()``, ``abroadcast()`` and ``WebsocketConsumer.broadcast()`` all go this way.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from django.core.exceptions import ImproperlyConfigured

from ..escaping import quote
from .declared import kept
from .envelope import encode
from .keeping import KeepingBackend
from .listeners import notify
from .names import check_group

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Self

    from .base import Backend
    from .keeping import Keep


class Publication(NamedTuple):
    """What is broadcast to which group, and the body that travels."""

    group: str
    data: Any
    body: bytes
    keep: Keep | None
    key: str | None

    @classmethod
    def of(cls, group: str, data: Any, sender_id: bytes = b"", *, key: str | None = None) -> Self:
        """Check and encode; raise ``TypeError`` or ``ValueError`` for what can't be broadcast."""
        check_group(group)
        kind = kept(group)
        if key is not None:
            check_key(group, key, is_kept=kind is not None)
        return cls(group, data, encode(data, sender_id), None if kind is None else kind.keep, key)

    async def publish(self, backend: Backend) -> None:
        """Hand it to a backend that was started in this event loop."""
        if self.keep is None:
            await backend.publish(self.group, self.body)
        else:
            await keeping(backend).append(self.group, self.body, self.keep, self.key)

    def publish_sync(self, backend: Backend) -> None:
        """Hand it to a backend in a thread without an event loop."""
        if self.keep is None:
            backend.publish_sync(self.group, self.body)
        else:
            keeping(backend).append_sync(self.group, self.body, self.keep, self.key)

    def announce(self) -> None:
        """Tell the listeners, just before it is handed to a backend."""
        notify(self.group, self.data)


MAX_KEY: Final = 200
"""Characters that a key may have."""


def check_key(group: str, key: object, *, is_kept: bool) -> None:
    """Raise ``TypeError`` or ``ValueError`` for a key that can't be, or counts for nothing."""
    if not isinstance(key, str):
        raise TypeError(f"broadcast() expects key to be a str, got {quote(key)}.")
    if not 0 < len(key) <= MAX_KEY:
        raise ValueError(
            f"broadcast() expects a key of 1 to {MAX_KEY} characters, got {quote(key)}."
        )
    if not is_kept:
        raise ValueError(
            f"broadcast() to {quote(group)} has a key, but that group keeps nothing that the key "
            "could be compared with. Declare it: Group(template, keep=...) in realtime.py."
        )


def keeping(backend: Backend) -> KeepingBackend:
    """Return the backend, if it can keep; else raise ``ImproperlyConfigured``."""
    if isinstance(backend, KeepingBackend):
        return backend
    raise ImproperlyConfigured(f"A group is declared with keep=. {_can_not_keep(backend)}")


def keeping_problems(backend: Backend) -> Sequence[str]:
    """Return what prevents a backend from keeping, for ``manage.py check``."""
    if isinstance(backend, KeepingBackend):
        return backend.keeping_problems()
    return (_can_not_keep(backend),)


def _can_not_keep(backend: Backend) -> str:
    return (
        f"The backend of groups, {type(backend).__qualname__}, can't keep. Leave keep= out, or "
        "name another BACKEND in WSCONSUMER['GROUPS']."
    )
