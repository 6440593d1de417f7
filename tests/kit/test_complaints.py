"""The kit: what a test that fails is told."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.kit.chat import Chat, fails
from wsconsumer import WebsocketConsumer
from wsconsumer.counters import counters
from wsconsumer.test import Websocket, advance, connect


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
    assert "sent messages that the test did not receive: ['hello']" in message
    async with connect(Chat, allow_unread=True) as ws:
        await ws.send("hello")


async def test_send_wants_text_or_bytes() -> None:
    """Something else is refused with what to use."""
    async with connect(Chat) as ws:
        with pytest.raises(TypeError, match=r"got \{\}. Use send_json\(\)"):
            await ws.send({})  # type: ignore[arg-type]


async def test_text_that_no_server_can_send() -> None:
    """It raises in the consumer what it raises behind a real server."""

    class Half(WebsocketConsumer):
        async def receive(self, data: str | bytes) -> None:
            with pytest.raises(ValueError, match=r"Half.send\(\) text can't be sent"):
                await self.send("\ud800")
            await self.send("still here")

    async with connect(Half) as ws:
        await ws.send("")
        assert await ws.receive() == "still here"


async def test_a_block_that_is_opened_again() -> None:
    """What connect() returned opens one websocket, and says so."""
    opening = connect(Chat)
    async with opening:
        pass
    with pytest.raises(RuntimeError, match=r"for another, write `async with connect\(Chat\) as ws"):
        await opening.__aenter__()


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
