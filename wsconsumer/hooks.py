"""
What a consumer class must look like, checked when it is made and when it is mapped: the earliest
moments at which a mistake can be told.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, Final

from asgiref.sync import iscoroutinefunction

from .escaping import quote
from .limits import LIMITS, check_limit

if TYPE_CHECKING:
    from collections.abc import Mapping

HOOKS: Final[dict[str, tuple[str, ...]]] = {
    "connect": (),
    "receive": ("data",),
    "disconnect": ("code", "reason"),
    "group_message": ("group", "data"),
    "group_reset": ("group",),
}
"""Each hook with the arguments that it is called with."""


def check_hooks(cls: type, hooks: Mapping[str, tuple[str, ...]] = HOOKS) -> None:
    """Raise ``TypeError`` if a hook is not an ``async def`` that takes its arguments."""
    for name, arguments in hooks.items():
        wanted = f"async def {name}({', '.join(('self', *arguments))})"
        hook = getattr(cls, name)
        if inspect.isasyncgenfunction(hook):
            raise TypeError(
                f"{cls.__name__}.{name} must be a coroutine function, but a `yield` in it makes it "
                f"an async generator, which would never run. Write `{wanted}` without `yield`; "
                "`await self.send(data)` sends a value."
            )
        if not iscoroutinefunction(hook):
            raise TypeError(
                f"{cls.__name__}.{name} must be a coroutine function, got {quote(hook)}. "
                f"Write `{wanted}`. A decorator around it must return a coroutine function too "
                "(asgiref.sync.markcoroutinefunction marks one)."
            )
        try:
            inspect.signature(hook).bind(None, *arguments)
        except TypeError as error:
            raise TypeError(
                f"{cls.__name__}.{name} can't be called as {name}({', '.join(arguments)}): "
                f"{error}. Write `{wanted}`."
            ) from None
        if "bytes_data" in list(inspect.signature(hook).parameters)[2:]:
            raise TypeError(
                f"{cls.__name__}.{name} has a second argument bytes_data, as in Channels, which is "
                f"never passed here: data is str or bytes. Write `{wanted}`."
            )


def check_answer(consumer: object, answer: object) -> None:
    """Raise ``TypeError`` if ``connect()`` returned something, as a view would to refuse."""
    if answer is None:
        return
    name = type(consumer).__name__
    if inspect.iscoroutine(answer):
        answer.close()
        raise TypeError(
            f"{name}.connect() must return None, got the coroutine {answer.__qualname__}(), which "
            "never ran. Write `await` before the call."
        )
    # The project's own __repr__() has no business on the event loop.
    got = repr(answer) if isinstance(answer, bool) else type(answer).__name__
    raise TypeError(
        f"{name}.connect() must return None, got {got}. To refuse the connection, write "
        "`await self.reject(403)`, or raise PermissionDenied or Http404."
    )


def check_initkwargs(cls: type, function: str, initkwargs: dict[str, Any]) -> None:
    """
    Raise ``TypeError`` for a keyword of ``as_view()`` or ``as_asgi()`` that can't be an attribute.

    The class must have it already, and it must be no hook, verb or fact of ours.
    """
    for name in initkwargs:
        if name in _ours(cls) or not hasattr(cls, name):
            raise TypeError(
                f"{cls.__name__}.{function}() got an unexpected keyword {name!r}: it takes "
                "attributes that the class already has, and no hooks, verbs or facts. "
                f"Set {name} on the class first."
            )
        if name in LIMITS:
            check_limit(cls.__name__, name, initkwargs[name])


def _ours(cls: type) -> set[str]:
    """Return the names of all methods and properties of the base classes in this package."""
    package = __name__.partition(".")[0]
    return {
        name
        for base in cls.__mro__
        if base.__module__.partition(".")[0] == package
        for name, value in vars(base).items()
        if callable(value) or isinstance(value, property | classmethod)
    }
