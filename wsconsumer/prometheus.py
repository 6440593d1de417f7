"""
What this package counts, for Prometheus: a collector, and a view to be scraped.

Needs ``prometheus_client`` (``pip install "wsconsumer[prometheus]"``) and
``WSCONSUMER["METRICS"]``; without the latter there are only the failure counters. The numbers are
those of ``metrics.py``. Labels are consumer classes, hooks, close codes and outcomes, and never
what a client chooses.
"""

from __future__ import annotations

from itertools import accumulate
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from django.http import HttpResponse
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from . import metrics
from .counters import COUNTERS
from .sharing import directory, shared_snapshot, start

if TYPE_CHECKING:
    from collections.abc import Iterator

    from django.http import HttpRequest

__all__ = ["METRICS", "WsconsumerCollector", "view"]


class Described(NamedTuple):
    """A metric: its type, what it counts, and its labels."""

    type: str
    help: str
    labels: tuple[str, ...] = ()


METRICS: Final = {
    "wsconsumer_connections_open": Described("gauge", "Connections that are open.", ("consumer",)),
    "wsconsumer_connections_accepted_total": Described(
        "counter", "Connections that were accepted.", ("consumer",)
    ),
    "wsconsumer_connections_ended_total": Described(
        "counter",
        "Connections that have ended, by their close code; other codes than those of CloseCode are "
        "other.",
        ("consumer", "code"),
    ),
    "wsconsumer_handshakes_total": Described(
        "counter", "Opening handshakes, by what became of them.", ("outcome", "status")
    ),
    "wsconsumer_messages_received_total": Described(
        "counter", "Messages that receive() was called with.", ("consumer",)
    ),
    "wsconsumer_received_bytes_total": Described(
        "counter", "Bytes of these messages.", ("consumer",)
    ),
    "wsconsumer_messages_sent_total": Described(
        "counter", "Messages that consumers sent to their own client.", ("consumer",)
    ),
    "wsconsumer_sent_bytes_total": Described("counter", "Bytes of these messages.", ("consumer",)),
    "wsconsumer_hook_duration_seconds": Described(
        "histogram", "How long hooks ran.", ("consumer", "hook")
    ),
    "wsconsumer_broadcasts_total": Described(
        "counter", "Broadcasts that were made here, to however many members."
    ),
    "wsconsumer_deliveries_total": Described(
        "counter",
        "Broadcasts that connections got: sent, put into their outbox, or for group_message().",
        ("consumer",),
    ),
    "wsconsumer_delivered_bytes_total": Described(
        "counter", "Bytes of these broadcasts.", ("consumer",)
    ),
    "wsconsumer_outbox_bytes": Described("gauge", "Bytes that wait for slow clients."),
    "wsconsumer_outbox_waiting": Described("gauge", "Connections for which something waits."),
    "wsconsumer_engine_away": Described(
        "gauge", "Connections to the engine behind the groups that are lost."
    ),
    "wsconsumer_event_loop_lag_seconds": Described(
        "histogram", "How late the event loop came to a timer, while connections are open."
    ),
    **{
        f"wsconsumer_{name}_total": Described("counter", f"{text[0].upper()}{text[1:]}.")
        for name, text in COUNTERS.items()
    },
}
"""All metrics. In several processes that share a directory, each is a sum over them."""

_BY_CONSUMER: Final = {
    "wsconsumer_connections_accepted_total": "accepted",
    "wsconsumer_messages_received_total": "messages_received",
    "wsconsumer_received_bytes_total": "received_bytes",
    "wsconsumer_messages_sent_total": "messages_sent",
    "wsconsumer_sent_bytes_total": "sent_bytes",
    "wsconsumer_deliveries_total": "deliveries",
    "wsconsumer_delivered_bytes_total": "delivered_bytes",
}


class WsconsumerCollector(Collector):
    """
    Reads the numbers when Prometheus asks.

    Where another package exposes the registry of the process,
    ``REGISTRY.register(WsconsumerCollector())``, said once, adds them.
    """

    def describe(self) -> list[Metric]:
        """Return the metrics without values, so that registering it collects nothing."""
        return [_family(name) for name in METRICS]

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics with their values."""
        start()
        found = shared_snapshot()
        yield from _counters(found["counters"])
        if metrics.is_on():
            yield from _connections(found["consumers"])
            yield from _process(found)


def _counters(counters: dict[str, int]) -> Iterator[Metric]:
    for name, value in counters.items():
        yield _filled(f"wsconsumer_{name}_total", {(): value})


def _connections(consumers: dict[str, Any]) -> Iterator[Metric]:
    for name, key in _BY_CONSUMER.items():
        yield _filled(name, {(label,): tally[key] for label, tally in consumers.items()})
    yield _filled(
        "wsconsumer_connections_open",
        {
            (label,): tally["accepted"] - sum(tally["ended"].values())
            for label, tally in consumers.items()
        },
    )
    yield _filled(
        "wsconsumer_connections_ended_total",
        {
            (label, code): value
            for label, tally in consumers.items()
            for code, value in tally["ended"].items()
        },
    )
    yield _filled(
        "wsconsumer_hook_duration_seconds",
        {
            (label, hook): histogram
            for label, tally in consumers.items()
            for hook, histogram in tally["hooks"].items()
            if any(histogram["counts"])
        },
    )


def _process(found: dict[str, Any]) -> Iterator[Metric]:
    handshakes = {tuple(key.split()): value for key, value in found["handshakes"].items()}
    yield _filled("wsconsumer_handshakes_total", handshakes)
    yield _filled("wsconsumer_broadcasts_total", {(): found["broadcasts"]})
    yield _filled("wsconsumer_event_loop_lag_seconds", {(): found["lag"]})
    for name, value in found["gauges"].items():
        yield _filled(f"wsconsumer_{name}", {(): value})


_KINDS: Final = {
    "counter": CounterMetricFamily,
    "gauge": GaugeMetricFamily,
    "histogram": HistogramMetricFamily,
}


def _family(name: str) -> Any:
    kind, text, labels = METRICS[name]
    return _KINDS[kind](name, text, labels=labels)


def _filled(name: str, values: dict[tuple[str, ...], Any]) -> Metric:
    family: Any = _family(name)
    for labels, value in values.items():
        if METRICS[name].type == "histogram":
            family.add_metric(labels, _buckets(value["counts"]), value["seconds"])
        else:
            family.add_metric(labels, value)
    metric: Metric = family
    return metric


def _buckets(counts: list[int]) -> list[tuple[str, int]]:
    """Return the buckets as Prometheus has them: each with all that is in those before it."""
    bounds = (*map(str, metrics.BOUNDS), "+Inf")
    return list(zip(bounds, accumulate(counts), strict=True))


def _registry() -> CollectorRegistry:
    """Return what is to be scraped: all that is registered, in all processes, and ours."""
    if directory() is not None:
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]  # it has no types
        registry.register(WsconsumerCollector())
        return registry
    registry = CollectorRegistry()
    registry.register(_Others())
    registry.register(WsconsumerCollector())
    return registry


class _Others(Collector):
    """What is in the registry of the process besides our own."""

    def describe(self) -> list[Metric]:
        """Return nothing, so that registering it collects nothing."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield what is registered there, even where our collector is."""
        ours = {metric.name for metric in WsconsumerCollector().describe()}
        yield from (metric for metric in REGISTRY.collect() if metric.name not in ours)


def view(request: HttpRequest) -> HttpResponse:
    """
    Answer a scrape: a Django view for ``urls.py``.

    It shows what is registered with ``prometheus_client`` as well. Anybody who reaches it can read
    it: keep it from the public in the proxy.
    """
    return HttpResponse(generate_latest(_registry()), content_type=CONTENT_TYPE_LATEST)
