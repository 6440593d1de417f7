"""``manage.py websockets``: the websocket routes, for people and for programs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from django.core.management.base import BaseCommand

from wsconsumer.handshake.routes import Route, websocket_routes
from wsconsumer.handshake.views import names_of

if TYPE_CHECKING:
    from argparse import ArgumentParser

COLUMNS = ("path", "application", "name", "decorators")


class Command(BaseCommand):
    help = "Lists the websocket routes with their consumers, names and decorators."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--json", action="store_true", help="Print a JSON list of objects.")

    def handle(self, *args: Any, **options: Any) -> None:
        rows = [_row(route) for route in websocket_routes()]
        if options["json"]:
            self.stdout.write(json.dumps(rows, indent=2))
        elif rows:
            self._write_table(rows)
        else:
            self.stderr.write("No websocket routes. Map a consumer: path(..., X.as_view()).")

    def _write_table(self, rows: list[dict[str, Any]]) -> None:
        cells = [[str(name) for name in COLUMNS], *map(_cells, rows)]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        for line in cells:
            padded = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
            self.stdout.write("  ".join(padded).rstrip())


def _row(route: Route) -> dict[str, Any]:
    return {
        "path": route.path,
        "application": ".".join(names_of(route.application)),
        "name": route.name,
        "decorators": route.decorators,
    }


def _cells(row: dict[str, Any]) -> list[str]:
    return [row["path"], row["application"], row["name"], ", ".join(row["decorators"])]
