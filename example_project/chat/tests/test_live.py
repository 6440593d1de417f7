"""The whole way: two browsers, each with an account of its own, in the same rooms."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Self
from uuid import uuid4

import pytest
from config.tests.live import serve
from selenium.common.exceptions import TimeoutException, WebDriverException
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.wait import WebDriverWait

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from config.tests.live import Site
    from selenium.webdriver import Chrome

PASSWORD = "analytical-engine"

# The closing handshake is real; the code is what a server would have said.
KEEP_SOCKETS = """
    window.sockets = [];
    window.WebSocket = class extends WebSocket {
        constructor(...how) {
            super(...how);
            sockets.push(this);
            this.addEventListener("close", (event) => {
                if (!event.isTrusted || !this.code) return;
                event.stopImmediatePropagation();
                this.dispatchEvent(new CloseEvent("close", { code: this.code }));
            });
        }
    };
"""

CLOSE = "const socket = sockets.at(-1); socket.code = arguments[0]; socket.close();"

READ_MESSAGES = """
    return Array.from(document.querySelectorAll(".message"), (entry) =>
        ["b", "p"].map((part) => entry.querySelector(part).textContent))
"""

READ_LIVE = """
    const sent = new URL(sockets[0].url).searchParams.get("wsc");
    const { live } = JSON.parse(atob(sent.replaceAll("-", "+").replaceAll("_", "/")));
    return [live, document.querySelector("#room").dataset.live];
"""

LEAVE_ONE_MESSAGE = """
from django.contrib.auth.models import User
from chat.models import Message, Room
room, author = Room.objects.get(), User.objects.get()
Message.objects.create(room=room, author=author, text="while you were out")
"""


class Visitor:
    """Somebody with a browser and an account: what she does, and what she sees."""

    def __init__(self, browser: Chrome, site: str, name: str) -> None:
        self.browser = browser
        self.site = site
        self.name = name

    def find(self, selector: str) -> Any:
        return self.browser.find_element(By.CSS_SELECTOR, selector)

    def fill_in(self, **fields: str) -> None:
        for name, value in fields.items():
            self.find(f"[name={name}]").send_keys(value)
        self.find(f"[name={name}]").send_keys(Keys.ENTER)

    def sign_up(self) -> Self:
        self.browser.delete_all_cookies()
        self.browser.get(f"{self.site}accounts/signup/")
        self.fill_in(username=self.name, password1=PASSWORD, password2=PASSWORD)
        self.wait_until(lambda me: f"Welcome, {me.name}." in me.find(".notice").text)
        self.cookie = self.browser.get_cookie("sessionid")
        return self

    def come_back(self) -> None:
        """Be logged in as after the sign-up, whatever happened since."""
        self.browser.get(f"{self.site}accounts/login/")
        self.browser.delete_all_cookies()
        self.browser.add_cookie(self.cookie)

    def look_at_rooms(self) -> None:
        self.browser.get(f"{self.site}chat/")
        self.wait_until_open()

    def make_room(self, room: str) -> None:
        self.look_at_rooms()
        self.fill_in(slug=room)
        self.wait_until(lambda me: me.find("h1").text == room)
        self.wait_until_open()

    def enter(self, room: str) -> None:
        self.browser.get(f"{self.site}chat/{room}/")
        self.wait_until_open()

    def reload(self) -> None:
        self.browser.refresh()
        self.wait_until_open()

    def type(self, *keys: str) -> None:
        self.find("#text").send_keys(*keys)

    def say(self, text: str) -> None:
        self.type(text, Keys.ENTER)

    @property
    def state(self) -> str:
        return str(self.find("[data-socket]").get_attribute("data-state"))

    @property
    def state_in_words(self) -> str:
        return str(self.find("[data-part=state]").text)

    @property
    def process(self) -> str:
        return str(self.find("[data-part=process]").text)

    @property
    def hint(self) -> str:
        return str(self.find("[data-part=typing]").text)

    @property
    def error(self) -> str:
        return str(self.find("[data-part=error]").text)

    @property
    def rooms(self) -> list[str]:
        return [room.text for room in self.browser.find_elements(By.CSS_SELECTOR, ".rooms li")]

    @property
    def messages(self) -> list[tuple[str, str]]:
        """Who said what, in the order of the page."""
        return [(name, text) for name, text in self.browser.execute_script(READ_MESSAGES)]

    @property
    def sockets(self) -> int:
        """How many sockets the page has opened since it was loaded (see `keep_sockets`)."""
        return int(self.browser.execute_script("return sockets.length"))

    def close_socket(self, code: int) -> None:
        self.browser.execute_script(CLOSE, code)

    def cut_the_connection(self) -> None:
        """Press the button that does it."""
        self.find("[data-part=cut]").click()
        self.wait_until(lambda me: me.state == "waiting")

    def wait_until_open(self) -> None:
        self.wait_until(lambda me: me.state == "open")
        if "/chat/" in self.browser.current_url and self.browser.find_elements(By.ID, "room-title"):
            self.wait_until(lambda me: me.process != "")  # the reply is here

    def wait_until(self, condition: Callable[[Self], bool], seconds: float = 15) -> None:
        """Wait for what she sees; meanwhile the page may be another one."""
        wait = WebDriverWait(
            self.browser,
            seconds,
            poll_frequency=0.05,
            ignored_exceptions=[WebDriverException],  # of a page that goes while it is asked
        )
        try:
            wait.until(lambda _: condition(self))
        except TimeoutException:
            pytest.fail(f"{self.name} sees:\n{self.find('body').text}")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Serve the project for these tests alone, since they make accounts; yield its URL."""
    with serve(tmp_path_factory.mktemp("chat")) as site:
        yield site.url


@pytest.fixture(scope="module")
def first(browser: Chrome, site: str) -> Visitor:
    """A member in the one browser."""
    return Visitor(browser, site, "ada").sign_up()


@pytest.fixture(scope="module")
def second(other_browser: Chrome, site: str) -> Visitor:
    """A member in the other."""
    return Visitor(other_browser, site, "bob").sign_up()


@pytest.fixture
def ada(first: Visitor) -> Iterator[Visitor]:
    """The one, logged in."""
    first.come_back()
    yield first
    first.browser.delete_all_cookies()


@pytest.fixture
def bob(second: Visitor) -> Iterator[Visitor]:
    """The other, logged in."""
    second.come_back()
    yield second
    second.browser.delete_all_cookies()


@pytest.fixture
def room(ada: Visitor, bob: Visitor) -> str:
    """A new room, where both are."""
    room = f"room-{uuid4().hex[:8]}"
    ada.make_room(room)
    bob.enter(room)
    return room


@pytest.fixture
def keep_sockets(browser: Chrome) -> Iterator[None]:
    """Let pages of the one browser tell which sockets they opened."""
    script = browser.execute_cdp_cmd(
        "Page.addScriptToEvaluateOnNewDocument", {"source": KEEP_SOCKETS}
    )
    yield
    browser.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", script)


def test_a_conversation(ada: Visitor, bob: Visitor, room: str) -> None:
    """Each sees what the other says, under the name of the other's login, in the same order."""
    ada.say("Hello, is anybody here?")
    bob.wait_until(lambda me: len(me.messages) == 1)
    bob.say("I am.")
    conversation = [(ada.name, "Hello, is anybody here?"), (bob.name, "I am.")]
    for visitor in (ada, bob):
        visitor.wait_until(lambda me: me.messages == conversation)


def test_history_survives_a_reload(ada: Visitor, bob: Visitor, room: str) -> None:
    """What was said is there again for who comes back, once."""
    ada.say("hello")
    bob.say("hello yourself")
    bob.wait_until(lambda me: len(me.messages) == 2)
    said = bob.messages
    bob.reload()
    bob.wait_until(lambda me: me.messages == said)


def test_a_typing_hint(ada: Visitor, bob: Visitor, room: str) -> None:
    """Who types is announced to the other, and to nobody any more once it is said."""
    ada.type("hel")
    bob.wait_until(lambda me: me.hint == f"{ada.name} is typing …")
    assert ada.hint == ""
    ada.say("lo")
    bob.wait_until(lambda me: me.messages == [(ada.name, "hello")])
    assert bob.hint == ada.hint == ""


def test_text_is_never_html(ada: Visitor, bob: Visitor, room: str) -> None:
    """Markup is shown as it was written."""
    markup = "<img src=x onerror=document.title='broken'><b>bold</b>"
    ada.say(markup)
    bob.wait_until(lambda me: me.messages == [(ada.name, markup)])
    assert bob.browser.find_elements(By.CSS_SELECTOR, ".message img, .message p b") == []


def test_a_message_that_is_too_long(ada: Visitor, bob: Visitor, room: str) -> None:
    """The sender is told, and gets the text back to adapt it; the other sees nothing of it."""
    ada.say("x" * 501)
    ada.wait_until(lambda me: "at most 500 characters" in me.error)
    ada.say(Keys.BACKSPACE)
    bob.wait_until(lambda me: me.messages == [(ada.name, "x" * 500)])
    assert ada.error == ""


def test_a_new_room_appears(ada: Visitor, bob: Visitor) -> None:
    """Who looks at the list sees a room that is made elsewhere, above the others, and goes in."""
    names = [f"room-{uuid4().hex[:8]}" for _ in range(2)]
    bob.look_at_rooms()
    for name in names:
        ada.make_room(name)
        bob.wait_until(lambda me, name=name: me.rooms[:1] == [name])  # type: ignore[misc]  # mypy can't infer a lambda with a default
    assert bob.rooms[:2] == names[::-1]
    bob.find(".rooms a").click()
    bob.wait_until(lambda me: me.find("h1").text == names[-1])


def test_the_serving_process(ada: Visitor, room: str) -> None:
    """The page says which process its socket talks to."""
    assert re.fullmatch(r"served by process \d+", ada.process)


@pytest.mark.usefixtures("keep_sockets")
def test_the_socket_goes_on_from_the_page(ada: Visitor, room: str) -> None:
    """The socket tells where the group stood when the page was rendered."""
    ada.reload()
    told, rendered = ada.browser.execute_script(READ_LIVE)
    assert told == rendered != ""


@pytest.mark.usefixtures("keep_sockets")
@pytest.mark.parametrize("code", [1000, 1006, 1008, 1012, 4000, 4499])
def test_a_closed_socket_comes_back(ada: Visitor, room: str, code: int) -> None:
    """After most codes the page opens another socket, and shows nothing twice."""
    ada.reload()
    ada.say("hello")
    ada.wait_until(lambda me: me.messages == [(me.name, "hello")])
    ada.close_socket(code)
    ada.wait_until(lambda me: me.sockets == 2 and me.state == "open")
    ada.say("back again")
    ada.wait_until(lambda me: me.messages == [(me.name, "hello"), (me.name, "back again")])


@pytest.mark.usefixtures("keep_sockets")
@pytest.mark.parametrize("code", [4500, 4999])
def test_an_unwanted_socket_stays_away(ada: Visitor, room: str, code: int) -> None:
    """After codes from 4500 on the page says so, keeps the text, and opens nothing."""
    ada.reload()
    ada.close_socket(code)
    ada.wait_until(lambda me: me.state == "closed")
    assert ada.state_in_words == f"closed ({code}); reload the page to come back"
    ada.say("hello?")
    assert "no connection" in ada.error
    assert ada.find("#text").get_attribute("value") == "hello?"
    assert ada.sockets == 1


@pytest.mark.usefixtures("keep_sockets")
def test_who_has_logged_out_is_shown_the_login(ada: Visitor, room: str) -> None:
    """When the socket comes back to a login that has ended, the page goes to the login page."""
    ada.reload()
    ada.browser.delete_all_cookies()
    ada.close_socket(4000)
    ada.wait_until(lambda me: me.find("h1").text == "Log in")
    assert ada.browser.current_url.endswith(f"/accounts/login/?next=/chat/{room}/")


@pytest.mark.usefixtures("keep_sockets")
def test_a_connection_that_is_cut(ada: Visitor, bob: Visitor, room: str) -> None:
    """The conversation goes on without her, and is whole when she is back: no gap, no double."""
    ada.reload()
    ada.say("I go through a tunnel.")
    bob.wait_until(lambda me: len(me.messages) == 1)
    ada.cut_the_connection()
    assert "back in" in ada.state_in_words
    missed = [f"You miss this ({number})." for number in range(3)]
    for text in missed:
        bob.say(text)
    bob.wait_until(lambda me: len(me.messages) == 4)
    assert ada.state == "waiting"
    assert len(ada.messages) == 1
    ada.wait_until(lambda me: len(me.messages) == 4, seconds=60)
    ada.wait_until_open()
    assert ada.sockets == 2  # the page is the same, and was not loaded anew
    ada.say("Here I am.")
    bob.wait_until(lambda me: len(me.messages) == 5)
    conversation = [
        (ada.name, "I go through a tunnel."),
        *[(bob.name, text) for text in missed],
        (ada.name, "Here I am."),
    ]
    for visitor in (ada, bob):
        visitor.wait_until(lambda me: me.messages == conversation)


def test_a_server_that_restarts(browser: Chrome, own_site: Site) -> None:
    """The page comes back to the next process, shows what was missed, and keeps what she typed."""
    grace = Visitor(browser, own_site.url, "grace").sign_up()
    grace.make_room("lobby")
    grace.say("hello")
    grace.wait_until(lambda me: len(me.messages) == 1)
    grace.type("here ")
    before = grace.process
    own_site.stop()
    grace.wait_until(lambda me: me.state != "open")
    own_site.manage("shell", "--verbosity=0", "--command", LEAVE_ONE_MESSAGE)
    own_site.start()
    grace.wait_until(lambda me: me.process != before)
    grace.wait_until(
        lambda me: me.messages == [("grace", "hello"), ("grace", "while you were out")]
    )
    grace.wait_until_open()
    grace.say("again")
    grace.wait_until(lambda me: me.messages[2:] == [("grace", "here again")])
    browser.delete_all_cookies()


def test_the_browser_complains_of_nothing(ada: Visitor, room: str) -> None:
    """Styles, scripts and sockets arrive; the console stays empty."""
    ada.browser.get_log("browser")  # type: ignore[no-untyped-call]  # what other tests left there
    ada.look_at_rooms()
    ada.enter(room)
    assert ada.browser.get_log("browser") == []  # type: ignore[no-untyped-call]  # selenium's
