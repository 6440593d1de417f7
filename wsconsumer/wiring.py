"""
How sockets are wired: the facts that decide whether one can open, for ``manage.py websockets``.

Each is read as it is, right or wrong, and none keeps another from being read. What is wrong with
them is told by the system checks.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from importlib import metadata
from typing import Any, Final, NamedTuple

import django
from django.conf import ENVIRONMENT_VARIABLE, settings
from django.contrib.staticfiles.handlers import ASGIStaticFilesHandler
from django.core.exceptions import ImproperlyConfigured
from django.core.handlers.asgi import ASGIHandler
from django.utils.module_loading import import_string

from . import conf
from .escaping import quote
from .exceptions import BackendError
from .groups.declared import declared_groups
from .groups.echo import hear_echo
from .groups.loading import MEMORY, make_backend
from .handshake.dispatcher import WebsocketDispatcher
from .importing import explain_import
from .masking import mask, mask_text

SERVERS: Final = ("daphne", "granian", "hypercorn", "uvicorn")

LIBRARIES: Final = ("websockets", "wsproto")
"""Of these uvicorn needs one."""


def read_wiring() -> dict[str, Any]:
    """Return the facts, of types that JSON has; the engine is tried, within bounds."""
    return {
        "settings": os.environ.get(ENVIRONMENT_VARIABLE),
        "debug": bool(settings.DEBUG),
        "versions": {
            "python": platform.python_version(),
            "django": django.get_version(),
            **_versions("wsconsumer"),
        },
        "asgi": _asgi(),
        "servers": _versions(*SERVERS),
        "libraries": _versions(*LIBRARIES),
        "hosts": _texts(settings.ALLOWED_HOSTS),
        "origins": {
            "CSRF_TRUSTED_ORIGINS": _texts(settings.CSRF_TRUSTED_ORIGINS),
            "ALLOWED_ORIGINS": _texts(conf.peek("ALLOWED_ORIGINS")),
        },
        "threads": {name: conf.peek(name) for name in ("HANDSHAKE_THREADS", "THREADS")},
        "engine": _engine(),
        "groups": [
            {
                "template": group.template,
                "keep": group.keep.size,
                "seconds": group.keep.seconds,
                "resume": group.resume,
            }
            for group in declared_groups()
        ],
    }


def _versions(*names: str) -> dict[str, str]:
    found = {}
    for name in names:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _texts(values: Any) -> list[str]:
    """Return a list of texts, whatever a setting has in its place."""
    return [str(value) for value in values] if isinstance(values, list | tuple) else [quote(values)]


class Application(NamedTuple):
    """What ``ASGI_APPLICATION`` names: the application, or why it can't be imported."""

    name: Any
    value: object = None
    error: str | None = None

    @property
    def serves(self) -> str | None:
        """``"websockets"``, ``"http"`` alone, or ``None`` for what can't be looked into."""
        if isinstance(self.value, WebsocketDispatcher):
            return "websockets"
        return "http" if isinstance(self.value, ASGIHandler) else None


def read_application() -> Application | None:
    """Import what ``ASGI_APPLICATION`` names, if it is set. That does not count as serving."""
    name = getattr(settings, "ASGI_APPLICATION", None)
    if name is None:
        return None
    try:
        value = import_string(name)
    except (Exception, SystemExit) as error:  # noqa: BLE001  # whatever the project's code raises
        return Application(name, error=explain_import(error))
    while isinstance(value, ASGIStaticFilesHandler):
        value = value.application
    return Application(name, value)


def _asgi() -> dict[str, Any]:
    application = read_application()
    if application is None:
        return {"name": None, "serves": None, "error": "ASGI_APPLICATION is not set"}
    kind = type(application.value)
    return {
        "name": str(application.name),
        "serves": application.serves or f"{kind.__module__}.{kind.__qualname__}",
        "error": application.error,
    }


def _engine() -> dict[str, Any]:
    groups = conf.peek("GROUPS")
    if not isinstance(groups, Mapping):
        groups = {}
    facts: dict[str, Any] = {
        "backend": mask(groups.get("BACKEND", MEMORY)),
        "location": mask(groups.get("LOCATION", "")),
        "prefix": None,
        "description": None,
        "seconds": None,
        "error": None,
    }
    try:
        backend = make_backend(conf.get("GROUPS"))
        facts |= {"prefix": backend.prefix, "description": backend.describe()}
        facts["seconds"] = hear_echo(backend)
    except ImproperlyConfigured as error:
        facts["error"] = f"not tried: {error}"
    except BackendError as error:
        facts["error"] = mask_text(str(error))
    except Exception as error:  # noqa: BLE001  # whatever a backend of the project's raises
        facts["error"] = f"not tried: {explain_import(error)}"
    return facts
