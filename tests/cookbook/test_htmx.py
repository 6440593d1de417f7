"""HTML over the wire: the notice board, in a browser with htmx 4 and with htmx 2."""

from __future__ import annotations

import re
import shutil
from typing import TYPE_CHECKING

import pytest
from django.db import transaction
from selenium.webdriver.common.by import By

from tests.cookbook.browsing import texts, until
from tests.cookbook.project import COOKBOOK
from tests.npm import TIMEOUT, modules
from wsconsumer.test import WebsocketClient, captured_broadcasts

if TYPE_CHECKING:
    from pathlib import Path

    from selenium.webdriver import Chrome

    from tests.cookbook.project import Project
    from wsconsumer.test.live import LiveServer

SCRIPTS = {
    "htmx 4": (
        ("htmx.org@4.0.1",),
        ["htmx.org/dist/htmx.min.js", "htmx.org/dist/ext/hx-ws.min.js"],
    ),
    "htmx 2": (
        ("htmx.org@2.0.10", "htmx-ext-ws@2.0.4"),
        ["htmx.org/dist/htmx.min.js", "htmx-ext-ws/ws.js"],
    ),
}

TEMPLATES = [
    "board/templates/board/board.html",
    "board/templates/board/_form.html",
    "board/templates/board/_notes.html",
]


@pytest.fixture
def htmx(request: pytest.FixtureRequest, built: Project) -> None:
    """Put one htmx into the project; for htmx 2 write what the page's table says."""
    packages, files = SCRIPTS[request.param]
    static = built.directory / "board" / "static" / "board"
    static.mkdir(parents=True)
    for file in files:
        shutil.copy(modules(*packages) / file, static)
    if request.param == "htmx 2":
        write_for_htmx_2(built.directory)


def write_for_htmx_2(directory: Path) -> None:
    """Replace the words of the first column by those of the second."""
    page = (COOKBOOK / "htmx.md").read_text()
    words = re.findall(r"^\| `([^`]+)`[^|]* \| `([^`]+)`[^|]*\|$", page, re.MULTILINE)
    assert [four for four, _ in words] == ["hx-ws.min.js", "hx-ws:connect=", "hx-ws:send"]
    for template in TEMPLATES:
        file = directory / template
        text = file.read_text()
        for four, two in words:
            text = text.replace(four, two)
        file.write_text(text)


def wait_for(browser: Chrome, *notes: str) -> None:
    """Wait until these notes are on the board, and no others."""
    until(browser, texts("#notes li"), list(notes))


@pytest.mark.timeout(TIMEOUT)
@pytest.mark.parametrize("htmx", SCRIPTS, indirect=True)
def test_in_a_browser(htmx: None, loaded: Project, site: LiveServer, browser: Chrome) -> None:
    """What is pinned up is shown to all, as text; whoever comes back sees what was missed."""
    board, note = loaded.module("board.board"), loaded.module("board.models").Note
    browser.get(f"{site.url}/board/")
    browser.find_element(By.NAME, "text").send_keys("<b>one</b>\n")
    wait_for(browser, "<b>one</b>")
    until(
        browser,
        "return [document.activeElement.name, document.activeElement.value]",
        ["text", ""],
    )
    note.objects.create(text="two")
    board.show_notes()
    wait_for(browser, "two", "<b>one</b>")
    note.objects.create(text="missed")
    site.end_connections()
    wait_for(browser, "missed", "two", "<b>one</b>")
    browser.switch_to.active_element.send_keys("four\n")
    wait_for(browser, "four", "missed", "two", "<b>one</b>")
    browser.get(f"{site.url}/another-page/")
    note.objects.create(text="elsewhere")
    browser.back()
    wait_for(browser, "elsewhere", "four", "missed", "two", "<b>one</b>")


async def test_a_mistake_is_for_its_sender_alone(
    loaded: Project, websocket_client: WebsocketClient
) -> None:
    """The form comes back with what is wrong; others see nothing, and no text becomes markup."""
    async with (
        websocket_client.connect("/ws/board/") as ws,
        WebsocketClient().connect("/ws/board/") as other,
    ):
        assert '<ul id="notes"' in await ws.receive()
        await other.receive()
        await ws.send_json({"text": "", "headers": {"HX-Request": "true"}})
        assert "This field is required." in await ws.receive()
        await ws.send_json(["text"])
        await ws.expect_nothing()
        await other.expect_nothing()
        await ws.send_json({"text": "<i>"})
        assert [("&lt;i&gt;" in await each.receive()) for each in (ws, other)] == [True, True]
        assert 'value=""' in await ws.receive()


def test_after_the_commit(loaded: Project) -> None:
    """The notes are rendered and broadcast when they are committed, and never on a rollback."""
    board, note = loaded.module("board.board"), loaded.module("board.models").Note
    with captured_broadcasts() as sent, transaction.atomic():
        note.objects.create(text="first")
        board.show_notes()
        note.objects.create(text="second")
        assert sent == []
    ((group, html),) = sent
    assert group == "board"
    assert html.index("second") < html.index("first")
    with captured_broadcasts() as undone, transaction.atomic():
        board.show_notes()
        transaction.set_rollback(True)
    assert undone == []
