"""
``manage.py websockets``: how sockets are wired, what is wrong with that, and the routes.

This prints, for people and for programs; ``wiring.py`` has the facts, ``checks.py`` the problems.
Who is connected is another matter: see ``management/connections.py``.
"""

from __future__ import annotations

import json
from itertools import chain, repeat
from typing import TYPE_CHECKING, Any

from django.core.management.base import BaseCommand, CommandError

from wsconsumer.checks import find_problems
from wsconsumer.escaping import quote
from wsconsumer.handshake.routes import Route, read_routes
from wsconsumer.handshake.views import names_of
from wsconsumer.management import connections
from wsconsumer.masking import mask_all
from wsconsumer.wiring import read_wiring

if TYPE_CHECKING:
    from argparse import ArgumentParser
    from collections.abc import Iterator, Mapping, Sequence

    from django.core.checks import CheckMessage

COLUMNS = ("path", "application", "name", "decorators")


class Command(BaseCommand):
    help = (
        "Tells how websockets are wired: settings, asgi.py, servers, origins, threads, the engine "
        "of groups (which it tries), problems and routes. Exits with 1 if something is wrong. With "
        "--live it tells who is connected, with --close it disconnects."
    )
    # They are run one by one, so that what is broken does not hide the rest.
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--json",
            action="store_true",
            help="Print a JSON object: wiring, problems and routes, or who is connected.",
        )
        parser.add_argument(
            "--routes", action="store_true", help="Print the routes alone, and try nothing."
        )
        connections.add_arguments(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        connections.check_unused(options)
        if options["live"] or options["close"]:
            connections.handle(self, options)
            return
        routes, mistake = read_routes()
        rows = [_row(route) for route in routes if route.application is not None]
        if options["routes"]:
            if mistake is not None:
                raise CommandError(mistake)
            self._write({"routes": rows}, as_json=options["json"])
            return
        wiring, problems = read_wiring(), find_problems()
        report = {"wiring": wiring, "problems": list(map(_problem, problems)), "routes": rows}
        self._write(mask_all(report), as_json=options["json"])
        is_wrong = any(problem.is_serious() for problem in problems)
        if is_wrong or wiring["engine"]["error"] is not None:
            raise CommandError("Websockets are not wired right, as told above.")

    def _write(self, report: dict[str, Any], *, as_json: bool) -> None:
        if as_json:
            self.stdout.write(json.dumps(report, indent=2, default=quote))
            return
        if "wiring" in report:
            self._write_wiring(report["wiring"])
            self._write_problems(report["problems"])
        if report["routes"]:
            self._write_table(report["routes"])
        else:
            self.stderr.write("No websocket routes. Map a consumer: path(..., X.as_view()).")

    def _write_wiring(self, wiring: Mapping[str, Any]) -> None:
        for label, text in _lines(wiring):
            self.stdout.write(f"{label:<10} {text}".rstrip())
        engine = wiring["engine"]
        if engine["error"] is None:
            text = f"came back in {engine['seconds'] * 1000:.1f} ms"
            self.stdout.write(f"{'broadcast':<10} {self.style.SUCCESS(text)}")
        else:
            self.stdout.write(f"{'broadcast':<10} {self.style.ERROR(engine['error'])}")
        for label, text in zip(
            chain(["groups"], repeat("")), _groups(wiring["groups"]), strict=False
        ):
            self.stdout.write(f"{label:<10} {text}")
        self.stdout.write()

    def _write_problems(self, problems: Sequence[Mapping[str, Any]]) -> None:
        for problem in problems:
            style = self.style.ERROR if problem["level"] == "error" else self.style.WARNING
            name = f"{problem['level']} {problem['id'] or ''}".rstrip()
            self.stdout.write(f"{style(name)}: {problem['message']}")
            if problem["hint"]:
                self.stdout.write(f"    {problem['hint']}")
        if problems:
            self.stdout.write()

    def _write_table(self, rows: list[dict[str, Any]]) -> None:
        cells = [[str(name) for name in COLUMNS], *map(_cells, rows)]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        for line in cells:
            padded = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
            self.stdout.write("  ".join(padded).rstrip())


def _lines(wiring: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield what the wiring is in words, with labels."""
    engine = wiring["engine"]
    threads = wiring["threads"]
    yield "settings", f"{wiring['settings'] or 'configured by hand'}, DEBUG = {wiring['debug']}"
    yield "versions", _named(wiring["versions"])
    yield "asgi.py", _application(wiring["asgi"])
    yield "servers", _servers(wiring["servers"], wiring["libraries"])
    yield "hosts", _hosts(wiring["hosts"], is_debug=wiring["debug"])
    yield "origins", "; ".join(["the Host's own", *_origins(wiring["origins"])])
    yield (
        "threads",
        f"{threads['HANDSHAKE_THREADS']} for handshakes, {threads['THREADS']} for hooks",
    )
    yield "engine", f"{engine['description'] or engine['backend']}"
    location = f"LOCATION {engine['location']!r}, " if engine["location"] else ""
    if engine["description"]:
        yield "", f"{engine['backend']}, {location}PREFIX {engine['prefix']!r}"
    elif location:
        yield "", location.rstrip(", ")


def _groups(groups: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield each kind of group that was declared, in words."""
    for group in groups:
        if group["keep"]:
            but = "" if group["resume"] else ", and nobody resumes"
            yield f"{group['template']} keeps {group['keep']} for {group['seconds']} s{but}"
        else:
            yield f"{group['template']} keeps nothing"


def _application(asgi: Mapping[str, Any]) -> str:
    if asgi["name"] is None:
        return f"{asgi['error']}, so only the server's command line says what it serves"
    if asgi["error"] is not None:
        return f"{asgi['name']} can't be imported: {asgi['error']}"
    match asgi["serves"]:
        case "websockets":
            return f"{asgi['name']} serves websockets"
        case "http":
            return f"{asgi['name']} is Django's own, which serves no websockets"
        case kind:
            return f"{asgi['name']} is a {kind}, which is not looked into"


def _servers(servers: Mapping[str, str], libraries: Mapping[str, str]) -> str:
    if "uvicorn" not in servers:
        return _named(servers) or "none is installed"
    return f"{_named(servers)} (with {_named(libraries) or 'no library for websockets'})"


def _named(versions: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in versions.items())


def _hosts(hosts: Sequence[str], *, is_debug: bool) -> str:
    if hosts:
        return ", ".join(hosts)
    return "localhost, since DEBUG is on" if is_debug else "none: ALLOWED_HOSTS is empty"


def _origins(origins: Mapping[str, Sequence[str]]) -> Iterator[str]:
    yield from (f"{', '.join(values)} ({name})" for name, values in origins.items() if values)


def _problem(message: CheckMessage) -> dict[str, Any]:
    return {
        "id": message.id,
        "level": "error" if message.is_serious() else "warning",
        "message": str(message.msg),
        "hint": None if message.hint is None else str(message.hint),
    }


def _row(route: Route) -> dict[str, Any]:
    return {
        "path": route.path,
        "application": ".".join(names_of(route.application)),
        "name": route.name,
        "decorators": route.decorators,
    }


def _cells(row: dict[str, Any]) -> list[str]:
    return [row["path"], row["application"], row["name"], ", ".join(row["decorators"])]
