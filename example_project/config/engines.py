"""Turns environment variables into settings: the engines that the project uses."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from django.core.exceptions import ImproperlyConfigured

REDIS = ("redis", "rediss", "unix")
POSTGRES = ("postgres", "postgresql")


def groups(url: str) -> dict[str, Any]:
    """Return `WSCONSUMER["GROUPS"]` for GROUPS_URL; without one, groups stay in this process."""
    scheme = url.partition("://")[0]
    if not url:
        return {}
    if scheme in REDIS:
        return {"BACKEND": "wsconsumer.groups.redis.RedisBackend", "LOCATION": url}
    if scheme in POSTGRES:
        return {"BACKEND": "wsconsumer.groups.postgres.PostgresBackend", "LOCATION": "default"}
    raise ImproperlyConfigured(
        "GROUPS_URL must be postgres, or a URL with one of the schemes "
        f"{', '.join(REDIS + POSTGRES)}, got {url!r}."
    )


def apps(groups: dict[str, Any]) -> list[str]:
    """Return the apps that a backend needs: PostgreSQL has tables for what groups keep."""
    name = groups.get("BACKEND", "").rpartition(".")[0]
    return [name] if name == "wsconsumer.groups.postgres" else []


def postgres(url: str) -> dict[str, Any]:
    """Return a database for `postgres://user:password@host:port/name?sslmode=require`, else {}."""
    parts = urlsplit(url)
    if parts.scheme not in POSTGRES:
        return {}
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": unquote(parts.path.removeprefix("/")),
        "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""),
        "HOST": parts.hostname or "",
        "PORT": str(parts.port or ""),
        "OPTIONS": dict(parse_qsl(parts.query)),
    }
