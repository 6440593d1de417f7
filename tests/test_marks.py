"""``tests/marks.py``: tests that take long are marked by what they use."""

from __future__ import annotations

import pytest

from tests.marks import PATIENCE


@pytest.fixture
def directory() -> None:
    """A fixture by the name of the one that Redis tests share."""


def timeout(request: pytest.FixtureRequest) -> object:
    """Return the seconds that the running test has by a marker."""
    mark = request.node.get_closest_marker("timeout")
    return mark and mark.args[0]


def test_a_unit_test(request: pytest.FixtureRequest) -> None:
    """A test that uses nothing of the kind has no marker, and the timeout of the settings."""
    assert list(request.node.iter_markers()) == []
    assert request.config.getini("timeout") == "10"


@pytest.mark.usefixtures("directory")
def test_a_fixture(request: pytest.FixtureRequest) -> None:
    """A fixture marks the tests that use it, and gives them more time."""
    assert request.node.get_closest_marker("engines")
    assert timeout(request) == PATIENCE


@pytest.mark.parametrize("database", ["postgresql"])
def test_a_parameter(request: pytest.FixtureRequest, database: str) -> None:
    """So does a parameter that names an engine."""
    assert database
    assert request.node.get_closest_marker("engines")


@pytest.mark.usefixtures("directory")
@pytest.mark.timeout(30)
def test_a_timeout_of_its_own(request: pytest.FixtureRequest) -> None:
    """A timeout that stands at the test takes precedence."""
    assert timeout(request) == 30
