"""Redis servers of every kind, for this folder."""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.clusters import RedisCluster
from tests.engines import Redis, RedisTLS, Sentinel
from tests.groups.redis.harness import Said
from wsconsumer.groups.redis.threads import forget_publishers

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def directory() -> Iterator[Path]:
    """A directory with a short path, as a Unix socket wants it."""
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


@pytest.fixture(scope="session")
def server(directory: Path) -> Iterator[Redis]:
    """A server that no test ends."""
    redis = Redis(directory)
    yield redis
    redis.stop()


@pytest.fixture(scope="session")
def cluster(directory: Path) -> Iterator[RedisCluster]:
    """A cluster that no test ends."""
    redis = RedisCluster(directory)
    yield redis
    redis.stop()


@pytest.fixture(scope="session")
def sentinel(directory: Path, server: Redis) -> Iterator[Sentinel]:
    """A Sentinel that watches the server."""
    redis = Sentinel(directory, server)
    yield redis
    redis.stop()


@pytest.fixture(scope="session")
def tls(directory: Path) -> Iterator[RedisTLS]:
    """A server that speaks TLS."""
    redis = RedisTLS(directory)
    yield redis
    redis.stop()


@pytest.fixture
def own(directory: Path) -> Iterator[Redis]:
    """A server of this test's own, to end as it likes."""
    redis = Redis(directory)
    yield redis
    redis.stop()


@pytest.fixture
def said() -> Iterator[Said]:
    """What the log says of outages."""
    handler = Said()
    logger = logging.getLogger("wsconsumer.groups")
    logger.addHandler(handler)
    yield handler
    logger.removeHandler(handler)


@pytest.fixture(autouse=True)
def _no_clients() -> Iterator[None]:
    """Leave no connection of a thread behind."""
    yield
    forget_publishers()
