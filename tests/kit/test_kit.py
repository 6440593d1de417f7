"""The kit: conversations that work, and time."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.test import modify_settings

from tests.kit.chat import Chat
from wsconsumer import WebsocketConsumer
from wsconsumer.test import advance, clock, connect

# What works


async def test_a_conversation() -> None:
    """Text, binary and JSON go both ways."""
    async with connect(Chat) as ws:
        assert (ws.accepted, ws.denial, ws.close_code) == (True, None, None)
        await ws.send("hello")
        assert await ws.receive() == "hello"
        await ws.send(b"\x00")
        assert await ws.receive() == b"\x00"
        await ws.send_json({"a": 1})
        assert await ws.receive_json() == {"a": 1}


async def test_what_the_consumer_is_told() -> None:
    """Path, kwargs, user, headers and subprotocols are what the test says."""
    async with connect(
        Chat,
        "/chat/?a=1",
        kwargs={"room": "lobby"},
        user="ada",
        headers={"X-Mine": "yes"},
        subprotocols=["chat"],
    ) as ws:
        assert ws.subprotocol == "chat"
        await ws.send("who")
        assert await ws.receive() == "ada {'room': 'lobby'} yes"
    headers = [("x-mine", "pairs"), ("Host", "example.com")]
    async with connect(Chat, headers=headers, user="ada", kwargs={}) as ws:
        await ws.send("who")
        assert await ws.receive() == "ada {} pairs"


async def test_a_visitor_by_default() -> None:
    """Without a user the visitor is anonymous; where there is no auth app there is no user."""
    async with connect(Chat, kwargs={}) as ws:
        await ws.send("who")
        assert await ws.receive() == "AnonymousUser {} None"
    with modify_settings(INSTALLED_APPS={"remove": "django.contrib.auth"}):
        async with connect(Chat) as ws:
            await ws.send("quiet")
            await ws.expect_nothing()


async def test_session_and_scheme() -> None:
    """A session may be given, and a connection may be secure."""

    class Telling(WebsocketConsumer):
        async def receive(self, data: str | bytes) -> None:
            await self.send(f"{self.request.session['a']} {self.request.is_secure()}")

    for secure in (True, False):
        async with connect(Telling, session={"a": 1}, secure=secure) as ws:
            await ws.send("")
            assert await ws.receive() == f"1 {secure}"


async def test_an_application_that_is_no_class() -> None:
    """It finds in its scope what Channels' routing and authentication would have put there."""

    async def application(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        told = f"{scope['url_route']['kwargs']} {scope['user']} {'session' in scope}"
        await send({"type": "websocket.send", "text": told})
        await receive()

    async with connect(application, kwargs={"room": "attic"}, user="ada") as ws:
        assert await ws.receive() == "{'room': 'attic'} ada False"


async def test_a_client_closes_with_what_a_client_may_send() -> None:
    """A close code that no endpoint may send is refused."""
    async with connect(Chat) as ws:
        with pytest.raises(ValueError, match="can't send the close code 99"):
            await ws.close(99)


async def test_a_denial() -> None:
    """A denied connection is a fact, not an error."""
    async with connect(Chat, "/?deny=1") as ws:
        assert not ws.accepted
        assert ws.denial is not None
        assert ws.denial.status == 404
        assert ws.denial.headers["Content-Length"] == "0"
        assert repr(ws.denial) == "<Denial 404 {'content-length': '0'} b''>"


async def test_a_close_of_the_application() -> None:
    """The application's close code and reason are facts."""
    async with connect(Chat) as ws:
        await ws.send("close")
        assert await ws.receive_close() == 4000
        assert (ws.close_code, ws.close_reason) == (4000, "as told")
        await ws.close()


async def test_several_clients_and_a_second_visit() -> None:
    """Connections of one test are independent, and a client may come back."""
    async with connect(Chat) as one, connect(Chat) as two:
        await one.send("from one")
        await two.expect_nothing()
        assert await one.receive() == "from one"
    async with connect(Chat) as one:
        await one.send("again")
        assert await one.receive() == "again"


async def test_clients_that_leave_out_of_order() -> None:
    """The first to come may be the first to leave."""
    one, two = connect(Chat), connect(Chat)
    first = await one.__aenter__()
    second = await two.__aenter__()
    await first.send("a")
    assert await first.receive() == "a"
    await one.__aexit__(None, None, None)
    await second.send("b")
    assert await second.receive() == "b"
    await two.__aexit__(None, None, None)


async def test_sync_code_runs_beside_the_event_loop() -> None:
    """Thread-sensitive code has a thread of its own, and no lane."""
    async with connect(Chat) as ws:
        await ws.send("thread")
        assert str(await ws.receive()).startswith("wsconsumer-test")


# Time


async def test_advance() -> None:
    """Timers, sleeps and timeouts happen at once, in order, and no sooner than they are due."""
    async with connect(Chat) as ws:
        await ws.send("tick")
        await ws.advance(59)
        await ws.expect_nothing()
        await ws.advance(1)
        assert await ws.receive() == "0"
        await ws.advance(3600)
        assert [await ws.receive(), await ws.receive()] == ["1", "2"]


async def test_advance_goes_forwards() -> None:
    """Time does not run backwards, and a small step is a small step."""
    loop = asyncio.get_running_loop()
    before = loop.time()
    await advance(100)
    await advance(0.5)
    assert 100.5 <= loop.time() - before < 110
    for seconds in (-1, float("nan"), float("inf")):
        with pytest.raises(ValueError, match=f"at least 0, got {seconds}"):
            await advance(seconds)


class ForeignLoop(asyncio.AbstractEventLoop):
    """An event loop whose clock is not asyncio's, like uvloop's."""


@pytest.mark.parametrize("late", range(12))
async def test_real_time_goes_on_too(late: int) -> None:
    """A timer that real time makes due while the clock is moved still sets the next one in time."""
    loop = asyncio.get_running_loop()
    ticks: list[float] = []

    def tick() -> None:
        ticks.append(loop.time())
        loop.call_later(1, tick)

    async def stall() -> None:
        """Let a second pass, as on a slow machine, some turns of the loop later."""
        for _ in range(late):
            await asyncio.sleep(0)
        clock._set(loop, loop.time() + 1)  # noqa: SLF001  # what real time would do

    loop.call_later(1, tick)
    stalling = asyncio.create_task(stall())
    await advance(10)
    await stalling
    assert len(ticks) >= 8  # each is a second after the one before, and one was late


def test_advance_needs_a_loop_of_asyncio(monkeypatch: pytest.MonkeyPatch) -> None:
    """On another loop the error names it, and what to do."""
    monkeypatch.setattr(asyncio, "get_running_loop", ForeignLoop)
    with pytest.raises(TypeError, match=r"got tests\.kit\.test_kit\.ForeignLoop\. Run this test"):
        advance(1).send(None)


async def test_settle_waits_for_threads() -> None:
    """An application that waits for a thread is not idle."""
    release = threading.Event()
    done = []

    class Slow(WebsocketConsumer):
        async def receive(self, data: str | bytes) -> None:
            await sync_to_async(release.wait)(5)
            done.append(data)

    async with connect(Slow) as ws:
        await ws.send("a")
        asyncio.get_running_loop().call_soon(release.set)
        await ws.settle()
        assert done == ["a"]


async def test_another_event_loop() -> None:
    """A websocket that is used in another event loop than its own says so."""
    async with connect(Chat) as websocket:
        with pytest.raises(RuntimeError, match="belongs to the event loop that it was opened in"):
            await asyncio.to_thread(asyncio.run, websocket.settle())
