"""What Prometheus gets: read with its own parser, by the conventions that it has for names."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest
from django.test import RequestFactory, override_settings
from prometheus_client import CollectorRegistry, Counter, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import REGISTRY

from tests.fakes import disconnect, run, text
from wsconsumer import WebsocketConsumer, metrics, sharing
from wsconsumer.counters import COUNTERS, counters
from wsconsumer.prometheus import METRICS, WsconsumerCollector, view
from wsconsumer.sharing import DIRECTORY

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

on = override_settings(WSCONSUMER={"METRICS": True})


@pytest.fixture(autouse=True)
def _from_zero(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv(DIRECTORY, raising=False)
    monkeypatch.setattr(sharing, "_threads", [])
    metrics.forget()
    yield
    metrics.forget()


class Echo(WebsocketConsumer):
    """Sends everything back."""

    async def receive(self, data: str | bytes) -> None:
        await self.send(data)


LABEL = f"{__name__}.Echo"


def scrape() -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Return what the view says, by name and labels."""
    response = view(RequestFactory().get("/metrics"))
    assert response["Content-Type"].startswith("text/plain; version=")
    found: dict[tuple[str, tuple[tuple[str, str], ...]], float] = {}
    for family in text_string_to_metric_families(response.content.decode()):
        for name, labels, value, *_ in family.samples:
            key = (name, tuple(sorted(labels.items())))
            assert key not in found
            found[key] = value
    return found


def value(name: str, **labels: str) -> float | None:
    """Return one sample of a scrape."""
    return scrape().get((name, tuple(sorted(labels.items()))))


@on
async def test_a_connection() -> None:
    """Each number is there under its name."""
    await run(Echo.as_asgi(), text("hello"), disconnect())
    found = scrape()
    for name, labels, expected in (
        ("wsconsumer_connections_open", {"consumer": LABEL}, 0),
        ("wsconsumer_connections_accepted_total", {"consumer": LABEL}, 1),
        ("wsconsumer_connections_ended_total", {"consumer": LABEL, "code": "1001"}, 1),
        ("wsconsumer_handshakes_total", {"outcome": "accepted", "status": "101"}, 1),
        ("wsconsumer_messages_received_total", {"consumer": LABEL}, 1),
        ("wsconsumer_received_bytes_total", {"consumer": LABEL}, 5),
        ("wsconsumer_messages_sent_total", {"consumer": LABEL}, 1),
        ("wsconsumer_sent_bytes_total", {"consumer": LABEL}, 5),
        ("wsconsumer_hook_duration_seconds_count", {"consumer": LABEL, "hook": "receive"}, 1),
        (
            "wsconsumer_hook_duration_seconds_bucket",
            {"consumer": LABEL, "hook": "receive", "le": "+Inf"},
            1,
        ),
        ("wsconsumer_broadcasts_total", {}, 0),
        ("wsconsumer_outbox_bytes", {}, 0),
        ("wsconsumer_engine_away", {}, 0),
    ):
        assert found[name, tuple(sorted(labels.items()))] == expected, name


@on
async def test_all_that_is_promised() -> None:
    """There is each metric of the list and no other, of its type and with its labels and help."""
    await run(Echo.as_asgi(), text("hello"), disconnect())
    registry = CollectorRegistry()
    registry.register(WsconsumerCollector())
    found: dict[str, Any] = {}
    for family in text_string_to_metric_families(generate_latest(registry).decode()):
        name = f"{family.name}_total" if family.type == "counter" else family.name
        found[name] = family
    assert found.keys() == METRICS.keys()
    for name, (kind, help_, labels) in METRICS.items():
        assert (found[name].type, found[name].documentation) == (kind, help_)
        for sample in found[name].samples:
            assert set(sample.labels) - {"le"} == set(labels)


def test_names() -> None:
    """As Prometheus wants them: the unit, in its base, and _total for what only grows."""
    for name, described in METRICS.items():
        assert name.startswith("wsconsumer_")
        assert name.endswith("_total") == (described.type == "counter")
        assert described.help.endswith(".")
        if described.type == "histogram":
            assert name.endswith("_seconds")
        assert set(described.labels) <= {"consumer", "hook", "code", "outcome", "status"}


def test_off() -> None:
    """Without METRICS there are the failure counters alone, and nothing that looks like a zero."""
    counters["hook_failed"] = 3
    found = {name: value for (name, _), value in scrape().items() if name.startswith("wsconsumer")}
    assert found.keys() == {f"wsconsumer_{name}_total" for name in COUNTERS}
    assert found["wsconsumer_hook_failed_total"] == 3


@on
def test_beside_others() -> None:
    """The view shows what else is registered, and nothing twice."""
    assert value("process_start_time_seconds") or value("python_info", **_labels_of("python_info"))
    collector = WsconsumerCollector()
    REGISTRY.register(collector)
    try:
        assert value("wsconsumer_broadcasts_total") == 0
        assert b"wsconsumer_broadcasts_total 0.0" in generate_latest(REGISTRY)
    finally:
        REGISTRY.unregister(collector)


def _labels_of(name: str) -> dict[str, str]:
    return next(dict(labels) for found, labels in scrape() if found == name)


@on
async def test_several_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a shared directory, the numbers of all are summed, also those of prometheus_client."""
    monkeypatch.setenv(DIRECTORY, str(tmp_path))
    await run(Echo.as_asgi(), text("hello"), disconnect())
    assert sharing.write()
    own = tmp_path / f"wsconsumer_{os.getpid()}.json"
    own.rename(tmp_path / f"wsconsumer_{os.getppid()}.json")
    assert value("wsconsumer_messages_received_total", consumer=LABEL) == 2


def test_a_counter_of_the_project() -> None:
    """A project's own metrics are there, too."""
    own = Counter("mine", "Of the project.")
    try:
        own.inc()
        assert value("mine_total") == 1
    finally:
        REGISTRY.unregister(own)
