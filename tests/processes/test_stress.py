"""The stress program: a short run of it on each engine, and that its judge sees what is wrong."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.processes.client import Entry
from tests.processes.judge import UNKNOWN, Judge, Publisher, Verdict, filler
from tests.stress import ENGINES, stress

if TYPE_CHECKING:
    from collections.abc import Sequence


@pytest.mark.parametrize("engine", ENGINES)
def test_stress(engine: str) -> None:
    """Through an outage, nothing comes twice, out of order, or to a stranger; nothing is lost."""
    verdict = stress(engine, seed=1, seconds=2, processes=2)
    assert verdict.violations == [], str(verdict)
    assert min(verdict.joins, verdict.owed) > 0, str(verdict)
    # A cluster whose servers change places is never away.
    assert verdict.backend_errors > 0 or engine == "redis-cluster", str(verdict)


def came(number: int, by: str = "p", group: str = "g") -> str:
    """Return a message as it comes."""
    return json.dumps({"by": by, "group": group, "number": number, "size": 0, "filler": ""})


def judged(
    *log: tuple[float, str, Any],
    is_open: bool = True,
    outages: Sequence[tuple[float, float]] = (),
    errors: Sequence[str | None] = (None,) * 5,
    lag: float = 0.0,
) -> Verdict:
    """Judge one client, where the numbers 0 to 4 were published, each at 10 times itself."""
    judge = Judge(lag)
    judge.outages.extend(outages)
    publisher = Publisher("p")
    for number, error in enumerate(errors):
        judge.publish([publisher.message("g")], 10 * number, 10 * number + 1, [error])
    return judge.verdict({"c": ([Entry(*entry) for entry in log], is_open)})


JOINED = ((-2.0, "join", "g"), (-1.0, "joined", "g"))
ALL = [(10.0 * number + 2, "came", came(number)) for number in range(5)]


def test_the_judge_is_content() -> None:
    """One who gets everything in order has nothing to complain of."""
    verdict = judged(*JOINED, *ALL)
    assert verdict.violations == []
    assert (verdict.joins, verdict.published, verdict.deliveries, verdict.owed) == (1, 5, 5, 5)


def test_the_judge_sees_what_comes_twice() -> None:
    """A message that comes again is a duplicate, and nothing else."""
    verdict = judged(*JOINED, *ALL, ALL[-1])
    assert verdict.violations == verdict.duplicates
    assert len(verdict.duplicates) == 1


def test_the_judge_sees_what_comes_out_of_order() -> None:
    """A message that comes after a later one is out of order; publishers have no common order."""
    verdict = judged(*JOINED, ALL[1], ALL[0], *ALL[2:])
    assert verdict.violations == verdict.misorders
    assert len(verdict.misorders) == 1
    other = (9.0, "came", came(7, by="q"))
    assert judged(*JOINED, other, *ALL).violations == []


@pytest.mark.parametrize(
    "log",
    [
        [ALL[0]],
        [(-3.0, "came", came(0)), *JOINED, *ALL[1:]],
        [*JOINED, *ALL[:2], (12.5, "leave", "g"), (13.0, "left", "g"), ALL[2]],
        [(-2.0, "join", "other"), (-1.0, "joined", "other"), ALL[0]],
    ],
    ids=["never joined", "before joining", "after leaving", "another group"],
)
def test_the_judge_sees_strays(log: list[tuple[float, str, Any]]) -> None:
    """What comes to one who is no member is a stray."""
    assert len(judged(*log).strays) == 1


def test_the_judge_sees_losses() -> None:
    """A member must get all that was published since its join was answered."""
    assert len(judged(*JOINED, *ALL[:2], *ALL[3:]).losses) == 1
    assert len(judged(*JOINED, *ALL[:2]).losses) == 3
    assert len(judged((-2.0, "join", "g"), (15.0, "joined", "g"), *ALL[3:]).losses) == 1


def test_the_judge_knows_what_may_be_lost() -> None:
    """Lost may be what an outage met, what failed, and what came when the member was leaving."""
    rest = (*ALL[:2], *ALL[3:])
    assert judged(*JOINED, *rest, outages=[(15.0, 25.0)]).losses == []
    assert judged(*JOINED, *rest, outages=[(20.5, 29.0)]).losses == []
    assert len(judged(*JOINED, *rest, outages=[(22.0, 29.0)]).losses) == 1
    assert judged(*JOINED, *rest, errors=(None, None, "BackendError", None, None)).losses == []
    assert judged(*JOINED, *rest, errors=(None, None, UNKNOWN, None, None)).losses == []
    left = ((25.0, "leave", "g"), (26.0, "left", "g"))
    assert judged(*JOINED, *ALL[:2], *left).losses == []
    assert len(judged(*JOINED, ALL[0], ALL[2], *left).losses) == 1
    assert judged(*JOINED, ALL[0], ALL[2], *left, lag=15.0).losses == []
    assert judged(*JOINED, *ALL[:2], is_open=False).losses == []
    assert len(judged(*JOINED, ALL[0], ALL[2], is_open=False).losses) == 1


def test_a_message_must_be_whole() -> None:
    """What came in part is no message."""
    data = {"by": "p", "group": "g", "number": 0, "size": 100, "filler": filler(0, 100)[:-1]}
    with pytest.raises(AssertionError, match="whole"):
        judged(*JOINED, (1.0, "came", json.dumps(data)))
