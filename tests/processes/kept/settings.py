"""The settings of a process of the stress; what starts it says which backend and database."""

from tests.processes.settings import (
    ALLOWED_HOSTS,
    DATABASES,
    MIDDLEWARE,
    SECRET_KEY,
    USE_TZ,
    WSCONSUMER,
)

__all__ = ["ALLOWED_HOSTS", "DATABASES", "MIDDLEWARE", "SECRET_KEY", "USE_TZ", "WSCONSUMER"]

ROOT_URLCONF = "tests.processes.kept.site"
INSTALLED_APPS = ["wsconsumer"]
if DATABASES["default"]["ENGINE"] == "django.db.backends.postgresql":
    INSTALLED_APPS.append("wsconsumer.groups.postgres")

# Outages are meant.
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "loggers": {name: {"level": "CRITICAL"} for name in ("wsconsumer", "django.request")},
}
