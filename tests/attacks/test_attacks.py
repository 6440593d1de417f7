"""The attacks that are quick, on each server and engine."""

import pytest

from tests.attacks.__main__ import ENGINES, on_engine, on_server
from tests.attacks.frames import CASES as FRAMES
from tests.attacks.handshakes import CASES as HANDSHAKES
from tests.attacks.limits import AT_FULL_SIZE, LIMITS
from tests.attacks.table import ON_ENGINES, ON_SERVERS, Attack
from tests.servers.harness import COMMANDS

QUICK = {
    *("connects", "exceptions", "handshakes", "frames", "sigterm", "silent_members"),
    "reconnects",
}
"""Attacks on servers that take seconds at their small sizes."""

ONE = {
    "blocked": "daphne",
    "compresses": "uvicorn-sansio",
    "half_closed": "granian",
    "sigkill": "uvicorn-wsproto",
    "vanishes_idle": "uvicorn-sansio",
}
"""Attacks that take longer, each on one server."""

QUICK_ON_ENGINES = {"killed"}
"""The others take longer, and run with ``make attack``."""


def name(attack: Attack) -> str:
    """Name a parameter."""
    return attack.name


@pytest.mark.parametrize("server", COMMANDS)
@pytest.mark.parametrize("attack", [one for one in ON_SERVERS if one.name in QUICK], ids=name)
def test_a_server_withstands(server: str, attack: Attack) -> None:
    """Each stays within its bounds, except where the server itself is known not to."""
    finding = on_server(attack, server, is_quick=True)
    assert finding.is_bounded == ((server, attack.name) not in LIMITS), str(finding)


@pytest.mark.parametrize("attack", [one for one in ON_SERVERS if one.name in ONE], ids=name)
def test_one_server_withstands(attack: Attack) -> None:
    """What takes longer shows on one server that it is done at all; the others are no different."""
    finding = on_server(attack, ONE[attack.name], is_quick=True)
    assert finding.is_bounded, str(finding)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    "attack", [one for one in ON_ENGINES if one.name in QUICK_ON_ENGINES], ids=name
)
def test_groups_withstand(engine: str, attack: Attack) -> None:
    """Nothing is lost but with the engine, and nothing is doubled or misordered."""
    finding = on_engine(attack, engine, is_quick=True)
    assert finding.is_bounded, str(finding)


def test_limits_name_what_there_is() -> None:
    """A known limit belongs to a server and an attack that exist."""
    attacks = {attack.name for attack in ON_SERVERS}
    known = {**LIMITS, **AT_FULL_SIZE}
    assert {server for server, _ in known} <= set(COMMANDS)
    assert {attack for _, attack in known} <= attacks
    assert attacks >= QUICK | set(ONE)
    assert set(LIMITS).isdisjoint(AT_FULL_SIZE)


def test_the_tables_are_large() -> None:
    """The tables of malformed bytes are not cut short by two cases of the same name."""
    assert len(HANDSHAKES) >= 160
    assert len(FRAMES) >= 170
