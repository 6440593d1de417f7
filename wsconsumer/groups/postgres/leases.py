"""
The leases of processes in PostgreSQL: what is asked of the tables, and what their rows say.

The second migration of the app says what the tables are for. Keys are there as tokens, as groups
are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from ..leasing import TOLD_FOR, Beat
from .link import array
from .payload import token
from .wire import Statement

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ..leasing import Entry


def _rows(result: Any, _: int) -> list[tuple[str, ...]]:
    return [
        tuple(result.get_value(row, column).decode() for column in range(result.nfields))
        for row in range(result.ntuples)
    ]


BEGIN: Final = Statement(
    "INSERT INTO wsconsumer_process (channel, name, held_until)"
    " VALUES ($1, $2, clock_timestamp() + make_interval(secs => $3::float8))"
    " ON CONFLICT (channel, name) DO UPDATE SET held_until = EXCLUDED.held_until"
)

BEAT: Final = Statement(
    "SELECT unnest(wsconsumer_beat($1, $2, $3::float8, $4::int))",
    _rows,
)

ADMIT: Final = Statement(
    "SELECT array_to_string(wsconsumer_admit("
    "$1, $2, $3::text[], $4::int[], $5::int[], $6::text[], $7::int[]), ',')",
    lambda result, _: result.get_value(0, 0),
)

COUNTED: Final = Statement(
    "SELECT one.key, holder.name, one.count FROM wsconsumer_count AS one"
    " JOIN wsconsumer_process AS holder ON holder.id = one.process"
    " WHERE holder.channel = $1 AND holder.held_until > clock_timestamp()"
    " AND one.key = ANY ($2::text[])",
    _rows,
)

LEAVE: Final = Statement("DELETE FROM wsconsumer_process WHERE channel = $1 AND name = $2")


def beat_arguments(process: str, seconds: float) -> tuple[str, ...]:
    """Return what ``BEAT`` is asked with."""
    return process, str(seconds), str(TOLD_FOR)


def beat_of(rows: Sequence[tuple[str, ...]]) -> Beat:
    """Return what it answered."""
    (held,), *lapsed = rows
    return Beat(bool(held), [name for (name,) in lapsed])


def admit_arguments(
    process: str, counts: Mapping[str, int], entries: Sequence[Entry]
) -> tuple[str, ...]:
    """Return what ``ADMIT`` is asked with."""
    wanted = [(number, *each) for number, entry in enumerate(entries) for each in entry]
    return (
        process,
        array(map(token, counts)),
        array(map(str, counts.values())),
        array(str(number) for number, _, _ in wanted),
        array(token(key) for _, key, _ in wanted),
        array(str(limit) for _, _, limit in wanted),
    )


def answers_of(text: bytes | None) -> list[bool] | None:
    """Return what it answered."""
    if text is None:
        return None
    return [answer == b"1" for answer in text.split(b",") if answer]


def counts_of(
    rows: Sequence[tuple[str, ...]], keys: Mapping[str, str]
) -> dict[str, dict[str, int]]:
    """Return the counts in the rows of ``COUNTED``; ``keys`` has the keys by their tokens."""
    found: dict[str, dict[str, int]] = {key: {} for key in keys.values()}
    for name, process, count in rows:
        found[keys[name]][process] = int(count)
    return found
