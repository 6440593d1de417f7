"""Where a hook is at: the frames from its first line to the innermost."""

from __future__ import annotations

import traceback
from itertools import dropwhile
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import FrameType

_PACKAGE: Final = __name__.partition(".")[0]
_CALLERS: Final = frozenset(
    f"{_PACKAGE}.{name}" for name in ("session", "spawned", "group_hooks", "messages.session")
)
"""The modules that call hooks, or what was spawned."""


def frames_of_coroutine(coroutine: Any) -> list[FrameType]:
    """Return the frames of a coroutine that waits, outermost first, as far as they can be seen."""
    frames: list[FrameType] = []
    while (frame := getattr(coroutine, "cr_frame", None)) is not None:
        frames.append(frame)
        coroutine = coroutine.cr_await
    return frames


def frames_of_hook(frames: Sequence[FrameType]) -> list[FrameType]:
    """Leave out what is around a hook; nothing is left where none is called."""
    inside = dropwhile(lambda frame: module_of(frame) not in _CALLERS, frames)
    return list(dropwhile(lambda frame: package_of(frame) == _PACKAGE, inside))


def module_of(frame: FrameType) -> str:
    """Return the name of the module whose code runs in a frame."""
    return str(frame.f_globals.get("__name__", ""))


def package_of(frame: FrameType) -> str:
    """Return the name of the package that the module is in."""
    return module_of(frame).partition(".")[0]


def describe_frames(frames: Sequence[FrameType]) -> str:
    """Return the lines of a traceback for frames."""
    lines = traceback.StackSummary.extract((frame, frame.f_lineno) for frame in frames)
    return "".join(lines.format())
