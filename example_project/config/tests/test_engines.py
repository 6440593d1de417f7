"""What the environment says, and what Django's settings become of it."""

from __future__ import annotations

import pytest
from django.core.exceptions import ImproperlyConfigured

from config.engines import apps, groups, postgres


def test_no_engine() -> None:
    """Without a GROUPS_URL the groups are what they are without settings."""
    assert groups("") == {}
    assert apps(groups("")) == []


@pytest.mark.parametrize(
    "url", ["redis://localhost:6379/0", "rediss://:secret@cache:6380", "unix:///run/redis.sock"]
)
def test_groups_in_redis(url: str) -> None:
    """A URL of Redis is handed on as it is."""
    assert groups(url) == {"BACKEND": "wsconsumer.groups.redis.RedisBackend", "LOCATION": url}


@pytest.mark.parametrize("url", ["postgres", "postgres://localhost/chat", "postgresql:///chat"])
def test_groups_in_postgres(url: str) -> None:
    """With PostgreSQL the groups use the project's own database."""
    backend = "wsconsumer.groups.postgres.PostgresBackend"
    assert groups(url) == {"BACKEND": backend, "LOCATION": "default"}
    assert apps(groups(url)) == ["wsconsumer.groups.postgres"]


@pytest.mark.parametrize("url", ["amqp://localhost", "memory", "localhost:6379"])
def test_another_engine(url: str) -> None:
    """What is no engine of groups is named, with those that are."""
    with pytest.raises(ImproperlyConfigured, match=rf"redis, rediss, unix, .*got '{url}'"):
        groups(url)


@pytest.mark.parametrize("url", ["", "postgres", "/srv/db.sqlite3", "redis://localhost"])
def test_no_database_server(url: str) -> None:
    """What is no URL of PostgreSQL names no such database."""
    assert postgres(url) == {}


def test_a_database_server() -> None:
    """A URL of PostgreSQL is taken apart, whatever characters the password has."""
    assert postgres("postgres://ada:p%40ss%2Fword@db.example:5433/chat?sslmode=require") == {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": "chat",
        "USER": "ada",
        "PASSWORD": "p@ss/word",
        "HOST": "db.example",
        "PORT": "5433",
        "OPTIONS": {"sslmode": "require"},
    }


def test_a_database_server_behind_a_socket() -> None:
    """What the URL leaves out is left to PostgreSQL's own defaults, or in the query."""
    assert postgres("postgres:///chat?host=/run/postgresql") == {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": "chat",
        "USER": "",
        "PASSWORD": "",
        "HOST": "",
        "PORT": "",
        "OPTIONS": {"host": "/run/postgresql"},
    }
