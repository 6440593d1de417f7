"""
The message consumers that the URLconf maps: what a document about them is made of.

It says of each where it is, what it speaks and who may connect. What a document looks like is the
business of ``asyncapi`` and ``typescript``.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from django.conf import settings
from django.contrib.auth.mixins import AccessMixin
from django.urls.resolvers import LocalePrefixPattern, RoutePattern
from django.utils.module_loading import import_string
from django.utils.regex_helper import normalize

from ..handshake.routes import websocket_routes
from .consumer import MessageConsumer
from .interface import interface_of
from .types import Cancel, End, Error, Message, Ok

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..handshake.routes import Route
    from .handlers import Handler
    from .interface import Interface

_LOGIN_DECORATORS: Final = {"login_required", "permission_required", "user_passes_test"}
_LOGIN_MIDDLEWARE: Final = "django.contrib.auth.middleware.LoginRequiredMiddleware"


class Mapped(NamedTuple):
    """
    A ``MessageConsumer`` at a URL.

    ``key`` is the route's name, or one made of its path, and no other route's. ``address`` has
    ``{name}`` where the URL has a parameter, ``parameters`` says what each may be, and ``parts``
    are the patterns that it consists of. ``needs_login`` tells whether only users whom the session
    knows may connect.
    """

    key: str
    name: str
    path: str
    parts: tuple[Any, ...]
    address: str
    parameters: dict[str, str]
    consumer: type[MessageConsumer]
    codec: str
    needs_login: bool

    @property
    def interface(self) -> Interface:
        """What the consumer understands and says."""
        return interface_of(self.consumer)

    @property
    def requests(self) -> list[Handler]:
        """The handlers of what clients send, events left out."""
        handlers = dict.fromkeys(self.interface.handlers.values())
        return [handler for handler in handlers if messages_of(handler)]

    @property
    def incoming(self) -> list[type[Message]]:
        """What clients may send."""
        cancel = [Cancel] if any(handler.is_task for handler in self.requests) else []
        return [*self.interface.messages.values(), *cancel]

    @property
    def outgoing(self) -> list[type[Message]]:
        """What clients may get."""
        replies = (kind for handler in self.requests for kind in answers(handler))
        return unique([*replies, *self.interface.sends.values(), Error])


def messages_of(handler: Handler) -> list[type[Message]]:
    """Return what a handler takes of what clients may send; it may take events too."""
    return [kind for kind in handler.takes if issubclass(kind, Message)]


def answers(handler: Handler) -> list[type[Message]]:
    """Return all that a message with a ``ref`` may be answered with, the error last."""
    ok = [Ok] if handler.answers_ok else []
    end = [End] if handler.is_stream else []
    return [*(kind for kind in handler.replies if kind is not Error), *ok, *end, Error]


def unique(kinds: Iterable[type[Message]]) -> list[type[Message]]:
    """Return each class once, in order."""
    return list(dict.fromkeys(kinds))


def free_name(name: str, taken: Iterable[str]) -> str:
    """Return a name that every format takes as a key, and that is none of those taken."""
    plain = re.sub(r"[^A-Za-z0-9_.-]+", ".", name).strip(".") or "root"
    number, found = 1, plain
    while found in taken:
        number += 1
        found = f"{plain}.{number}"
    return found


def mapped_consumers() -> list[Mapped]:
    """Return every ``MessageConsumer`` of the URLconf for websockets, in its order."""
    found: dict[str, Mapped] = {}
    for route in websocket_routes():
        consumer = route.application
        if isinstance(consumer, type) and issubclass(consumer, MessageConsumer):
            mapped = _mapped(route, consumer, found)
            found[mapped.key] = mapped
    return list(found.values())


def _mapped(route: Route, consumer: type[MessageConsumer], taken: Iterable[str]) -> Mapped:
    parts = [_described(part) for part in route.parts]
    address = "/" + "".join(text for text, _ in parts)
    initkwargs = getattr(route.view, "view_initkwargs", {})
    return Mapped(
        key=free_name(route.name or address, taken),
        name=route.name,
        path=route.path,
        parts=route.parts,
        address=address,
        parameters={name: text for _, found in parts for name, text in found.items()},
        consumer=consumer,
        codec=initkwargs.get("codec", consumer.codec),
        needs_login=_needs_login(route, consumer),
    )


def _described(pattern: Any) -> tuple[str, dict[str, str]]:
    """Return a part of an address, and what its parameters may be by their names."""
    if isinstance(pattern, LocalePrefixPattern):
        return str(pattern), {}
    if isinstance(pattern, RoutePattern):
        parameters = {
            name: f"Matches `{converter.regex}`." for name, converter in pattern.converters.items()
        }
        return re.sub(r"<(?:[^>:]+:)?([^>]+)>", r"{\1}", str(pattern)), parameters
    return _described_regex(str(pattern))


def _described_regex(pattern: str) -> tuple[str, dict[str, str]]:
    """Read a regex as ``reverse()`` does, which shows each group as its name in braces."""
    text, groups = max(normalize(pattern), key=lambda found: len(found[1]))
    if not text:  # empty, or with a choice in it that is no group
        return re.sub(r"[{}]|^\^|\$$", "", pattern), {}
    names = {group: re.sub(r"^_(\d+)$", r"arg\1", group) for group in groups}
    address = text % {group: f"{{{name}}}" for group, name in names.items()}
    return address, dict.fromkeys(names.values(), f"Part of what matches `{pattern}`.")


def _needs_login(route: Route, consumer: type) -> bool:
    if issubclass(consumer, AccessMixin) or _LOGIN_DECORATORS.intersection(route.decorators):
        return True
    return getattr(route.view, "login_required", True) and _has_login_middleware()


def _has_login_middleware() -> bool:
    wanted = import_string(_LOGIN_MIDDLEWARE)
    found = map(import_string, settings.MIDDLEWARE)
    return any(isinstance(each, type) and issubclass(each, wanted) for each in found)
