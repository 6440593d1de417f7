"""Prometheus: real scrapes, read with the parser that prometheus_client has for them."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any
from urllib.request import urlopen

from prometheus_client.parser import text_string_to_metric_families
from websockets.asyncio.client import connect

from tests.documents import ROOT
from tests.engines import free_port

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from prometheus_client import Metric

    from tests.cookbook.project import Project

COMMAND = "PROMETHEUS_MULTIPROC_DIR=/run/mysite-metrics uvicorn --workers 2 mysite.asgi:application"

ECHO = {"consumer": "metrics.consumers.EchoConsumer"}


def scrape(address: str) -> dict[str, Metric]:
    """Return the metrics that a server tells, by name."""
    with urlopen(f"http://{address}/metrics") as response:  # our own server
        found = text_string_to_metric_families(response.read().decode())
    return {family.name: family for family in found}


def value(metrics: dict[str, Metric], name: str, **labels: str) -> float:
    """Return one sample: that with these labels, and no others but a histogram's."""
    (found,) = (
        sample.value
        for family in metrics.values()
        for sample in family.samples
        if sample.name == name and sample.labels == labels
    )
    return found


async def until(address: str, condition: Callable[[dict[str, Metric]], bool]) -> dict[str, Metric]:
    """Scrape until something holds."""
    async with asyncio.timeout(20):
        while True:
            found = await asyncio.to_thread(scrape, address)
            if condition(found):
                return found


def open_connections(metrics: dict[str, Metric]) -> float:
    family = metrics.get("wsconsumer_connections_open")
    return sum(sample.value for sample in family.samples) if family else 0


async def talk(address: str) -> None:
    """Hold three connections, each with two messages, while a fourth is refused."""
    async with AsyncExitStack() as stack:
        for _ in range(3):
            url = f"ws://{address}/ws/echo/"
            client = await stack.enter_async_context(connect(url, proxy=None, open_timeout=20))
            for text in ("hello", "wörld"):
                await client.send(text)
                assert await client.recv() == text
        found = await until(address, lambda metrics: open_connections(metrics) == 3)
        assert value(found, "wsconsumer_connections_accepted_total", **ECHO) == 3


def test_a_scrape(project: Project) -> None:
    """On daphne, each metric is of its type, and a dashboard finds all that it asks for."""
    with project.serve() as address:
        asyncio.run(talk(address))
        found = asyncio.run(until(address, lambda metrics: not open_connections(metrics)))
    assert value(found, "wsconsumer_messages_received_total", **ECHO) == 6
    assert value(found, "wsconsumer_received_bytes_total", **ECHO) == 33
    assert value(found, "wsconsumer_messages_sent_total", **ECHO) == 6
    assert value(found, "wsconsumer_connections_ended_total", **ECHO, code="1000") == 3
    assert value(found, "wsconsumer_handshakes_total", outcome="accepted", status="101") == 3
    duration = "wsconsumer_hook_duration_seconds"
    assert found[duration].type == "histogram"
    assert value(found, f"{duration}_count", **ECHO, hook="receive") == 6
    assert value(found, f"{duration}_bucket", **ECHO, hook="receive", le="30.0") == 6
    assert value(found, "wsconsumer_hook_failed_total") == 0
    assert "python_info" in found
    told = {sample.name for family in found.values() for sample in family.samples}
    assert asked_for() - told == set()


def asked_for() -> set[str]:
    """Return the series of ours that the dashboard asks for."""
    dashboard: Any = json.loads((ROOT / "docs" / "grafana.json").read_text())
    queries = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    assert len(queries) > 8
    return {name for query in queries for name in re.findall(r"wsconsumer_\w+", query)}


def test_two_workers(project: Project, tmp_path: Path) -> None:
    """Workers that share a port are scraped as one, also when one of them is killed."""
    place = tmp_path / "figures"
    place.mkdir()
    port = free_port()
    address = f"127.0.0.1:{port}"
    variable, module, *arguments = COMMAND.split()
    variables = {variable.partition("=")[0]: str(place)}
    with project.running(module, *arguments, "--port", str(port), **variables) as uvicorn:
        uvicorn.wait_for(r"startup complete[\s\S]*startup complete")
        count = asyncio.run(talk_to_both(address, place))
        assert value(scrape(address), RECEIVED, **ECHO) == count
        os.kill(min(written(place)), signal.SIGKILL)
        uvicorn.wait_for(r"(startup complete[\s\S]*){3}")
        after = scrape(address)
    assert value(after, RECEIVED, **ECHO) == count
    assert open_connections(after) == 0


RECEIVED = "wsconsumer_messages_received_total"


async def talk_to_both(address: str, place: Path) -> int:
    """Talk until each worker has served somebody, and has written it; return how often."""
    count = 0
    async with asyncio.timeout(60):
        while len(written(place)) < 2:
            async with connect(f"ws://{address}/ws/echo/", proxy=None, open_timeout=20) as client:
                await client.send("hello")
                assert await client.recv() == "hello"
            count += 1
            await asyncio.to_thread(scrape, address)
        while sum(written(place).values()) < count:
            await asyncio.to_thread(scrape, address)
    return count


def written(place: Path) -> dict[int, int]:
    """Return how many connections have ended for each process that has served any, by its id."""
    found = {}
    for path in place.glob("wsconsumer_*.json"):
        consumers = json.loads(path.read_text())["consumers"]
        if ECHO["consumer"] in consumers:
            pid = int(path.stem.partition("_")[2])
            found[pid] = sum(consumers[ECHO["consumer"]]["ended"].values())
    return found
