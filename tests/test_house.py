"""The house as it is drawn: what may import what, and what importing costs."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import wsconsumer

PACKAGE = Path(wsconsumer.__file__).parent


def name_of(path: Path) -> str:
    """Return the dotted name of a file's module, below the package."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


HOUSE = [
    "asgi",
    "apps",
    "logouts",
    "management",
    "checks",
    "group_checks",
    "wiring",
    "health",
    "staff",
    "live",
    "opentelemetry",
    "prometheus",
    "json_consumer",
    "messages.docs",
    "messages.asyncapi",
    "messages.typescript",
    "messages.mapped",
    "messages.examples",
    "messages.schemas",
    "messages.consumer",
    "messages.session",
    "messages.interface",
    "messages.handlers",
    "messages.running",
    "messages.events",
    "messages.codecs",
    "messages.errors",
    "messages.types",
    "messages.instances",
    "decorators",
    "consumer",
    "session",
    "belonging",
    "revalidating",
    "group_hooks",
    "connected",
    "spawned",
    "limiting",
    "disconnecting",
    "handshake.dispatcher",
    "handshake.draining",
    "handshake.authorization",
    "handshake.running",
    "handshake.handler",
    "handshake.routes",
    "handshake.authenticators",
    "handshake.expiry",
    "handshake.views",
    "handshake.access",
    "handshake.origin",
    "handshake.redirects",
    "handshake.advice",
    "handshake.response",
    "handshake.lost_upgrade",
    "handshake.request",
    "groups.echo",
    "groups.api",
    "groups.orders",
    "groups.hub",
    "groups.registry",
    "groups.publication",
    "groups.subscriptions",
    "groups.kept",
    "groups.holes",
    "groups.reloads",
    "groups.readings",
    "groups.local",
    "groups.framed",
    "groups.member",
    "groups.redis.backend",
    "groups.redis.cluster",
    "groups.redis.threads",
    "groups.redis.node",
    "groups.redis.letters",
    "groups.redis.publisher",
    "groups.redis.sentinels",
    "groups.redis.slots",
    "groups.redis.scripts",
    "groups.redis.leases",
    "groups.redis.stamps",
    "groups.redis.location",
    "groups.redis.role",
    "groups.postgres.apps",
    "groups.postgres.migrations",
    "groups.postgres.backend",
    "groups.postgres.threads",
    "groups.postgres.leases",
    "groups.postgres.publisher",
    "groups.postgres.wire",
    "groups.postgres.kept",
    "groups.postgres.payload",
    "groups.postgres.aliases",
    "groups.postgres.pooler",
    "groups.postgres.link",
    "groups.postgres.connecting",
    "groups.memory",
    "groups.histories",
    "groups.leases",
    "groups.budget",
    "groups.loading",
    "groups.batching",
    "groups.options",
    "groups.reconnecting",
    "groups.listeners",
    "groups.declared",
    "groups.keeping",
    "groups.leasing",
    "groups.names",
    "groups.envelope",
    "groups.base",
    "clients",
    "sessions",
    "refusals",
    "validity",
    "identities",
    "addresses",
    "verdicts",
    "reporting",
    "observing",
    "hints",
    "connection.monitor",
    "connection.heartbeats",
    "connection.slow_hooks",
    "connection.idling",
    "connection.closing",
    "connection.rating",
    "connection.draining",
    "connection.deadlines",
    "connection.timeline",
    "connection.read_ahead",
    "connection.watchdog",
    "connection.connection",
    "connection.misuse",
    "connection.own_client",
    "connection.outbox",
    "servers",
    "per_thread",
    "threads",
    "databases",
    "waiting",
    "cancellation",
    "misnomers",
    "hooks",
    "limits",
    "sharing",
    "metrics",
    "conf",
    "rates",
    "importing",
    "masking",
    "origins",
    "live_token",
    "framing",
    "protocol",
    "signals",
    "log_thread",
    "throttle",
    "log_fields",
    "counters",
    "escaping",
    "loops",
    "processes",
    "serving",
    "workers",
    "exceptions",
]
"""From the outermost to the innermost: a module imports only what stands below it."""

OUTSIDE = "test"
"""The kit imports what it likes, and nobody imports it."""

FOLDERS = {"handshake", "groups", "groups.redis", "groups.postgres", "connection", "messages"}
"""Folders whose modules have places of their own; any other folder is one room."""

MODULES = sorted(
    path
    for path in PACKAGE.rglob("*.py")
    if path.relative_to(PACKAGE).parts[0] != OUTSIDE and name_of(path) not in ("", *FOLDERS)
)


def room(name: str) -> str:
    """Return the entry of the house that a module, by its name, belongs to."""
    parts = name.split(".")
    while len(parts) > 1 and ".".join(parts[:-1]) not in FOLDERS:
        parts.pop()
    return ".".join(parts)


def imports(path: Path) -> set[str]:
    """Return the rooms that a file imports from, for type checkers or not."""
    package = list(path.relative_to(PACKAGE).parts[:-1])
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = package[: len(package) - node.level + 1]
            base += node.module.split(".") if node.module else []
            names = [".".join((*base, alias.name)) for alias in node.names]
            inside = ".".join(base) in ("", *FOLDERS)
            found.update(map(room, names) if inside else [room(".".join(base))])
    return found


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_module_imports_only_what_stands_below_it(path: Path) -> None:
    """The order of the house is kept, inside the folders too."""
    place = HOUSE.index(room(name_of(path)))
    assert imports(path) - {HOUSE[place]} <= set(HOUSE[place + 1 :])


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_no_module_is_long(path: Path) -> None:
    """A module that needs more than 400 lines has more than one idea."""
    assert len(path.read_text().splitlines()) <= 400


def test_the_house_is_complete() -> None:
    """Each name in the order is a module that exists."""
    assert {room(name_of(path)) for path in MODULES} == set(HOUSE)


def test_importing_costs_nothing() -> None:
    """``import wsconsumer`` touches no settings and imports no server, no redis and no psycopg."""
    program = (
        "import sys, wsconsumer; from django.conf import settings; "
        "assert not settings.configured; "
        "found = {'daphne', 'twisted', 'uvicorn', 'redis', 'psycopg'} & set(sys.modules); "
        "sys.exit(f'imported {found}' if found else 0)"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", program], check=True, timeout=60)


def test_public_names() -> None:
    """What the package promises is there."""
    for name in wsconsumer.__all__:
        assert getattr(wsconsumer, name) is not None


WALL_CLOCK = {
    "handshake.authenticators": "a token that has ended is refused",
    "connection.deadlines": "how long a token still lasts, measured once",
    "validity": "whether a session has expired, as Django sees it",
    "servers.daphne.flow": "daphne's own note of its last ping",
}
"""The modules that read the wall clock, and what for."""


def reads_wall_clock(path: Path) -> bool:
    """Tell whether a file calls ``time()``, ``now()``, or what is like them."""
    for node in ast.walk(ast.parse(path.read_text())):
        match node:
            case ast.Attribute(ast.Name("time"), "time" | "time_ns"):
                return True
            case ast.Attribute(_, "now" | "utcnow" | "today"):
                return True
            case ast.ImportFrom("time", names) if {"time", "time_ns"} & {n.name for n in names}:
                return True
    return False


def test_who_reads_the_wall_clock() -> None:
    """Whoever sets it closes nobody: all else goes by the clock that only goes forward."""
    assert {name_of(path) for path in MODULES if reads_wall_clock(path)} == set(WALL_CLOCK)
