"""``socket.js`` in a browser, with real servers: what a page is told when something goes wrong."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from tests.browsers.relay import Relay
from tests.browsers.tab import PONG, Tab, site
from tests.servers.harness import HOST, Server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that stays as it is."""
    with site(tmp_path_factory.mktemp("site")) as server:
        yield server


def test_a_server_is_restarted(tab: Tab, tmp_path: Path) -> None:
    """The page comes back when the server does, and is told that the history is another one."""
    with Relay(0) as relay:
        with site(tmp_path / "old") as old:
            relay.to = old.port
            tab.open(relay.port)
            tab.until("open")
            tab.say(old, "one")
            tab.until("message one")
            relay.to = 0
            old.terminate()
            tab.until("waiting 1012", "waiting 1006")
        with site(tmp_path / "new") as new:
            relay.to = new.port
            tab.until("open", times=2)
            tab.until(f"reload room.{tab.key}")
            tab.say(new, "two")
            tab.until("message two")
    assert [text for text in tab.log if text.startswith("message")] == [
        "message one",
        "message two",
    ]


def test_a_rolling_restart_of_two_processes(tab: Tab, tmp_path: Path) -> None:
    """The page goes from each to the next one, and hears what is said there."""
    with ExitStack() as stack:
        relay = stack.enter_context(Relay(0))
        servers = [stack.enter_context(site(tmp_path / name)) for name in "ab"]
        relay.to = servers[0].port
        tab.open(relay.port)
        tab.until("open")
        for count, name in enumerate("cd", 1):
            leaving = servers.pop(0)
            relay.to = servers[0].port
            leaving.terminate()
            servers.append(stack.enter_context(site(tmp_path / name)))
            tab.until("waiting 1012", times=count)
            tab.until("open", times=count + 1)
            tab.say(servers[0], f"{count}")
            tab.until(f"message {count}")
    assert tab.messages == ["1", "2"]


def test_the_network_is_gone(tab: Tab, tmp_path: Path) -> None:
    """Without a sign of life the page gives up; when the network is back it goes on at once."""
    with site(tmp_path, heartbeat=1) as server, Relay(server.port) as relay:
        tab.open(relay.port)
        tab.join(server)
        tab.until(PONG)  # the server has said how often its heartbeat comes
        tab.run("Math.random = () => 0.99")
        with tab.offline():
            relay.swallow()
            tab.say(server, "two")
            tab.until("waiting 1006", times=2)  # the second attempt fails, since it is offline
            tab.say(server, "three")
        tab.until("open", times=2)
        tab.until("message three")
        assert tab.run("navigator.onLine")
    assert tab.messages == ["begin", "two", "three"]
    assert not tab.reloads


def test_a_laptop_sleeps(tab: Tab, server: Server) -> None:
    """When it wakes, its clock has jumped and its connection is dead: the page opens another."""
    with Relay(server.port) as relay:
        tab.open(relay.port)
        tab.join(server)
        relay.swallow()
        tab.say(server, "meanwhile")
        tab.run("Date.now = () => performance.timeOrigin + performance.now() + 3_600_000")
        tab.run("document.dispatchEvent(new Event('visibilitychange', { bubbles: true }))")
        tab.until("waiting 1006", "message meanwhile")
    assert tab.messages == ["begin", "meanwhile"]
    assert not tab.reloads


def test_a_hidden_tab_is_in_no_hurry(tab: Tab, server: Server) -> None:
    """It would come back within two minutes; when it is shown, it does so at once."""
    with Relay(server.port) as relay:
        tab.open(relay.port)
        tab.join(server)
        tab.run("Math.random = () => 0.99")
        with tab.hidden(relay.port):
            relay.cut()
            tab.until("other waiting 1006")
            tab.say(server, "meanwhile")
        tab.until("message meanwhile")
        assert tab.delays == [0.99 * 120_000]
    assert tab.messages == ["begin", "meanwhile"]


def test_a_frozen_tab(tab: Tab, server: Server) -> None:
    """What was said while it was frozen is there soon after it thaws."""
    tab.open(server.port)
    tab.join(server)
    tab.lifecycle("frozen")
    tab.say(server, "meanwhile")
    tab.lifecycle("active")
    tab.show()
    tab.until("message meanwhile")
    assert tab.messages == ["begin", "meanwhile"]
    assert not tab.reloads


async def test_a_page_that_was_left_and_kept(tab: Tab, server: Server) -> None:
    """Its user is gone for the server; on the way back it gets what it missed."""
    tab.open(server.port)
    tab.join(server)
    tab.browser.get(f"http://{HOST}:{server.port}/away/")
    await tab.told(server, "disconnect")
    tab.say(server, "meanwhile")
    tab.browser.back()
    tab.until("message meanwhile")
    assert tab.messages == ["begin", "meanwhile"]
    assert tab.log.count("open") == 2  # it is the same page


def test_a_token_that_has_expired(tab: Tab, server: Server) -> None:
    """The page is asked for a fresh one, which is never in the URL."""
    tokens = "((left) => ({ token: async () => left.shift() }))(['stale', 'fresh'])"
    tab.open(server.port, "/ws/members/{}/", tokens)
    tab.until("waiting 4401")
    tab.until("open", times=2)
    assert tab.delays == [2_000]
    came = [event for event in server.journal.story(tab.key).events if event["event"] == "connect"]
    assert [event["token"] for event in came] == ["Bearer stale", "Bearer fresh"]
    assert not any("fresh" in event["query"] for event in came)


def test_a_login_that_is_over(tab: Tab, server: Server) -> None:
    """A second 4401 in a row is the last one."""
    tab.open(server.port, "/ws/members/{}/", "{ token: 'stale' }")
    tab.until("waiting 4401", "closed 4401")


@pytest.mark.parametrize(
    ("path", "code"), [("/ws/refuses/{}/", 4503), ("/ws/nowhere/{}/", 4504)], ids=["403", "404"]
)
def test_a_page_is_refused(tab: Tab, server: Server, path: str, code: int) -> None:
    """It is told which way, and does not try again."""
    tab.open(server.port, path)
    tab.until(f"closed {code}")


async def test_requests_and_streams(tab: Tab, server: Server) -> None:
    """Replies come to whoever asked, and leaving a loop ends the stream on the server."""
    tab.open(server.port, "/ws/typed/{}/")
    tab.until("open")
    assert tab.wait("socket.request({ type: 'add', a: 2, b: 3 })")["value"] == 5
    refused = tab.wait("socket.request({ type: 'add', a: 2 }).catch(({ code }) => code)")
    assert refused == "invalid"
    count = """(async () => {
        const found = [];
        for await (const { value } of socket.stream({ type: "count" })) {
            found.push(value);
            if (value === 3) return found;
        }
    })()"""
    assert tab.wait(count) == [1, 2, 3]
    await tab.told(server, "cancelled")
    assert tab.messages == []
