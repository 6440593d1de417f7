"""Prometheus: what ``/metrics`` says after a few connections, in a process of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.cookbook.project import Project

PROGRAM = """
import asyncio, urllib.request
from django.core.management import call_command
from django.test import Client, override_settings
from wsconsumer import WebsocketConsumer
from wsconsumer.test import WebsocketClient, connect, logs_in_place
from metrics.metrics import measured
from metrics.urls import urlpatterns

class Refusing(WebsocketConsumer):
    async def connect(self):
        await self.reject(403)

class Failing(WebsocketConsumer):
    async def connect(self):
        await self.accept()
        raise ValueError

async def main():
    async with WebsocketClient().connect("/ws/echo/") as ws:
        await ws.send("hello")
        assert await ws.receive() == "hello"
        print((await WebsocketClient().get("/metrics")).content.decode())
        await ws.close(4999)
    async with connect(measured(Refusing)) as ws:
        assert ws.denial.status == 403
    async with connect(measured(Failing), raise_exceptions=False) as ws:
        assert await ws.receive_close() == 1011
    async with WebsocketClient().connect("/ws/echo/", origin="https://evil.example") as ws:
        assert ws.denial.status == 403
    print("=== later")
    print((await WebsocketClient().get("/metrics")).content.decode())

from django.test.utils import setup_test_environment
setup_test_environment()
asyncio.run(main())
"""


def test_what_is_measured(project: Project) -> None:
    """A gauge goes up and down again, ends are counted by code, and failures by name."""
    during, _, later = project.shell(PROGRAM).partition("=== later")
    assert 'websockets_open{consumer="EchoConsumer"} 1.0' in during
    assert 'websocket_receive_seconds_count{consumer="EchoConsumer"} 1.0' in during
    for line in (
        'websockets_open{consumer="EchoConsumer"} 0.0',
        'websockets_closed_total{code="other",consumer="EchoConsumer"} 1.0',
        'websockets_open{consumer="Failing"} 0.0',
        'websockets_closed_total{code="1011",consumer="Failing"} 1.0',
        "wsconsumer_hook_failed_total 1.0",
        "wsconsumer_origin_refused_total 1.0",
        "wsconsumer_engine_lost_total 0.0",
    ):
        assert line in later
    assert "websockets_closed_total{" in later
    assert 'consumer="Refusing"} 1.0' not in later
