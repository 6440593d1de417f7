"""
What to write instead, as a note on an exception that leaves a hook.

Python says what went wrong; who comes from Channels, or from sync Django, also wants to know what
it is called here. Read ``find_hint``.
"""

from __future__ import annotations

import re
from traceback import walk_tb
from typing import TYPE_CHECKING, Any, Final

from django.core.exceptions import PermissionDenied, SynchronousOnlyOperation
from django.http import Http404

from .escaping import message_of
from .exceptions import InvalidState

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

ATTRIBUTES: Final[Mapping[str, str]] = {
    "channel_layer": "There is no channel layer here: join groups with `await self.join(group)`, "
    "and reach them with `await self.broadcast(group, data)`.",
    "channel_name": "A connection has no name here: join a group with `await self.join(group)`.",
    "send_json": "`await self.send(content)` sends anything but text and bytes as JSON.",
    "auser": "The user is `self.user` here. A decorator of views, such as login_required, goes "
    "around as_view(), not around a hook: `login_required(Chat.as_view())`.",
    "session": "It is `self.request.session` here.",
    "path": "It is `self.request.path` here.",
    "headers": "It is `self.request.headers` here.",
}
"""Attributes of consumers in Channels, and of what is like them elsewhere."""

KEYS: Final[Mapping[str, str]] = {
    "user": "`self.user`",
    "session": "`self.request.session`",
    "cookies": "`self.request.COOKIES`",
    "url_route": "`self.kwargs`",
}
"""What Channels puts in the scope, and where it is here."""

_SEND: Final = re.compile(
    r"\bsend\(\) got an unexpected keyword argument '(text_data|bytes_data|close)'"
)


def add_hint(consumer: object, error: BaseException) -> None:
    """Note on an exception of a hook what to write instead, if that is known."""
    for one in _leaves(error):
        hint = find_hint(consumer, one)
        if hint is not None and hint not in getattr(one, "__notes__", ()):
            one.add_note(hint)


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for one in error.exceptions:
            yield from _leaves(one)
    else:
        yield error


def find_hint(consumer: object, error: BaseException) -> str | None:
    """Return what to write instead of what raised this, or ``None``."""
    match error:
        case SynchronousOnlyOperation() if "async context" in message_of(error):
            return (
                "A hook runs on the event loop, where waiting for the database would stop every "
                "websocket. Write `await Model.objects.aget(...)` and `async for`, or put the work "
                "into a function and call it with `await sync_to_async(function)()`."
            )
        case AttributeError(name=str(name), obj=owner) if owner is consumer:
            return ATTRIBUTES.get(name)
        case KeyError(args=[str(key)]) if key in KEYS and _reads_scope(error):
            return f'scope["{key}"] is {KEYS[key]} here.'
        case TypeError() if _SEND.search(message_of(error)):
            return (
                "send() takes one argument: `await self.send(data)`, where str is text, bytes are "
                "binary and anything else is JSON. `await self.close()` closes."
            )
        case RuntimeError() if "AsyncToSync in the same thread" in message_of(error):
            return "A hook is async: `await` the function, without async_to_sync."
        case PermissionDenied() | Http404():  # one that came before accept() is no failure
            return (
                f"{type(error).__name__} denies a handshake that is not accepted yet, in connect()."
                " Later there is `await self.close(code, reason)`, with a code in 4000-4999."
            )
    return None


def _reads_scope(error: BaseException) -> bool:
    """Return whether the code that raised this has a ``scope`` in it."""
    frames = [frame for frame, _ in walk_tb(error.__traceback__)]
    codes = [frame.f_code for frame in frames[-1:]]
    return any("scope" in (*code.co_names, *code.co_varnames) for code in codes)


def add_early_hint(cls: type, error: AttributeError) -> None:
    """Note on an exception of ``__init__()`` that the request comes later."""
    if isinstance(error.obj, cls) and error.name in ("request", "args", "kwargs"):
        error.add_note(too_early(cls, error.name))


def too_early(cls: type, name: str) -> str:
    """Return what to say of a fact that is not there yet."""
    return (
        f"{cls.__name__}.{name} is not there yet in __init__(). Use it in a hook, or override "
        "`def setup(self, request, *args, **kwargs)` and call super().setup() first."
    )


class NotConnected:
    """Stands for the connection of a consumer that has none yet."""

    def __getattr__(self, name: str) -> Any:
        raise InvalidState(
            "This consumer has no connection yet. The verbs and facts of a connection are there in "
            "its hooks; in __init__(), setup() and dispatch() there is only the consumer."
        )
