"""
What ASGI servers leave out, added in one place.

``adapt()`` looks at what ``send`` is, so no server is imported before it has called us. A server
that does all of ASGI needs no module here.
"""

from __future__ import annotations

import asyncio
from functools import partial
from inspect import iscoroutinefunction
from typing import TYPE_CHECKING, Any, Final

from .denial import denied
from .departure import client_has_left, give_up
from .wrapped import explain_hidden, innermost, replace_innermost

if TYPE_CHECKING:
    from ..protocol import Receive, Scope, Send

__all__ = [
    "adapt",
    "client_has_left",
    "completes_in_place",
    "current_task",
    "denied",
    "give_up",
    "server_of",
]


_IN_PLACE: Final = frozenset({"hypercorn", "uvicorn", __name__.partition(".")[0]})


def adapt(scope: Scope, receive: Receive, send: Send) -> tuple[Scope, Receive, Send]:
    """
    Return the connection with all of ASGI, as far as its server can be brought to it.

    Behind middleware that wraps ``send`` or ``receive``, what is added comes below it.
    """
    own_receive, own_send = innermost(receive, "receive"), innermost(send, "send")
    if isinstance(own_send, partial) and _package(own_send.func) == "daphne":
        from . import daphne

        adapted = daphne.adapt(scope, own_receive, own_send)
    elif _package(type(getattr(own_send, "__self__", None))) == "granian":
        from . import granian

        adapted = granian.adapt(scope, own_receive, own_send)
    else:
        explain_hidden(scope, send)
        return scope, receive, send
    scope, own_receive, own_send = adapted
    return (
        scope,
        replace_innermost(receive, "receive", own_receive),
        replace_innermost(send, "send", own_send),
    )


def completes_in_place(send: Send) -> bool:
    """
    Return whether a send may be begun by hand, and finished by another task if it waits.

    True for coroutines of servers that are known to bind nothing to a task or a context. A tracing
    middleware's ``send``, say, may do so, and granian's makes no coroutines.
    """
    method = getattr(send, "__self__", None)
    owner, function = (send, type(send).__call__) if method is None else (method, send)
    return _package(type(owner)) in _IN_PLACE and iscoroutinefunction(function)


def server_of(send: Send) -> str:
    """Return the name of the server that a send is of; empty if it can't be seen."""
    own = innermost(send, "send")
    function = own.func if isinstance(own, partial) else own
    module = type(getattr(function, "__self__", function)).__module__.split(".")
    here = __name__.split(".")  # those that were adapted are ours
    name = module[len(here)] if module[: len(here)] == here and module != here else module[0]
    return "" if name in ("builtins", here[0]) else name


def current_task() -> asyncio.Task[Any] | None:
    """Return the task that the server runs us in, or ``None`` if that can't be cancelled."""
    task = asyncio.current_task()
    # With --task-impl rust granian shows one and the same stand-in to all of its connections.
    return None if _package(type(task)) == "granian" else task


def _package(function: object) -> str:
    module = getattr(function, "__module__", None) or ""
    return module.partition(".")[0]
