"""The page of ``wsconsumer.messages.docs``, as somebody uses it who tries a route."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth.decorators import login_required
from django.test import modify_settings, override_settings
from django.urls import include, path
from django.utils.deprecation import MiddlewareMixin
from selenium.common.exceptions import TimeoutException
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.wait import WebDriverWait

from tests.messages.test_docs_page import TEMPLATES
from wsconsumer import broadcast
from wsconsumer.messages import Message, MessageConsumer, MessageError, on

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from django.http import HttpRequest, HttpResponseBase
    from selenium.webdriver import Chrome
    from selenium.webdriver.remote.webelement import WebElement

    from wsconsumer.test.live import LiveServer

PATIENCE = 20
"""Seconds that anything may take in the browser before a test gives up."""


class Policy(MiddlewareMixin):
    """Lets the browser load nothing from elsewhere, and nothing inline."""

    def process_response(
        self, request: HttpRequest, response: HttpResponseBase
    ) -> HttpResponseBase:
        response.headers["Content-Security-Policy"] = "default-src 'self'"
        return response


class Say(Message):
    text: str


class Said(Message):
    text: str


class Count(Message):
    """Ask for three numbers."""


class Tail(Message):
    """Ask for a number, and wait for more."""


class Tick(Message):
    value: int


class Fail(Message):
    """Ask for an error."""


class Leave(Message):
    """Ask to be closed."""


class Room(MessageConsumer):
    """One handler of each kind, in every room but the attic."""

    sends = (Said,)

    async def connect(self) -> None:
        if self.kwargs["room"] == "attic":
            await self.reject(403)
        else:
            await self.join(f"page.{self.kwargs['room']}")

    @on
    async def say(self, message: Say) -> Said:
        return Said(f"{self.kwargs['room']}: {message.text}")

    @on
    async def count(self, message: Count) -> AsyncIterator[Tick]:
        for value in range(3):
            yield Tick(value)

    @on
    async def tail(self, message: Tail) -> AsyncIterator[Tick]:
        yield Tick(0)
        await asyncio.Event().wait()

    @on
    async def fail(self, message: Fail) -> None:
        raise MessageError("full", "The room is full.")

    @on
    async def goodbye(self, message: Leave) -> None:
        await self.close(4500, "you left")


urlpatterns = [
    path("ws/docs/", include("wsconsumer.messages.docs")),
    path("ws/room/<str:room>/", Room.as_view(), name="room"),
    path("ws/members/<str:room>/", login_required(Room.as_view()), name="members"),
    path("ws/packed/<str:room>/", Room.as_view(codec="msgpack"), name="packed"),
]

READ_LOG = """
    const text = (entry, selector) => entry.querySelector(selector)?.textContent ?? "";
    const read = (entry) => ({
        kind: entry.dataset.kind,
        title: text(entry, "b"),
        outcome: text(entry, ".outcome"),
        payload: text(entry, "pre"),
        replies: Array.from(entry.querySelector(".replies").children, read),
    });
    return Array.from(arguments[0].querySelector("[data-part=log]").children, read);
"""


class Panel:
    """What the page has for one route: what somebody does there, and what is seen."""

    def __init__(self, browser: Chrome, key: str) -> None:
        self.browser = browser
        self.section = browser.find_element(By.ID, key)

    def find(self, selector: str) -> WebElement:
        return self.section.find_element(By.CSS_SELECTOR, selector)

    def connect(self, room: str = "lobby") -> None:
        self.find("[name=room]").clear()
        self.find("[name=room]").send_keys(room, Keys.ENTER)

    def enter(self, room: str = "lobby") -> None:
        self.connect(room)
        self.wait_until(lambda: self.state.startswith("Connected to "))

    def try_it(self, name: str) -> None:
        self.find(f"[data-type={name}]").click()
        self.find("form[data-part=send] button").click()

    def write(self, text: str) -> None:
        self.find("textarea").clear()
        self.find("textarea").send_keys(text)

    @property
    def state(self) -> str:
        return self.find("[data-part=state]").text

    @property
    def problem(self) -> str:
        return self.find("[data-part=problem]").text

    @property
    def log(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.browser.execute_script(READ_LOG, self.section)
        return found

    def wait_until(self, condition: Callable[[], bool]) -> None:
        try:
            WebDriverWait(self.browser, PATIENCE, poll_frequency=0.05).until(lambda _: condition())
        except TimeoutException:
            pytest.fail(f"The page says {self.state!r}, {self.problem!r} and {self.log!r}.")

    def wait_for_entry(self, outcome: str) -> dict[str, Any]:
        """Return the last entry as soon as its outcome is this."""
        self.wait_until(
            lambda: self.log != [] and re.fullmatch(outcome, self.log[-1]["outcome"]) is not None
        )
        return self.log[-1]


@pytest.fixture(autouse=True)
def _settings() -> Iterator[None]:
    """The page and its routes, under a strict policy; before the server reads the settings."""
    with (
        override_settings(ROOT_URLCONF=__name__, TEMPLATES=TEMPLATES, DEBUG=True),
        modify_settings(
            MIDDLEWARE={"prepend": f"{__name__}.Policy"},
            INSTALLED_APPS={"append": "django.contrib.staticfiles"},
        ),
    ):
        yield


@pytest.fixture
def panel(browser: Chrome, live_websocket_server: LiveServer) -> Panel:
    """The page, at the route of the room."""
    browser.get(f"{live_websocket_server.url}/ws/docs/")
    browser.get_log("browser")  # what other tests left there
    return Panel(browser, "room")


def test_a_reply_stands_with_its_request(panel: Panel) -> None:
    """An example is filled in, sent, and answered in place, under a ref that the page added."""
    panel.enter()
    panel.try_it("say")
    entry = panel.wait_for_entry(r"\d+ ms")
    assert (entry["kind"], entry["title"]) == ("sent", "say")
    assert json.loads(entry["payload"]) == {"type": "say", "text": "text", "ref": 1}
    (reply,) = entry["replies"]
    assert (reply["kind"], reply["title"]) == ("received", "said")
    assert json.loads(reply["payload"]) == {"type": "said", "text": "lobby: text", "ref": 1}


def test_sending_connects(panel: Panel) -> None:
    """Who sends without a connection gets one first, for a room with any name."""
    panel.find("[name=room]").send_keys("a b?ü")
    panel.try_it("say")
    (reply,) = panel.wait_for_entry(r"\d+ ms")["replies"]
    assert json.loads(reply["payload"])["text"] == "a b?ü: text"


def test_it_can_be_used_with_the_keyboard(panel: Panel) -> None:
    """Enter connects, and the message is sent with Ctrl and Enter; the ref may be one's own."""
    panel.enter()
    panel.write('{"type": "say", "text": "hi", "ref": "mine"}')
    panel.find("textarea").send_keys(Keys.CONTROL, Keys.ENTER)
    (reply,) = panel.wait_for_entry(r"\d+ ms")["replies"]
    assert json.loads(reply["payload"])["ref"] == "mine"


def test_an_error_is_shown(panel: Panel) -> None:
    """An error stands with the request that failed."""
    panel.enter()
    panel.try_it("fail")
    (reply,) = panel.wait_for_entry(r"\d+ ms")["replies"]
    assert (reply["kind"], reply["title"]) == ("failed", "error")
    assert json.loads(reply["payload"])["code"] == "full"


def test_a_stream(panel: Panel) -> None:
    """The items of a stream stand with the request, to the end."""
    panel.enter()
    panel.try_it("count")
    entry = panel.wait_for_entry(r"3 items, ended after \d+ ms")
    assert [json.loads(reply["payload"])["value"] for reply in entry["replies"]] == [0, 1, 2]


def test_a_stream_that_is_cancelled(panel: Panel) -> None:
    """A stream that does not end by itself is ended with its button."""
    panel.enter()
    panel.try_it("tail")
    panel.wait_for_entry("1 item")
    panel.find(".entry button").click()
    panel.wait_for_entry(r"1 item, ended after \d+ ms")
    buttons = panel.section.find_elements(By.CSS_SELECTOR, ".entry button")
    assert not any(button.is_displayed() for button in buttons)


def test_a_broadcast(panel: Panel) -> None:
    """What nobody asked for stands by itself, be it a message or any other text."""
    panel.enter()
    broadcast("page.lobby", Said("to all"))
    broadcast("page.lobby", "plain text")
    panel.wait_until(lambda: len(panel.log) == 2)
    said, text = panel.log
    assert (said["kind"], said["title"]) == ("received", "said")
    assert json.loads(said["payload"]) == {"type": "said", "text": "to all"}
    assert (text["title"], text["payload"]) == ("plain text", "")
    panel.find("[data-part=clear]").click()
    assert panel.log == []


def test_a_server_that_closes(panel: Panel) -> None:
    """Code and reason are told, and what waits for an answer gets none."""
    panel.enter()
    panel.try_it("leave")
    panel.wait_until(lambda: panel.state == "Closed with 4500 (you left)")
    request, note = panel.log
    assert request["outcome"] == "no answer: the connection is closed"
    assert (note["kind"], note["title"]) == ("note", "Closed with 4500 (you left)")
    assert panel.find("[data-part=toggle]").text == "Connect"


def test_leaving(panel: Panel) -> None:
    """The button closes what it opened, with the code for that in words."""
    panel.enter()
    panel.find("[data-part=toggle]").click()
    panel.wait_until(lambda: panel.state == "Closed with 1000 (normal)")


@pytest.mark.parametrize(
    ("key", "room", "why"),
    [
        ("room", "attic", "Refused: the consumer said no, in connect() or dispatch()."),
        ("members", "lobby", "Refused: the address redirects, as login_required() does"),
        ("room", "a/b", "Refused: there is nothing at this address (404)."),
    ],
    ids=["connect", "login", "no such address"],
)
def test_a_refusal_is_explained(panel: Panel, key: str, room: str, why: str) -> None:
    """A browser does not tell why a socket was refused; the page finds out what it can."""
    asked = Panel(panel.browser, key)
    asked.connect(room)
    asked.wait_until(lambda: asked.state.startswith(why))


@pytest.mark.parametrize(
    ("text", "problem"),
    [("{oops", "This is not JSON: "), ("[]", 'A message is an object: {"type": …}')],
    ids=["no JSON", "no object"],
)
def test_what_is_no_message_is_not_sent(panel: Panel, text: str, problem: str) -> None:
    """A mistake in the text is told at the field, and goes when it is mended."""
    panel.enter()
    panel.write(text)
    panel.find("form[data-part=send] button").click()
    assert panel.problem.startswith(problem)
    assert panel.find("textarea").get_attribute("aria-invalid") == "true"
    panel.try_it("say")
    panel.wait_for_entry(r"\d+ ms")
    assert panel.problem == ""
    assert len(panel.log) == 1


def test_messagepack_is_not_tried(panel: Panel) -> None:
    """A route that the page does not speak with has its messages, and nothing to send them with."""
    packed = Panel(panel.browser, "packed")
    assert "which this page does not" in packed.find(".try .notice").text
    assert packed.section.find_elements(By.CSS_SELECTOR, "form, button") == []


def test_the_browser_complains_of_nothing(panel: Panel) -> None:
    """Styles and scripts come and work under a policy that allows nothing inline."""
    panel.enter()
    panel.try_it("count")
    panel.wait_for_entry(r"3 items, .*")
    assert panel.browser.get_log("browser") == []
    assert panel.find(".columns").value_of_css_property("display") == "grid"


def test_it_is_dark_where_people_like_that(panel: Panel) -> None:
    """The colours follow what the visitor prefers."""
    found = []
    for scheme in ("light", "dark"):
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        panel.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        found.append(panel.section.value_of_css_property("background-color"))
    panel.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    assert found == ["rgba(255, 255, 255, 1)", "rgba(23, 29, 34, 1)"]
