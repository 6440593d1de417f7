"""``wsconsumer.test.connect`` and ``Websocket``: what a test says and what it is told."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import pytest
from asgiref.sync import sync_to_async
from django.http import Http404
from django.test import modify_settings

from wsconsumer import WebsocketConsumer
from wsconsumer.counters import counters
from wsconsumer.test import Websocket, advance, connect

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


class Chat(WebsocketConsumer):
    """Does what each message says."""

    async def connect(self) -> None:
        if self.request.GET.get("deny"):
            raise Http404
        await self.accept("chat" if "chat" in self.scope["subprotocols"] else None)

    async def receive(self, data: str | bytes) -> None:  # noqa: C901  # a case a message
        match data:
            case "fail":
                raise RuntimeError("the message said so")
            case "hang":
                await asyncio.get_running_loop().create_future()
            case "close":
                await self.close(4000, "as told")
            case "who":
                await self.send(f"{self.user} {self.kwargs} {self.request.headers.get('X-Mine')}")
            case "thread":
                name = await sync_to_async(lambda: threading.current_thread().name)()
                await self.send(name)
            case "tick":
                self.spawn(self.tick())
            case "leave-task":
                self.task = asyncio.create_task(self.tick())
            case "quiet":
                pass
            case _:
                await self.send(data)

    async def tick(self) -> None:
        for number in range(3):
            await asyncio.sleep(60)
            await self.send(str(number))


async def fails(block: Callable[[Websocket], Awaitable[None]], **options: Any) -> str:
    """Return what the test is told when this is done with a connection."""
    with pytest.raises(AssertionError) as caught:
        async with connect(Chat, **options) as ws:
            await block(ws)
    return str(caught.value)


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


async def test_a_view_is_no_application() -> None:
    """What urls.py wants is refused with what is wanted here."""
    with pytest.raises(TypeError, match="expects a consumer class or an ASGI application"):
        async with connect(Chat.as_view()):  # type: ignore[arg-type]  # the mistake
            pass


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
    with pytest.raises(ValueError, match="at least 0, got -1"):
        await advance(-1)


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


# What the test is told


async def test_nothing_comes() -> None:
    """A receive that times out says what was seen and where the application waits."""

    async def block(ws: Websocket) -> None:
        await ws.send("hang")
        await ws.receive(timeout=0.01)

    message = await fails(block)
    assert message.startswith("Expected a message within 0.01 seconds. So far:")
    assert "-> websocket.receive {'text': 'hang'}" in message
    assert "The application waits here:" in message
    assert "await asyncio.get_running_loop().create_future()" in message
    assert "wsconsumer/consumer.py" not in message


async def test_nothing_comes_of_an_idle_application() -> None:
    """Where the application itself waits for the client, the message says so."""

    async def block(ws: Websocket) -> None:
        await ws.receive(timeout=0.01)

    assert (await fails(block)).endswith("The application waits for the next event.")


async def test_a_timeout_leaves_the_application_alone() -> None:
    """After a timeout the conversation can go on."""
    async with connect(Chat) as ws:
        with pytest.raises(AssertionError, match="Expected a message"):
            await ws.receive(timeout=0)
        await ws.send("hello")
        assert await ws.receive() == "hello"


async def test_a_close_in_place_of_a_message() -> None:
    """A receive that meets the application's close says so."""

    async def block(ws: Websocket) -> None:
        await ws.send("close")
        await ws.receive()

    assert "closed the connection with 4000 'as told'" in await fails(block)


async def test_a_denial_in_place_of_a_message() -> None:
    """A receive or send on a denied connection says so."""
    message = await fails(lambda ws: ws.send("x"), path="/?deny=1")
    assert "send() needs an open connection" in message
    assert "websocket.http.response.start {'status': 404" in message

    async def receive(ws: Websocket) -> None:
        await ws.receive()

    assert "Expected a message, but '/' was denied with 404." in await fails(
        receive, path="/?deny=1"
    )


async def test_something_comes_unexpectedly() -> None:
    """expect_nothing() says what came."""

    async def block(ws: Websocket) -> None:
        await ws.send("hello")
        await ws.expect_nothing()

    assert (await fails(block)).startswith("Expected nothing, got ['hello']. So far:")


async def test_a_close_comes_unexpectedly() -> None:
    """A close is something, too; one that the test knows of is not."""

    async def block(ws: Websocket) -> None:
        await ws.send("close")
        await ws.expect_nothing()

    assert "Expected nothing, got a close with 4000 'as told'." in await fails(block)
    async with connect(Chat) as ws:
        await ws.send("close")
        await ws.receive_close()
        await ws.expect_nothing()


async def test_unread_messages() -> None:
    """What the test did not receive fails it, unless it says that it may."""
    message = await fails(lambda ws: ws.send("hello"))
    assert "sent what the test did not receive: ['hello']" in message
    async with connect(Chat, allow_unread=True) as ws:
        await ws.send("hello")


async def test_send_wants_text_or_bytes() -> None:
    """Something else is refused with what to use."""
    async with connect(Chat) as ws:
        with pytest.raises(TypeError, match=r"got \{\}. Use send_json\(\)"):
            await ws.send({})  # type: ignore[arg-type]


async def test_an_exception_in_a_hook() -> None:
    """It is raised in the test, at the next call and with its own traceback."""
    with pytest.raises(RuntimeError, match="the message said so") as caught:  # noqa: PT012
        async with connect(Chat) as ws:
            await ws.send("fail")
            await ws.receive()
    assert caught.traceback[-1].name == "receive"


async def test_an_exception_in_a_hook_at_the_end() -> None:
    """It is raised at the latest when the block ends."""
    with pytest.raises(RuntimeError, match="the message said so"):
        async with connect(Chat) as ws:
            await ws.send("fail")


async def test_an_exception_in_another_connection() -> None:
    """It is raised by its own client alone."""
    async with connect(Chat) as one:
        with pytest.raises(RuntimeError, match="the message said so"):
            async with connect(Chat) as two:
                await two.send("fail")
        await one.send("unharmed")
        assert await one.receive() == "unharmed"


async def test_exceptions_may_be_left_to_the_consumer() -> None:
    """With raise_exceptions=False a failing hook is what a client sees of it: 1011."""
    async with connect(Chat, raise_exceptions=False) as ws:
        await ws.send("fail")
        assert await ws.receive_close() == 1011
    assert counters["hook_failed"] == 1


async def test_an_exception_of_the_application_itself() -> None:
    """What comes out of the ASGI application is raised, at the start too."""

    async def application(scope: Any, receive: Any, send: Any) -> None:
        raise RuntimeError("at once")

    with pytest.raises(RuntimeError, match="at once"):
        async with connect(application):
            pass


async def test_an_application_that_does_not_decide() -> None:
    """One that returns without accepting or denying is told so."""

    async def application(scope: Any, receive: Any, send: Any) -> None: ...

    with pytest.raises(AssertionError, match="Expected a decision, but the application has ended"):
        async with connect(application):
            pass


async def test_the_exception_of_the_test_counts() -> None:
    """What the test itself raises is not hidden by what is unread or hangs."""
    with pytest.raises(KeyError, match="mine"):  # noqa: PT012
        async with connect(Chat) as ws:
            await ws.send("hello")
            raise KeyError("mine")


async def test_a_task_left_behind() -> None:
    """A task that the application started and did not end fails the test, and is cancelled."""
    message = await fails(lambda ws: ws.send("leave-task"))
    assert message.endswith("left tasks running: Chat.tick.")


async def test_an_application_that_does_not_end() -> None:
    """One that ignores that the client left is told where it waits, and cancelled."""

    async def application(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        await receive()
        await asyncio.get_running_loop().create_future()

    with pytest.raises(AssertionError, match="Expected the end of the application within"):  # noqa: PT012
        async with connect(application) as ws:
            ws_close = asyncio.create_task(ws.close())
            await asyncio.sleep(0)
            await advance(5)
            await ws_close


async def test_an_unknown_server() -> None:
    """A dialect that nobody speaks is refused with those that are known."""
    with pytest.raises(ValueError, match="must be one of asgi, daphne, "):
        async with connect(Chat, server="gunicorn"):
            pass


async def test_vanish() -> None:
    """A client that vanishes is a 1006."""
    codes = []

    class Leaving(WebsocketConsumer):
        async def disconnect(self, code: int, reason: str) -> None:
            codes.append(code)

    async with connect(Leaving) as ws:
        await ws.vanish()
    async with connect(Leaving):
        pass
    assert codes == [1006, 1001]
