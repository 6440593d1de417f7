"""Shared documents: Yjs in a browser, and its messages without one."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.cookbook.browsing import until, visit
from tests.npm import TIMEOUT, modules

if TYPE_CHECKING:
    from pathlib import Path

    from django.contrib.auth.models import User
    from selenium.webdriver import Chrome

    from tests.cookbook.project import Project
    from wsconsumer.test import WebsocketClient
    from wsconsumer.test.live import LiveServer

PACKAGES = ("yjs@13.6.33", "y-websocket@3.1.0")
"""What ``npm install yjs y-websocket`` brings, for documents/static/documents/editor.js."""

MORE = {
    "editor/urls.py": """
from django.shortcuts import render
from django.urls import path

urlpatterns = [path("edit/<slug:name>/", lambda request, name: render(
    request, "editor/page.html", {"name": name}))]
""",
    "editor/templates/editor/page.html": """{% load static %}<!doctype html>
<script type="importmap">{% include "editor/importmap.json" %}</script>
<body data-name="{{ name }}">
<script type="module">
window.editor = await import("{% static 'documents/editor.js' %}");
window.openOther = async () => {
  window.other = await import("{% static 'documents/editor.js' %}?other");
};
</script>
""",
}


@pytest.fixture
def editing(built: Project) -> None:
    """Put the packages into the project, and a map of what they import for the page."""
    packages = modules(*PACKAGES)
    (built.directory / "editor" / "static").mkdir()
    (built.directory / "editor" / "static" / "npm").symlink_to(packages)
    file = built.directory / "editor" / "templates" / "editor" / "importmap.json"
    file.write_text(json.dumps({"imports": import_map(packages)}))


def import_map(packages: Path) -> dict[str, str]:
    """Return where a browser finds each module of these packages, which a bundler looks up."""
    found = {}
    for package in ("yjs", "y-websocket", "y-protocols", "lib0"):
        described = json.loads((packages / package / "package.json").read_text())
        for name, ways in described["exports"].items():
            way: Any = ways
            while isinstance(way, dict):
                way = way.get("browser") or way.get("module") or way.get("import") or way["default"]
            found[f"{package}{name[1:]}"] = f"/static/npm/{package}/{way[2:]}"
    return found


@pytest.mark.timeout(TIMEOUT)
def test_in_browsers(
    editing: None, loaded: Project, site: LiveServer, browser: Chrome, admin_user: User
) -> None:
    """What is written in one page is in the other, also what was written offline."""
    visit(browser, site, "/edit/minutes/", admin_user)
    until(browser, "return window.editor?.provider.wsconnected", True)
    # Both are in one page, as a tab in the background is slow; without a way around the server.
    browser.execute_script(
        "editor.provider.disconnectBc(); editor.text.insert(0, 'Hello'); openOther();"
    )
    until(browser, "return window.other?.text.toString()", "Hello")
    browser.execute_script("other.provider.disconnectBc(); other.text.insert(5, ', world');")
    until(browser, "return editor.text.toString()", "Hello, world")
    browser.execute_script(
        "editor.provider.disconnect();"
        "editor.text.insert(0, 'A: '); other.text.insert(0, 'B: '); editor.provider.connect()"
    )
    texts = "[editor, other].map(({ text }) => text.toString())"
    script = f"const [one, two] = {texts}; return one === two && one.length"
    until(browser, script, len("A: B: Hello, world"))


HELLO = b"\x00\x02\x08what was"


async def test_what_is_kept(
    loaded: Project, websocket_client: WebsocketClient, admin_user: User
) -> None:
    """Who comes later gets each change from the database; awareness comes back to its sender."""
    await websocket_client.aforce_login(admin_user)
    async with websocket_client.connect("/ws/kept/minutes") as ws:
        assert await ws.receive() == b"\x00\x00\x01\x00"
        await ws.send(b"\x01me")
        assert await ws.receive() == b"\x01me"
        await ws.send(HELLO)
        await ws.send(b"\x00\x01\x02\x00\x00")
        await ws.send("text")
        await ws.expect_nothing()
    async with websocket_client.connect("/ws/kept/minutes") as ws:
        await ws.receive()
        await ws.send(b"\x00\x00\x01\x00")
        assert await ws.receive() == HELLO
        assert await ws.receive() == b"\x00\x01\x02\x00\x00"
    assert await loaded.module("documents.models").Change.objects.acount() == 1


async def test_who_may_write(loaded: Project, websocket_client: WebsocketClient) -> None:
    """A visitor who has not logged in gets no document."""
    async with websocket_client.connect("/ws/documents/minutes") as ws:
        assert not ws.accepted
