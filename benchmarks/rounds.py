"""
How every benchmark here measures: contenders take turns, round after round, and are compared only
with what ran in the same round. Read ``take_turns`` first.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import platform
import statistics
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeAlias

import wsconsumer

Event: TypeAlias = MutableMapping[str, Any]
Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Any]]
Send: TypeAlias = Callable[[Any], Awaitable[None]]
Application: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[Any]]

Measure: TypeAlias = Callable[[], Awaitable[float]]
"""Runs one contender once and returns seconds per unit of work, whatever the unit is."""

Samples: TypeAlias = Mapping[str, list[float]]
"""Seconds per unit of each contender, one for each round."""


class BrokenContenderError(Exception):
    """A contender did not do the work, so its time would mean nothing."""


async def take_turns(contenders: Mapping[str, Measure], rounds: int) -> Samples:
    """
    Measure every contender once in each round.

    Each round begins with another contender, so that none always runs first. The first round warms
    up (the interpreter specializes code as it runs) and is thrown away. Garbage is collected before
    each measurement, so that nobody pays for another's; what was imported is left out of that.
    """
    gc.freeze()
    names = list(contenders)
    samples: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(rounds + 1):
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            gc.collect()
            seconds = await contenders[name]()
            if turn:
                samples[name].append(seconds)
    return samples


@contextmanager
def no_garbage_collection() -> Iterator[None]:
    """Keep the cyclic collector from running in the middle of a measurement."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@dataclass(frozen=True, slots=True)
class Ratio:
    """Time over another contender's time in the same round: the median, and how far it spreads."""

    median: float
    lower_quartile: float
    upper_quartile: float
    lowest: float
    highest: float

    @classmethod
    def of(cls, times: Iterable[float], others: Iterable[float]) -> Ratio:
        """Compare two contenders round by round."""
        ratios = [time / other for time, other in zip(times, others, strict=True)]
        lower, median, upper = statistics.quantiles(ratios, n=4, method="inclusive")
        return cls(median, lower, upper, min(ratios), max(ratios))

    def __str__(self) -> str:
        digits = 2 if self.median < 10 else 0
        return (
            f"{self.median:.{digits}f} "
            f"({self.lower_quartile:.{digits}f}-{self.upper_quartile:.{digits}f})"
        )


@dataclass(frozen=True, slots=True)
class Result:
    """What one contender did in one table."""

    seconds: float
    per_second: float
    ratios: Mapping[str, Ratio]


@dataclass(frozen=True, slots=True)
class Table:
    """One set of contenders that were measured together."""

    title: str
    unit: str
    results: Mapping[str, Result]

    @classmethod
    def of(cls, title: str, unit: str, samples: Samples, baselines: Iterable[str]) -> Table:
        """Reduce samples to medians, and to ratios to each of the baselines."""
        baselines = list(baselines)
        results = {}
        for name, times in samples.items():
            seconds = statistics.median(times)
            ratios = {baseline: Ratio.of(times, samples[baseline]) for baseline in baselines}
            results[name] = Result(seconds, 1 / seconds, ratios)
        return cls(title, unit, results)

    def __str__(self) -> str:
        baselines = list(next(iter(self.results.values())).ratios)
        heads = ["", f"us/{self.unit}", f"{self.unit}s/s", *(f"time / {b}" for b in baselines)]
        rows = [heads]
        for name, result in self.results.items():
            ratios = [str(result.ratios[baseline]) for baseline in baselines]
            microseconds = f"{result.seconds * 1e6:,.{2 if result.seconds < 1e-4 else 0}f}"
            rows.append([name, microseconds, f"{result.per_second:,.0f}", *ratios])
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = [
            "  ".join(
                cell.rjust(width) if column else cell.ljust(width)
                for column, (cell, width) in enumerate(zip(row, widths, strict=True))
            ).rstrip()
            for row in rows
        ]
        return "\n".join([self.title, "", *lines, ""])


def environment(*packages: str) -> dict[str, str]:
    """Name what the figures depend on: the machine's class, Python, and the packages measured."""
    return {
        "machine": f"{platform.machine()}, {os.cpu_count()} CPUs",
        platform.python_implementation(): platform.python_version(),
        "wsconsumer": wsconsumer.__version__,
        **{package: version(package) for package in packages},
    }


def arguments(description: str | None, rounds: int) -> argparse.ArgumentParser:
    """Return a parser with the arguments that all benchmarks share."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=_rounds, default=rounds, help="default: %(default)s")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures to FILE")
    return parser


def _rounds(text: str) -> int:
    rounds = int(text)
    if rounds < 2:
        raise argparse.ArgumentTypeError("quartiles need at least 2 rounds")
    return rounds


def report(
    note: str, facts: Mapping[str, str], tables: Iterable[Table], json_file: Path | None
) -> None:
    """Print the note of caution, the environment and the tables; write them as JSON if asked."""
    tables = list(tables)
    print(note)
    print(", ".join(f"{name} {value}" for name, value in facts.items()), end="\n\n")
    for table in tables:
        print(table)
    if json_file is not None:
        figures = {"environment": facts, "tables": [asdict(table) for table in tables]}
        json_file.write_text(json.dumps(figures, indent=2) + "\n")
