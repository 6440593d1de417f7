"""
The backends of this process: the one that ``WSCONSUMER["GROUPS"]`` names, made and found.

A hub makes one for its event loop and says when it is started. ``sync_backend()`` finds the one for
code without an event loop: a started one, if there is any, since it knows whether the engine is
away.
"""

from __future__ import annotations

import asyncio
import os
import threading
from inspect import isclass
from typing import TYPE_CHECKING, Any

from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string

from .. import conf, metrics
from ..escaping import quote
from ..importing import explain_import
from ..masking import mask
from .base import Backend
from .listeners import listen

if TYPE_CHECKING:
    from collections.abc import Mapping

MEMORY = "wsconsumer.groups.memory.MemoryBackend"
"""The backend if the settings name none."""


_instead: Mapping[str, Any] | None = None
"""What the test kit has put in the place of ``WSCONSUMER["GROUPS"]``."""


def use_instead(groups: Mapping[str, Any] | None) -> None:
    """Let groups be carried as this says, whatever the settings are; ``None`` ends it."""
    global _instead  # of the process, as the settings are
    _instead = groups


def current_groups() -> Mapping[str, Any]:
    """Return what says how groups are carried now."""
    groups: Mapping[str, Any] = conf.get("GROUPS") if _instead is None else _instead
    return groups


def make_backend(groups: Mapping[str, Any]) -> Backend:
    """Return a new backend as ``WSCONSUMER["GROUPS"]`` says, or raise ``ImproperlyConfigured``."""
    if metrics.is_on():
        listen(metrics.count_broadcast)
    name = groups.get("BACKEND", MEMORY)
    if not all(map(str.isidentifier, name.split("."))):
        # No import, whose error would quote a part of what may be a URL with a password.
        raise _not_imported(name, "it is no dotted path")
    try:
        backend: Any = import_string(name)
    except Exception as error:
        raise _not_imported(name, explain_import(error)) from error
    if not (isclass(backend) and issubclass(backend, Backend)):
        raise ImproperlyConfigured(
            f"WSCONSUMER['GROUPS'] names {quote(name)} as the backend, which is no subclass of "
            "wsconsumer.groups.base.Backend."
        )
    location = groups.get("LOCATION", "")
    prefix = groups.get("PREFIX")
    if prefix is None:
        prefix = backend.default_prefix(location)
    return backend(location, prefix, groups.get("OPTIONS", {}))


def _not_imported(name: str, reason: str) -> ImproperlyConfigured:
    return ImproperlyConfigured(
        f"WSCONSUMER['GROUPS'] names the backend {quote(mask(name))}, which can't be imported: "
        f"{reason}. There are {MEMORY}, wsconsumer.groups.redis.RedisBackend "
        '(pip install "wsconsumer[redis]") and wsconsumer.groups.postgres.PostgresBackend '
        '(pip install "wsconsumer[postgres]").'
    )


_lock = threading.Lock()
_idle: list[tuple[Mapping[str, Any], Backend]] = []
_started: dict[Backend, tuple[Mapping[str, Any], asyncio.AbstractEventLoop]] = {}

# What runs in the parent of a forked process does not run in the child.
os.register_at_fork(after_in_child=_started.clear)


def add_started(backend: Backend) -> None:
    """Note that a backend carries for the running event loop, as the settings say now."""
    with _lock:
        _started[backend] = (current_groups(), asyncio.get_running_loop())


def discard_started(backend: Backend) -> None:
    """Note that it does so no more."""
    with _lock:
        _started.pop(backend, None)


def sync_backend() -> Backend:
    """Return the backend for ``publish_sync()``: a started one, else the one that never is."""
    groups = current_groups()
    with _lock:
        for backend, (made_of, loop) in tuple(_started.items()):
            if loop.is_closed():  # a loop that ended without close_hub()
                del _started[backend]
            elif made_of == groups:
                return backend
        if not _idle or _idle[0][0] != groups:
            _idle[:] = [(groups, make_backend(groups))]
        return _idle[0][1]
