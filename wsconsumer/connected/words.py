"""What is told of connections, put into order and words."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .asking import Answers
    from .facts import Facts


def in_order(answers: Answers) -> list[Facts]:
    """Return the connections by consumer and path, the oldest first."""
    return sorted(answers.rows, key=lambda row: (row.consumer, row.path, -row.age))


def age_in_words(seconds: float) -> str:
    """Return an age such as ``5m12s``: the two largest units."""
    days, rest = divmod(int(seconds), 86_400)
    hours, rest = divmod(rest, 3_600)
    minutes, rest = divmod(rest, 60)
    if days:
        return f"{days}d{hours:02}h"
    if hours:
        return f"{hours}h{minutes:02}m"
    return f"{minutes}m{rest:02}s" if minutes else f"{rest}s"


def rates_in_words(facts: Facts) -> str:
    """Return messages a second such as ``0.5 in, 12 out``; empty where they are not counted."""
    if facts.received is None or facts.sent is None:
        return ""
    return f"{facts.received:g} in, {facts.sent:g} out"
