"""As little Django as a consumer needs: no database, no apps, and a middleware that may answer."""

import json
import os

import django

from tests.origins import ORIGIN_SETTINGS

SECRET_KEY = "not a secret: this project only ever runs inside the test suite"
ALLOWED_HOSTS = ["127.0.0.1", "localhost", "example.com", ".example.org"]
CSRF_TRUSTED_ORIGINS = ORIGIN_SETTINGS["CSRF_TRUSTED_ORIGINS"]
WSCONSUMER = {
    **ORIGIN_SETTINGS["WSCONSUMER"],
    "AUTHORIZATION_SUBPROTOCOL": "Bearer",
    "DRAIN_SECONDS": float(os.environ.get("DRAIN_SECONDS", "0")),
    "GROUPS": json.loads(os.environ.get("GROUPS", "{}")),
}
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
ROOT_URLCONF = "tests.servers.project.urls"
MIDDLEWARE = ["tests.servers.project.middleware.answering"]
DATABASES: dict[str, dict[str, str]] = json.loads(os.environ.get("DATABASES", "{}"))
USE_TZ = True
SMTP_PORT = int(os.environ.get("SMTP_PORT", "0"))
HANDLERS = ["mail", "journal"] if SMTP_PORT else ["journal"]
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {
        "journal": {"class": "tests.servers.project.journal.JournalHandler"},
        "mail": {"class": "django.utils.log.AdminEmailHandler", "level": "ERROR"},
    },
    "loggers": {
        name: {"handlers": HANDLERS, "level": "INFO"} for name in ("wsconsumer", "asyncio")
    },
}
ADMINS = ["admin@example.com"] if django.VERSION >= (6, 0) else [("Admin", "admin@example.com")]
if django.VERSION >= (6, 1):
    MAILERS = {"default": {"OPTIONS": {"host": "127.0.0.1", "port": SMTP_PORT}}}
else:
    EMAIL_HOST, EMAIL_PORT = "127.0.0.1", SMTP_PORT
