"""The backend that ``WSCONSUMER["GROUPS"]`` names."""

from __future__ import annotations

import threading
from inspect import isclass
from typing import TYPE_CHECKING, Any

from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string

from .. import conf
from .base import Backend

if TYPE_CHECKING:
    from collections.abc import Mapping

MEMORY = "wsconsumer.groups.memory.MemoryBackend"
"""What it is if the settings say nothing."""


def make_backend() -> Backend:
    """Return a new backend as the settings say, or raise ``ImproperlyConfigured``."""
    return _make(conf.get("GROUPS"))


def _make(configured: Mapping[str, Any]) -> Backend:
    name = configured.get("BACKEND", MEMORY)
    try:
        backend: Any = import_string(name)
    except ImportError as error:
        raise ImproperlyConfigured(
            f"WSCONSUMER['GROUPS'] names the backend {name!r}, which can't be imported: {error}. "
            f"There are {MEMORY} and, with their extras installed, "
            "wsconsumer.groups.redis.RedisBackend and wsconsumer.groups.postgres.PostgresBackend."
        ) from error
    if not (isclass(backend) and issubclass(backend, Backend)):
        raise ImproperlyConfigured(
            f"WSCONSUMER['GROUPS'] names {name!r} as the backend, which is no subclass of "
            "wsconsumer.groups.base.Backend."
        )
    return backend(
        configured.get("LOCATION", ""),
        configured.get("PREFIX", "wsconsumer"),
        configured.get("OPTIONS", {}),
    )


_lock = threading.Lock()
_made: list[tuple[Mapping[str, Any], Backend]] = []


def sync_backend() -> Backend:
    """Return the one backend of this process that is never started, for ``publish_sync()``."""
    configured = conf.get("GROUPS")
    with _lock:
        if not _made or _made[0][0] != configured:
            _made[:] = [(configured, _make(configured))]
        return _made[0][1]
