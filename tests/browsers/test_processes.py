"""``socket.js`` in a browser, with an engine between server processes that come and go."""

from __future__ import annotations

import json
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from django.core.management import call_command
from django.db import connections

from tests.browsers.relay import Relay
from tests.browsers.tab import Tab, site
from tests.engines import Redis
from tests.groups.postgres.harness import alias_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_django import Settings

    from tests.engines import Postgres

BACKENDS = "wsconsumer.groups"


@pytest.fixture
def redis() -> Iterator[dict[str, str]]:
    """What a server has to know to find a Redis server of our own."""
    with tempfile.TemporaryDirectory() as directory:
        engine = Redis(Path(directory))
        groups = {"BACKEND": f"{BACKENDS}.redis.RedisBackend", "LOCATION": engine.url}
        yield {"GROUPS": json.dumps(groups)}
        engine.stop()


@pytest.fixture
def postgresql(postgres: Postgres, settings: Settings, django_db_blocker: Any) -> dict[str, str]:
    """What a server has to know to find our PostgreSQL, which has the tables."""
    settings.INSTALLED_APPS = [*settings.INSTALLED_APPS, "wsconsumer.groups.postgres"]
    with django_db_blocker.unblock(), alias_of("pg", postgres.settings):
        call_command("migrate", "wsconsumer_postgres", database="pg", verbosity=0)
        connections["pg"].close()
    groups = {"BACKEND": f"{BACKENDS}.postgres.PostgresBackend"}
    databases = {"default": postgres.settings}
    return {"GROUPS": json.dumps(groups), "DATABASES": json.dumps(databases)}


@pytest.mark.parametrize("engine", ["redis", "postgresql"])
def test_a_process_is_killed(
    tab: Tab, tmp_path: Path, engine: str, request: pytest.FixtureRequest
) -> None:
    """The page comes back to another one, with all that was said meanwhile, and is not reloaded."""
    variables = request.getfixturevalue(engine)
    with ExitStack() as stack:
        relay = stack.enter_context(Relay(0))
        doomed, other = (
            stack.enter_context(site(tmp_path / name, **variables)) for name in ("a", "b")
        )
        relay.to = doomed.port
        tab.open(relay.port)
        tab.join(doomed)
        tab.say(other, "before")
        tab.until("message before")
        relay.to = 0
        doomed.process.kill()
        tab.until("waiting 1006")
        tab.say(other, "meanwhile")
        relay.to = other.port
        tab.until("open", times=2)
        tab.say(other, "after")
        tab.until("message after")
    assert tab.messages == ["begin", "before", "meanwhile", "after"]
    assert not tab.reloads
