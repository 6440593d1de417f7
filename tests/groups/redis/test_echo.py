"""``manage.py websockets`` with Redis: the engine is tried, and no password shown."""

from __future__ import annotations

import io
import json
import socket
from typing import TYPE_CHECKING, Any

import pytest
from django.core.management import CommandError, call_command
from django.test import override_settings

from wsconsumer.groups.echo import PATIENCE

if TYPE_CHECKING:
    from pathlib import Path

    from tests.clusters import RedisCluster
    from tests.engines import Redis, Sentinel

BACKEND = "wsconsumer.groups.redis.RedisBackend"


def engine(location: Any, **options: Any) -> dict[str, Any]:
    """Return what the command finds out about an engine; it exits with 1 if that has an error."""
    out = io.StringIO()
    groups = {"BACKEND": BACKEND, "LOCATION": location, "OPTIONS": options}
    is_well = True
    with override_settings(WSCONSUMER={"GROUPS": groups}):
        try:
            call_command("websockets", "--json", stdout=out, stderr=out)
        except CommandError:
            is_well = False
    assert "hunter2" not in out.getvalue()
    found: dict[str, Any] = json.loads(out.getvalue())["wiring"]["engine"]
    assert is_well == (found["error"] is None)
    return found


def test_redis(server: Redis) -> None:
    """A broadcast comes back."""
    found = engine(server.url)
    assert found["error"] is None
    assert 0 < found["seconds"] < PATIENCE
    assert found["description"] == f"Redis at 127.0.0.1:{server.port}"


def test_with_a_password(own: Redis) -> None:
    """One that is right works, one that is wrong is told; neither is shown."""
    address = f"127.0.0.1:{own.port}"
    own.command("CONFIG", "SET", "requirepass", "hunter2")
    try:
        found = engine(f"redis://:hunter2@{address}")
        assert found["error"] is None
        assert found["location"] == f"redis://:***@{address}"
        found = engine(f"redis://{address}?password=hunter2")
        assert found["error"] is None
        assert found["location"] == f"redis://{address}?password=***"
        found = engine(f"redis://:hunter222@{address}")
        assert found["error"].startswith("AuthenticationError: ")
    finally:
        own.set_password("", with_password="hunter2")


def test_sentinels(server: Redis, sentinel: Sentinel) -> None:
    """The Sentinels are asked, and their master is tried."""
    address = f"127.0.0.1:{sentinel.port}"
    found = engine([f"redis://{address}"], SENTINEL="mymaster")
    assert found["error"] is None
    assert found["description"] == f"Redis 'mymaster' of the Sentinels at {address}"


def test_a_cluster(cluster: RedisCluster) -> None:
    """Some of its servers are enough."""
    port = cluster.nodes[0].port
    found = engine([f"redis://127.0.0.1:{port}"], CLUSTER=True)
    assert found["error"] is None
    assert found["description"] == f"Redis Cluster at 127.0.0.1:{port}"


def test_no_socket(tmp_path: Path) -> None:
    """A Unix socket that is not there is told by its path."""
    found = engine(f"unix://me:hunter2@{tmp_path}/redis.sock?db=0")
    assert found["error"].startswith("ConnectionError: ")
    assert found["location"] == f"unix://me:***@{tmp_path}/redis.sock?db=0"


@pytest.mark.parametrize("options", [{}, {"SENTINEL": "mymaster"}, {"CLUSTER": True}])
@pytest.mark.timeout(60)
def test_silence(options: dict[str, Any]) -> None:
    """One that accepts a connection and says nothing is not waited for without end."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        found = engine([f"redis://:hunter2@127.0.0.1:{port}"], TIMEOUT=0.2, **options)
    assert "Timeout" in found["error"] or "no answer" in found["error"]
