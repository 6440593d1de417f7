"""Push from a management command, to the page's script: prices/static/prices/prices.js."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from asgiref.sync import sync_to_async
from django.core.management import call_command
from websockets.sync.client import connect

from tests.cookbook.browsing import texts, until, visit

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

    from tests.cookbook.project import Project
    from tests.engines import Redis
    from wsconsumer.test import WebsocketClient
    from wsconsumer.test.live import LiveServer

MORE = {
    "pages/urls.py": """
from django.http import HttpResponse
from django.urls import path

PAGE = '''<b data-symbol="tea">?</b><b data-symbol="milk">?</b>
<script type="module" src="/static/prices/prices.js"></script>'''

urlpatterns = [path("", lambda request: HttpResponse(PAGE))]
"""
}


def test_from_another_process(project: Project, redis: Redis) -> None:
    """What the command sets reaches the pages that a server serves; `python manage.py` calls it."""
    env = {"REDIS_URL": redis.url}
    project.manage("migrate", "--run-syncdb", "--verbosity=0", **env)
    with (
        project.serve(**env) as address,
        connect(f"ws://{address}/ws/prices/", proxy=None, open_timeout=60) as ws,
    ):
        # As in the page: python manage.py set_price tea 3.50
        project.manage("set_price", "tea", "3.50", **env)
        assert json.loads(ws.recv(60)) == {"symbol": "tea", "value": "3.50"}


WITHOUT_AN_ENGINE = """
import sys
from django.conf import settings
from django.core.management import call_command
from wsconsumer.exceptions import BackendError
sys.stderr = sys.stdout
call_command("migrate", run_syncdb=True, verbosity=0)
try:
    call_command("set_price", "tea", "3.50")
except BackendError:
    print("It failed.")
settings.WSCONSUMER = {}
call_command("set_price", "tea", "3.50")
"""


def test_without_an_engine(project: Project) -> None:
    """With an engine that is away the command fails; without one it says that nobody was told."""
    told = project.shell(WITHOUT_AN_ENGINE, REDIS_URL="redis://127.0.0.1:1")
    assert "It failed." in told
    assert "serves no websockets" in told


@pytest.fixture
def prices(loaded: Project, settings: Any) -> Any:
    """The module of models, with groups in this process."""
    settings.WSCONSUMER = {}
    return loaded.module("prices.models")


async def test_a_page_that_comes_later(prices: Any, websocket_client: WebsocketClient) -> None:
    """It gets the prices as they are, then each change."""
    for symbol, value in (("tea", "3"), ("milk", "1")):
        await sync_to_async(call_command)("set_price", symbol, value)
    async with websocket_client.connect("/ws/prices/") as ws:
        assert await ws.receive_json() == {"symbol": "milk", "value": "1.00"}
        assert await ws.receive_json() == {"symbol": "tea", "value": "3.00"}
        await sync_to_async(call_command)("set_price", "tea", "4")
        assert await ws.receive_json() == {"symbol": "tea", "value": "4.00"}


def test_in_a_browser(prices: Any, site: LiveServer, browser: Chrome) -> None:
    """The page shows the price at its place."""
    prices.Price.objects.create(symbol="tea", value="3.50")
    visit(browser, site, "/")
    until(browser, texts("b"), ["3.50", "?"])
    call_command("set_price", "milk", "1.20")
    until(browser, texts("b"), ["3.50", "1.20"])
