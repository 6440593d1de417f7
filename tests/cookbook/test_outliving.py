"""A job that outlives the page, and the page's script: answers/static/answers/answer.js."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from urllib.request import Request, urlopen

import pytest
from django.contrib.auth.models import User
from django.utils import timezone
from websockets.sync.client import connect

from tests.cookbook.browsing import until, visit
from wsconsumer import broadcast

if TYPE_CHECKING:
    from selenium.webdriver import Chrome
    from websockets.sync.client import ClientConnection

    from tests.cookbook.project import Project
    from wsconsumer.test import WebsocketClient
    from wsconsumer.test.live import LiveServer

MORE = {
    "pages/urls.py": """
from django.http import HttpResponse
from django.urls import path

PAGE = '''<p></p><script type="module">
import { show } from "/static/answers/answer.js";
show("/ws/answers/1/", document.querySelector("p"));
</script>'''

urlpatterns = [path("", lambda request: HttpResponse(PAGE))]
"""
}

PREPARE = """
from django.contrib.auth.models import User
from django.core.management import call_command
from django.test import Client
call_command("migrate", run_syncdb=True, verbosity=0)
client = Client()
client.force_login(User.objects.create_user("ada"))
print(client.cookies["sessionid"].value)
"""


def test_it_goes_on(project: Project) -> None:
    """An answer is written on after its page has gone, and the next page gets all of it."""
    token = "x" * 32
    cookie = f"sessionid={project.shell(PREPARE).strip()}; csrftoken={token}"
    with project.serve() as address:

        def page(path: str) -> ClientConnection:
            url = f"ws://{address}{path}"
            return connect(url, additional_headers={"Cookie": cookie}, proxy=None, open_timeout=60)

        ask = Request(  # http
            f"http://{address}/answers/ask/",
            data=b"question=one+two+three+four+five",
            headers={"Cookie": cookie, "X-CSRFToken": token},
        )
        with urlopen(ask) as response:  # noqa: S310
            path = json.load(response)["socket"]
        with page(path) as first:
            while json.loads(first.recv(60))["text"] == "":
                pass
        with page(path) as second:
            text, state = "", ""
            while state != "complete":
                piece = json.loads(second.recv(60))
                text, state = text[: piece["start"]] + piece["text"], piece["state"]
        assert text == "one? two? three? four? five? "


@pytest.fixture
def answers(loaded: Project) -> Any:
    """The module of models."""
    return loaded.module("answers.models")


@pytest.fixture
def answer(answers: Any, websocket_client: WebsocketClient) -> Any:
    """An answer that is being written, for the user of the client."""
    ada = User.objects.create_user("ada")
    websocket_client.force_login(ada)
    return answers.Answer.objects.create(pk=1, owner=ada, question="why", text="Because ")


async def test_the_state(answer: Any, answers: Any, websocket_client: WebsocketClient) -> None:
    """What is not complete and has been silent for long is interrupted."""
    long_ago = timezone.now() - answers.SILENCE
    for change, state in (
        ({}, "writing"),
        ({"written_at": long_ago}, "interrupted"),
        ({"is_complete": True}, "complete"),
    ):
        await answers.Answer.objects.filter(pk=1).aupdate(text="Because", **change)
        async with websocket_client.connect("/ws/answers/1/") as ws:
            assert await ws.receive_json() == {"start": 0, "text": "Because", "state": state}


async def test_the_model_fails(
    answer: Any, loaded: Project, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log says so, and what was written stays."""
    writing = loaded.module("answers.writing")
    monkeypatch.setattr(writing, "model", lambda question: 1 // 0)
    await writing.write(answer)
    assert "Answer 1 was interrupted" in caplog.text


async def test_the_answer_of_another(answer: Any, websocket_client: WebsocketClient) -> None:
    """It is not there for others."""
    await websocket_client.aforce_login(await User.objects.acreate(username="bob"))
    async with websocket_client.connect("/ws/answers/1/") as ws:
        assert ws.denial is not None
        assert ws.denial.status == 404


def test_in_a_browser(site: LiveServer, browser: Chrome, answer: Any) -> None:
    """The page shows what there is, and each piece once, also one that comes twice."""
    shown = "const p = document.querySelector('p'); return [p.textContent, p.dataset.state]"
    visit(browser, site, "/", answer.owner)
    until(browser, shown, ["Because ", "writing"])
    start = len(answer.text)
    answer.text += "of"
    for _ in "ab":
        broadcast(answer.group, answer.piece(start))
    answer.is_complete = True
    broadcast(answer.group, answer.piece(len(answer.text)))
    until(browser, shown, ["Because of", "complete"])
