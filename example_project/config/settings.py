"""Settings of the example project: those of `startproject`, plus `daphne` and `wsconsumer`."""

import os
from pathlib import Path

from .engines import apps, groups, postgres

BASE_DIR = Path(__file__).resolve().parent.parent

# Good enough for a machine that only you can reach. A real site reads its own from the environment.
SECRET_KEY = os.environ.get("DJANGO_SECRET_KEY", "django-insecure-for-development-only")
DEBUG = os.environ.get("DJANGO_DEBUG", "1") == "1"
ALLOWED_HOSTS = ["localhost", "127.0.0.1", "[::1]"]

INSTALLED_APPS = [
    "daphne",  # first, so that `manage.py runserver` serves websockets too
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "wsconsumer",
    "accounts",
    "chat",
    "demo",
]

# All of these also process the opening handshake of a websocket.
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

ROOT_URLCONF = "config.urls"
ASGI_APPLICATION = "config.asgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],  # shared by the apps
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

# What carries broadcasts between processes: nothing (there is one process), Redis or PostgreSQL.
# `postgres` means the database below; `postgres://...` replaces it.
GROUPS_URL = os.environ.get("GROUPS_URL", "")
WSCONSUMER = {"GROUPS": groups(GROUPS_URL)}
INSTALLED_APPS += apps(WSCONSUMER["GROUPS"])

# The path of a file, or postgres://...
DATABASE = os.environ.get("DJANGO_DATABASE", str(BASE_DIR / "db.sqlite3"))
DATABASES = {
    "default": postgres(GROUPS_URL)
    or postgres(DATABASE)
    or {"ENGINE": "django.db.backends.sqlite3", "NAME": DATABASE},
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator"},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "django.contrib.auth.password_validation.NumericPasswordValidator"},
]
LOGIN_URL = "accounts:login"  # where login_required redirects, from pages and sockets alike
LOGIN_REDIRECT_URL = "demo:index"
LOGOUT_REDIRECT_URL = "demo:index"

STATIC_URL = "static/"
USE_TZ = True
TIME_ZONE = "UTC"
