"""
What groups keep in PostgreSQL: what is asked of the tables, and what their rows say.

The app ``wsconsumer.groups.postgres`` brings the tables; its migration says what they are for, and
how they keep the order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from django.apps import apps

from ...escaping import escape, quote
from ...exceptions import BackendError
from ..base import Position
from ..envelope import log_refused
from ..keeping import Kept
from .payload import decode_kept

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

APP: Final = "wsconsumer.groups.postgres"
"""The app that has the migrations."""

OUTBOX: Final = "SELECT wsconsumer_put(%s, %s, %s, %s, %s, %s)"
APPEND: Final = (
    "SELECT (wsconsumer_append(%s, ARRAY[%s], ARRAY[%s], ARRAY[%s], ARRAY[%s], ARRAY[%s]))[1]"
)
STANDS: Final = (
    "SELECT token, epoch, top FROM wsconsumer_history"
    " WHERE channel = %s AND token = ANY (%s::text[])"
)
READ: Final = "SELECT token, epoch, top FROM wsconsumer_read(%s, %s::text[], %s::bigint[])"

NOTHING: Final = 2**63 - 1
"""The offset after which nothing is kept."""

_MISSING: Final = ("42P01", "42883")
"""What PostgreSQL says of a table and of a function that are not there."""


class MissingTables(Exception):
    """The app was not migrated, or in another database."""


def problem_of_app() -> str | None:
    """Return what is wrong if the app with the tables is not installed."""
    if apps.is_installed(APP):
        return None
    return (
        f"PostgreSQL needs tables for that. Put {APP!r} in INSTALLED_APPS, and run "
        "manage.py migrate."
    )


def lacks_tables(error: BaseException) -> bool:
    """Return whether PostgreSQL, or Django for it, says that tables or functions are missing."""
    states = (getattr(one, "sqlstate", None) for one in (error, error.__cause__))
    return any(state in _MISSING for state in states)


def explain(error: BaseException, alias: str) -> BaseException:
    """Return an error that says what to do if tables are missing, else the error itself."""
    if not lacks_tables(error):
        return error
    return MissingTables(
        f"DATABASES[{alias!r}] lacks tables or functions of groups. Put {APP!r} in "
        f"INSTALLED_APPS, and run: manage.py migrate wsconsumer_postgres --database {alias}"
    )


def not_read(engine: str, groups: Iterable[str], error: BaseException) -> BackendError:
    """Return the error for histories that can't be read."""
    names = ", ".join(map(quote, groups))
    reason = f"{type(error).__name__}: {str(error).rstrip('.')}"
    return BackendError(f"{engine} does not say what is kept of {names}: {reason}.")


def histories(
    rows: Iterable[Sequence[bytes | None]], names: Mapping[str, str]
) -> Mapping[str, Kept]:
    """Return the histories in the rows of a read; ``names`` has the groups by their tokens."""
    found: dict[str, Kept] = {}
    messages: dict[str, list[tuple[int, bytes]]] = {}
    for row in rows:
        token, epoch, top, number, text = ((value or b"").decode("ascii") for value in row)
        group = names[token]
        if group not in found:
            messages[group] = []
            found[group] = Kept(epoch, int(top), messages[group])
        if number:
            messages[group] += _message(group, int(number), text)
    return found


def _message(group: str, number: int, text: str) -> Iterable[tuple[int, bytes]]:
    try:
        return [(number, decode_kept(text.encode()))]
    except ValueError as error:
        # A hole, which whoever comes over it is told of.
        log_refused("what is kept of %r as number %d: %s.", group, number, escape(error))
        return []


def positions(
    rows: Iterable[tuple[str, str, int]], names: Mapping[str, str]
) -> dict[str, Position]:
    """Return where the groups in these rows stand."""
    return {names[token]: Position(epoch, top) for token, epoch, top in rows}
