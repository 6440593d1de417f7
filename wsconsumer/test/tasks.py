"""The tasks that an application starts, so that the kit can name one left behind."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Coroutine

started: ContextVar[list[asyncio.Task[Any]] | None] = ContextVar("wsconsumer.test", default=None)
"""Where tasks are noted that are started in this context, and in the tasks that it starts."""


def note_tasks(loop: asyncio.AbstractEventLoop) -> None:
    """Let a loop note tasks in ``started``, from now on."""
    factory = loop.get_task_factory()
    if getattr(factory, "notes_tasks", False):
        return

    def make_task(
        loop: asyncio.AbstractEventLoop, coro: Coroutine[Any, Any, Any], **kwargs: Any
    ) -> Any:
        make: Any = factory or _default_factory
        task = make(loop, coro, **kwargs)
        noted = started.get()
        if noted is not None:
            noted.append(task)
        return task

    make_task.notes_tasks = True  # type: ignore[attr-defined]  # a mark of ours
    loop.set_task_factory(make_task)


def _default_factory(
    loop: asyncio.AbstractEventLoop, coro: Coroutine[Any, Any, Any], **kwargs: Any
) -> asyncio.Task[Any]:
    return asyncio.Task(coro, loop=loop, **kwargs)
