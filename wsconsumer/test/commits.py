"""
What waits for a commit in the transaction of a test, which is rolled back: ``run_on_commit()``.

Django's ``captureOnCommitCallbacks()`` does it for sync tests. In an async one the transaction
belongs to another thread, and nobody else knows which.
"""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING, Any

from asgiref.sync import sync_to_async
from django.db import connections

from ..groups.api import publish_after_commit
from .database import shared_database

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from django.db.backends.base.base import BaseDatabaseWrapper

logger = logging.getLogger("wsconsumer.test")


async def run_on_commit() -> None:
    """
    Do what a commit would do now: call what was given to ``transaction.on_commit()``, in order.

    For async tests under ``TestCase`` or pytest-django's ``db``, whose transaction is rolled back:
    there ``broadcast(..., on_commit=True)`` waits forever. Sync tests have
    ``captureOnCommitCallbacks(execute=True)``.
    """
    async with shared_database():
        await sync_to_async(_run)()


def _run() -> None:
    for connection in connections.all(initialized_only=True):
        blocks: list[Any] = connection.atomic_blocks
        if not all(block._from_testcase for block in blocks):  # noqa: SLF001  # as Django asks
            raise RuntimeError(
                f"run_on_commit() stands for the commit of a test's transaction, but there is "
                f"another one on {connection.alias!r}. Leave its atomic() block first."
            )
        while connection.run_on_commit:  # which gets more if one of them calls on_commit()
            waiting: list[Any] = connection.run_on_commit
            connection.run_on_commit = []
            for _, callback, is_robust in waiting:
                _call(callback, is_robust=is_robust)


def _call(callback: Callable[[], object], *, is_robust: bool) -> None:
    try:
        callback()
    except Exception:
        if not is_robust:
            raise
        logger.exception("%r failed in on_commit().", callback)


def describe_waiting(used: Iterable[BaseDatabaseWrapper]) -> Iterator[str]:
    """Say what waits for a commit on these connections, if anything does."""
    waiting: list[Any] = [entry for connection in used for entry in connection.run_on_commit]
    callbacks = [callback for _, callback, _ in waiting]
    groups = [group for callback in callbacks if (group := _group_of(callback)) is not None]
    others = len(callbacks) - len(groups)
    if groups:
        names = ", ".join(sorted({repr(group) for group in groups}))
        what = "broadcast waits" if len(groups) == 1 else "broadcasts wait"
        yield f"{len(groups)} {what} for a commit, to {names}."
    if others:
        what = "callback waits" if others == 1 else "callbacks wait"
        yield f"{others} {what} for a commit."
    if callbacks:
        yield "The transaction of a test is never committed: write `await run_on_commit()` first."


def _group_of(callback: object) -> str | None:
    """Return the group of a broadcast that waits, ``None`` for another callback."""
    if not (isinstance(callback, partial) and callback.func is publish_after_commit):
        return None
    group: str = callback.args[0].group
    return group
