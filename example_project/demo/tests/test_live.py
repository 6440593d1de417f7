"""The whole way: a browser opens the page, and its WebSockets talk to daphne."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from selenium.common.exceptions import TimeoutException, WebDriverException
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.wait import WebDriverWait

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from selenium.webdriver import Chrome

SOCKETS = ("ping", "echo", "clock", "greeting")  # and members, which refuses strangers
PASSWORD = "analytical-engine"

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
    def text(self) -> str:
        return str(self.find("[data-part=log]").text)

    @property
    def state(self) -> str:
        return str(self.find("[data-part=state]").text)

    @property
    def lines(self) -> list[Line]:
        """What was sent and received since the socket opened."""
        log = [Line(*parts) for parts in self.browser.execute_script(READ_LOG, self.name)]
        return [line for line in log if line.direction != "note"]

    def wait_until(self, condition: Callable[[Card], bool]) -> None:
        try:
            WebDriverWait(self.browser, 15).until(lambda _: condition(self))
        except TimeoutException:
            pytest.fail(f"{self.name} is {self.state}: {self.lines}")


class Account:
    """What a visitor does with an account, from whatever page he is on."""

    def __init__(self, browser: Chrome) -> None:
        self.browser = browser

    def fill_in(self, page: str, **fields: str) -> None:
        """Follow the link to the page, and send its form."""
        self.press(By.LINK_TEXT, page)
        self.send(**fields)

    def send(self, **fields: str) -> None:
        for name, value in fields.items():
            field = self.browser.find_element(By.NAME, name)
            field.clear()
            field.send_keys(value)
        self.press(By.CSS_SELECTOR, ".account-form button")

    def log_out(self) -> None:
        self.press(By.CSS_SELECTOR, ".account button")

    def press(self, by: str, value: str) -> None:
        self.leave(self.browser.find_element(by, value).click)

    def leave(self, how: Callable[[], None]) -> None:
        """Go to another page, and wait until it is there."""
        self.browser.execute_script("window.isTheOldPage = true")
        how()
        WebDriverWait(self.browser, 15, ignored_exceptions=[WebDriverException]).until(
            lambda browser: browser.execute_script(
                "return !window.isTheOldPage && document.readyState === 'complete'"
            )
        )


@pytest.fixture
def cards(browser: Chrome, site: str) -> Iterator[dict[str, Card]]:
    """Open the page as a stranger, and wait until each socket is open that lets strangers in."""
    browser.get(site)
    cards = {name: Card(browser, name) for name in SOCKETS}
    for card in cards.values():
        card.wait_until(lambda card: card.state == "open")
    yield cards
    browser.delete_all_cookies()


@pytest.fixture
def members(cards: dict[str, Card], browser: Chrome) -> Card:
    """Wait until the members socket has refused the stranger."""
    card = Card(browser, "members")
    card.wait_until(was_refused)
    return card


def was_refused(card: Card) -> bool:
    return card.state == "closed" and "login_required answered with a redirect" in card.text


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


def test_a_stranger_is_greeted_and_refused(cards: dict[str, Card], members: Card) -> None:
    """Without a login one socket says so, the other never opens, and the page says why."""
    hello = Line("received", "text", "Hello stranger. Log in and come back.")
    cards["greeting"].wait_until(lambda card: card.lines == [hello])
    assert [line.kind for line in members.lines] == ["close"]
    assert members.lines[0].payload.startswith("1006 ")
    assert not members.find("form button").is_enabled()


def test_an_account(cards: dict[str, Card], members: Card, browser: Chrome) -> None:
    """Who signs up is known to the sockets of the next page, and who logs out is a stranger."""
    greeting, account = cards["greeting"], Account(browser)
    by_name = Line("received", "text", "Hello ada, you are logged in.")
    stranger = Line("received", "text", "Hello stranger. Log in and come back.")

    account.fill_in("Sign up", username="ada", password1=PASSWORD, password2=PASSWORD[::-1])
    assert "The two password fields" in browser.find_element(By.CSS_SELECTOR, ".errorlist").text
    account.send(password1=PASSWORD, password2=PASSWORD)

    greeting.wait_until(lambda card: card.lines == [by_name])
    assert "Welcome, ada." in browser.find_element(By.CSS_SELECTOR, ".notice.success").text
    members.wait_until(lambda card: card.state == "open")
    members.type("hello", Keys.ENTER)
    members.wait_until(lambda card: len(card.lines) == 3)
    assert members.lines == [
        Line("received", "text", "Members so far: 1"),
        Line("sent", "text", "hello"),
        Line("received", "text", "ada: hello"),
    ]

    account.log_out()
    greeting.wait_until(lambda card: card.lines == [stranger])
    members.wait_until(was_refused)

    account.fill_in("Log in", username="ada", password=PASSWORD)
    greeting.wait_until(lambda card: card.lines == [by_name])
    members.wait_until(lambda card: card.state == "open")

    account.log_out()
    greeting.wait_until(lambda card: card.lines == [stranger])
    account.leave(browser.back)
    greeting.wait_until(lambda card: card.lines == [stranger])


@pytest.mark.usefixtures("members")
def test_the_browser_complains_of_nothing_but_the_refusal(browser: Chrome) -> None:
    """Stylesheet, script and icon arrive; the console has the refused socket, and no more."""
    browser.get_log("browser")  # type: ignore[no-untyped-call]  # what other tests left there
    Account(browser).leave(browser.refresh)
    Card(browser, "members").wait_until(was_refused)
    failed = browser.execute_script(
        "return performance.getEntriesByType('resource')"
        ".filter((entry) => entry.responseStatus !== 200).map((entry) => entry.name)"
    )
    assert failed == []
    (complaint,) = browser.get_log("browser")  # type: ignore[no-untyped-call]  # selenium's
    assert "/ws/members/" in complaint["message"]
    assert "302" in complaint["message"]
