"""
What stands before ``dispatch()``: Django's access mixins, decorators, overrides.

They work on a consumer as on any view. What would silently let everybody in, such as a mixin behind
the consumer or an ``async def``, is refused when the class is made.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from asgiref.sync import iscoroutinefunction
from django.views import View

from ..hooks import HOOKS

if TYPE_CHECKING:
    from collections.abc import Iterator


def check_view(cls: type, ours: type) -> None:
    """Raise ``TypeError`` for a class that can't be a view; ``ours`` ends ``dispatch()``."""
    if issubclass(cls, View):
        raise TypeError(
            f"{cls.__name__} has Django's View among its bases, but a consumer is a view itself. "
            "Leave it out; mixins that are no View, such as LoginRequiredMixin, can stay."
        )
    _check_order(cls, ours)
    _check_sync(cls, ours)


def _check_order(cls: type, ours: type) -> None:
    """Refuse a mixin whose ``dispatch()`` or hook stands behind ours, where nobody calls it."""
    behind = cls.__mro__[cls.__mro__.index(ours) + 1 :]
    for name in ("dispatch", "setup", *HOOKS):
        lost = next((base for base in behind if name in vars(base)), None)
        # Whoever overrides a hook may call those of all bases; dispatch() ends at ours.
        if lost is not None and (name == "dispatch" or _is_ours(getattr(cls, name))):
            raise TypeError(
                f"{cls.__name__} has {lost.__name__} behind the consumer, where its {name}() never "
                f"runs. Write `class {cls.__name__}({_right_order(cls, ours)})`: mixins come first."
            )


def _is_ours(method: Any) -> bool:
    return str(getattr(method, "__module__", "")).partition(".")[0] == __name__.partition(".")[0]


def _right_order(cls: type, ours: type) -> str:
    mixins_first = sorted(cls.__bases__, key=lambda base: issubclass(base, ours))
    return ", ".join(base.__name__ for base in mixins_first)


def _check_sync(cls: type, ours: type) -> None:
    """Refuse an ``async def`` where the caller does not await: its coroutine would be a yes."""
    for base in cls.__mro__:
        if base is not ours and base.__module__ != "django.contrib.auth.mixins":
            continue
        for name, method in vars(base).items():
            if inspect.isfunction(method) and iscoroutinefunction(getattr(cls, name)):
                raise TypeError(
                    f"{cls.__name__}.{name} must be a plain function, got a coroutine function. "
                    f"Write `def {name}(self, ...)`: it runs with the handshake, in a thread, "
                    "where sync code such as the ORM's belongs."
                )


def refuse_dispatch(cls: type, ours: type) -> None:
    """Raise ``TypeError`` if something stands before ``dispatch()``, which ``as_asgi()`` skips."""
    for base in before_dispatch(cls, ours):
        raise TypeError(
            f"{cls.__name__}.as_asgi() has no handshake, so dispatch() of {base.__name__} would "
            f"never run. Map {cls.__name__}.as_view() in urls.py, which calls it, as does "
            f"wsconsumer.test.connect({cls.__name__}) in a test."
        )


def before_dispatch(cls: type, ours: type) -> Iterator[type]:
    """Return the classes whose ``dispatch()`` comes before ours, outermost first."""
    before = cls.__mro__[: cls.__mro__.index(ours)]
    return (base for base in before if "dispatch" in vars(base))
