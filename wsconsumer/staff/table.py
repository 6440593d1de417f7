"""What the page shows of the connections, for its template."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from django.template.loader import render_to_string

from ..connected.words import age_in_words, in_order, rates_in_words
from ..groups.loading import current_groups, make_backend

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..connected.asking import Answers
    from ..connected.facts import Facts

LIMIT: Final = 200
"""Connections of each event loop that the page shows."""

PATIENCE: Final = 1.0
"""Seconds that the page waits for a process to begin its answer."""


class Row(NamedTuple):
    """A connection, as the page shows it."""

    facts: Facts
    consumer: str
    age: str
    groups: tuple[str, ...]
    more_groups: int
    process: str
    rates: str


def context_of(answers: Answers, *, may_close: bool, is_filtered: bool) -> dict[str, Any]:
    """Return what the template needs."""
    meant = sum(report.meant for report in answers.reports)
    return {
        "reports": answers.reports,
        "consumers": [
            (name, _short(name), count) for name, count in answers.consumers.most_common()
        ],
        "rows": list(_rows(answers)),
        "has_rates": any(row.sent is not None for row in answers.rows),
        "meant": meant,
        "left_out": max(0, meant - len(answers.rows)),
        "may_close": may_close,
        "is_filtered": is_filtered,
        "is_local": make_backend(current_groups()).is_local,
    }


def _rows(answers: Answers) -> Iterator[Row]:
    for facts in in_order(answers):
        process = answers.process_of(facts)
        yield Row(
            facts,
            consumer=_short(facts.consumer),
            age=age_in_words(facts.age),
            groups=facts.groups[:3],
            more_groups=facts.group_count - len(facts.groups[:3]),
            process="" if process is None else f"{process.host}/{process.pid}",
            rates=rates_in_words(facts),
        )


def _short(consumer: str) -> str:
    return consumer.rpartition(".")[2]


def rendered(context: dict[str, Any]) -> str:
    """Return the table, which the page puts in the place of the one before."""
    return render_to_string("wsconsumer/staff/table.html", context)
