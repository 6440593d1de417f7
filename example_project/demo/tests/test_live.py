"""The whole way: a browser opens the page, and its WebSockets talk to daphne."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.wait import WebDriverWait

if TYPE_CHECKING:
    from collections.abc import Callable

    from selenium.webdriver import Chrome

SOCKETS = ("ping", "echo", "clock")

READ_LOG = """
    return Array.from(document.querySelectorAll(`#${arguments[0]} .entry`), (line) =>
        [".direction", ".kind", ".payload"].map((part) => line.querySelector(part).textContent))
"""


class Line(NamedTuple):
    """A line in the log of a card."""

    direction: str
    kind: str
    payload: str


class Card:
    """The card of one socket, and what a visitor does and sees there."""

    def __init__(self, browser: Chrome, name: str) -> None:
        self.browser = browser
        self.name = name

    def find(self, selector: str) -> Any:
        return self.browser.find_element(By.CSS_SELECTOR, f"#{self.name} {selector}")

    def type(self, *keys: str) -> None:
        self.find("input").send_keys(*keys)

    def press(self, button: str) -> None:
        self.find(button).click()

    @property
    def state(self) -> str:
        return str(self.find("[data-part=state]").text)

    @property
    def lines(self) -> list[Line]:
        """What was sent and received since the socket opened."""
        log = [Line(*parts) for parts in self.browser.execute_script(READ_LOG, self.name)]
        return [line for line in log if line.direction != "note"]

    def wait_until(self, condition: Callable[[Card], bool]) -> None:
        WebDriverWait(self.browser, 15).until(
            lambda _: condition(self), f"{self.name} is {self.state}: {self.lines}"
        )


@pytest.fixture
def cards(browser: Chrome, site: str) -> dict[str, Card]:
    """Open the page, and wait until each of its sockets is open."""
    browser.get(site)
    cards = {name: Card(browser, name) for name in SOCKETS}
    for card in cards.values():
        card.wait_until(lambda card: card.state == "open")
    return cards


def test_ping_gets_pong(cards: dict[str, Card]) -> None:
    """Typing `ping` and Enter shows `pong!`; another word is sent, and stays without answer."""
    ping = cards["ping"]
    ping.type("hello", Keys.ENTER)
    ping.type("ping", Keys.ENTER)
    ping.wait_until(lambda card: len(card.lines) == 3)
    assert ping.lines == [
        Line("sent", "text", "hello"),
        Line("sent", "text", "ping"),
        Line("received", "text", "pong!"),
    ]


def test_echo_returns_text(cards: dict[str, Card]) -> None:
    """Text comes back from the echo socket as text."""
    echo = cards["echo"]
    echo.type("café", Keys.ENTER)
    echo.wait_until(lambda card: Line("received", "text", "café") in card.lines)


def test_echo_returns_bytes(cards: dict[str, Card]) -> None:
    """`Send bytes` sends a binary message, and a binary message comes back."""
    echo = cards["echo"]
    echo.type("café")
    echo.press("[value=bytes]")
    echo.wait_until(lambda card: len(card.lines) == 2)
    assert echo.lines == [
        Line("sent", "binary", "63 61 66 c3 a9"),
        Line("received", "binary", "63 61 66 c3 a9"),
    ]


def test_clock_ticks(cards: dict[str, Card]) -> None:
    """The clock shows one time after another, with nothing sent to it."""
    clock = cards["clock"]
    clock.wait_until(lambda card: len(set(card.lines)) >= 3)
    assert {line.direction for line in clock.lines} == {"received"}
    assert clock.find("[data-part=latest]").text in {line.payload for line in clock.lines}


def test_a_visitor_can_leave_and_come_back(cards: dict[str, Card]) -> None:
    """`Disconnect` closes with 1000 and says so; `Connect` opens the socket again."""
    ping = cards["ping"]
    ping.press("[data-part=toggle]")
    ping.wait_until(lambda card: card.state == "closed")
    assert [line.direction for line in ping.lines if line.kind == "close"] == ["sent", "received"]
    assert ping.lines[-1].payload.startswith("1000 ")
    ping.press("[data-part=toggle]")
    ping.wait_until(lambda card: card.state == "open")


def test_the_browser_has_no_complaint(cards: dict[str, Card], browser: Chrome) -> None:
    """Stylesheet, script and icon arrive, and nothing fails in the browser's console."""
    failed = browser.execute_script(
        "return performance.getEntriesByType('resource')"
        ".filter((entry) => entry.responseStatus !== 200).map((entry) => entry.name)"
    )
    assert failed == []
    assert browser.get_log("browser") == []  # type: ignore[no-untyped-call]
