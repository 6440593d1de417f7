"""Every scenario runs against every server, except for the limits that are known."""

from collections.abc import Iterator

import pytest

from tests.servers.harness import COMMANDS, Server, running
from tests.servers.known_limits import KNOWN_LIMITS, scenario_of


@pytest.fixture(scope="session", params=COMMANDS)
def server_name(request: pytest.FixtureRequest) -> str:
    """Each server's name in turn."""
    name: str = request.param
    return name


@pytest.fixture(scope="session")
def server(server_name: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A running server, the same for all scenarios that leave it running."""
    with running(server_name, tmp_path_factory.mktemp(server_name)) as server:
        yield server


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Expect the known limits to fail, each with the error it is known for."""
    for item in items:
        limit = KNOWN_LIMITS.get(scenario_of(item.name))
        if limit is not None and limit.here:
            mark = pytest.mark.xfail(strict=True, reason=limit.reason, raises=limit.raises)
            item.add_marker(mark)
