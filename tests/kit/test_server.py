"""``wsconsumer.test.server``: what a strict server takes, and how it speaks each dialect."""

from __future__ import annotations

from typing import Any

import pytest

from wsconsumer import ConnectionClosed, WebsocketConsumer
from wsconsumer.test import IllegalEvent, connect

ACCEPT: dict[str, Any] = {"type": "websocket.accept"}
SEND: dict[str, Any] = {"type": "websocket.send", "text": "x"}
CLOSE: dict[str, Any] = {"type": "websocket.close"}
START: dict[str, Any] = {"type": "websocket.http.response.start", "status": 403, "headers": []}
BODY: dict[str, Any] = {"type": "websocket.http.response.body", "body": b""}

ILLEGAL = {
    "unknown-type": ([{"type": "websocket.ping"}], "no message of type 'websocket.ping'"),
    "no-type": ([{}], "no message of type None"),
    "send-before-accept": ([SEND], "websocket.send needs websocket.accept first"),
    "send-after-close": ([ACCEPT, CLOSE, SEND], "websocket.send comes after websocket.close"),
    "close-twice": ([ACCEPT, CLOSE, CLOSE], "websocket.close comes after websocket.close"),
    "accept-twice": ([ACCEPT, ACCEPT], "comes too late: the connection was accepted"),
    "accept-after-denial": ([CLOSE, ACCEPT], "comes too late: the connection was denied"),
    "deny-after-accept": ([ACCEPT, START], "comes too late: the connection was accepted"),
    "body-alone": ([BODY], "comes after response.start"),
    "subprotocol": ([{**ACCEPT, "subprotocol": "b"}], r"'b' is not offered, \['a'\] are"),
    "text-and-bytes": ([ACCEPT, {**SEND, "bytes": b"x"}], "either text or bytes"),
    "neither": ([ACCEPT, {"type": "websocket.send"}], "either text or bytes"),
    "text-as-bytes": ([ACCEPT, {"type": "websocket.send", "text": b"x"}], "got bytes"),
    "bytes-as-text": ([ACCEPT, {"type": "websocket.send", "bytes": "x"}], "got str"),
    "close-code": ([ACCEPT, {**CLOSE, "code": 1005}], "can't send the close code 1005"),
    "close-reason": ([ACCEPT, {**CLOSE, "reason": "x" * 124}], "a reason of 124 bytes"),
    "header-str": ([{**ACCEPT, "headers": [("a", "b")]}], "pairs of bytes"),
    "header-case": ([{**ACCEPT, "headers": [(b"A", b"b")]}], "names in lower case"),
    "denial-header": ([{**START, "headers": ["a"]}], "pairs of bytes"),
}


@pytest.mark.parametrize(("messages", "rule"), ILLEGAL.values(), ids=ILLEGAL)
async def test_what_is_illegal(messages: list[dict[str, Any]], rule: str) -> None:
    """It fails the test with the rule, even when the application swallows the error."""

    async def application(scope: Any, receive: Any, send: Any) -> None:
        *legal, illegal = messages
        await receive()
        for message in legal:
            await send(message)
        with pytest.raises(IllegalEvent):
            await send(illegal)

    with pytest.raises(IllegalEvent, match=rule):
        async with connect(application, subprotocols=["a"]):
            pass


async def test_receiving_after_the_end_is_illegal() -> None:
    """receive() after the disconnect event would wait forever on a real server."""

    async def application(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send(ACCEPT)
        await receive()
        await receive()

    with pytest.raises(IllegalEvent, match="waits forever"):
        async with connect(application):
            pass


async def test_a_denial_in_plain_asgi() -> None:
    """Without the extension a close is a 403, and a response is illegal."""

    async def plain(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send(CLOSE)

    async with connect(plain, server="daphne-unadapted") as ws:
        assert ws.denial is not None
        assert (ws.accepted, ws.denial.status, ws.denial.body) == (False, 403, b"")

    async def whole(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send(START)

    with pytest.raises(IllegalEvent, match="no extension websocket"):
        async with connect(whole, server="daphne-unadapted"):
            pass


class Recorder(WebsocketConsumer):
    """Notes how its sends end and what disconnect() gets; sends on each message."""

    notes: list[Any] = []  # noqa: RUF012  # emptied by the fixture

    async def connect(self) -> None:
        await self.accept(headers=[("Set-Cookie", "a=1")])

    async def receive(self, data: str | bytes) -> None:
        self.notes.append(data)
        await self.send(data)

    async def disconnect(self, code: int, reason: str) -> None:
        self.notes.append((code, reason))


@pytest.fixture(autouse=True)
def _no_notes() -> None:
    Recorder.notes.clear()


@pytest.mark.parametrize(
    "server", ["asgi", "daphne", "daphne-unadapted", "uvicorn", "hypercorn", "granian"]
)
async def test_messages_in_every_dialect(server: str) -> None:
    """Text and binary arrive whether keys are absent or None; daphne drops empty ones."""
    async with connect(Recorder.as_asgi(), server=server) as ws:
        for data in ("text", b"binary"):
            await ws.send(data)
            assert await ws.receive() == data
        await ws.send("")
        if server == "daphne-unadapted":
            await ws.expect_nothing()
        else:
            assert await ws.receive() == ""


@pytest.mark.parametrize(
    ("server", "seen"),
    [
        ("asgi", (4000, "tired")),
        ("daphne", (4000, "tired")),
        ("daphne-unadapted", (4000, "")),
        ("uvicorn", (4000, "tired")),
        ("hypercorn", (1005, "")),
        ("granian", (4000, "")),
    ],
)
async def test_leaving_in_every_dialect(server: str, seen: tuple[int, str]) -> None:
    """What a server does not report, the consumer does not get."""
    async with connect(Recorder, server=server) as ws:
        await ws.close(4000, "tired")
    assert Recorder.notes == [seen]


@pytest.mark.parametrize(
    ("server", "error"),
    [("asgi", OSError), ("daphne-unadapted", None), ("hypercorn", None), ("granian", RuntimeError)],
)
async def test_sending_after_the_client_left(server: str, error: type[Exception] | None) -> None:
    """Some servers raise, each its own, and some say nothing; illegal it is nowhere."""
    outcomes: list[Any] = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send(ACCEPT)
        await receive()
        try:
            await send(SEND)
        except Exception as caught:  # noqa: BLE001  # its type is what is looked at
            outcomes.append(type(caught))
        else:
            outcomes.append(None)

    async with connect(application, server=server) as ws:
        await ws.close()
    assert outcomes == [error]


async def test_daphne_refuses_some_close_codes() -> None:
    """Daphne, unadapted, raises for 1011 as it does in life; 1000 goes out in its place."""

    class Closing(WebsocketConsumer):
        async def receive(self, data: str | bytes) -> None:
            await self.close(1011)

    async with connect(Closing, server="daphne-unadapted") as ws:
        await ws.send("go")
        assert await ws.receive_close() == 1000


@pytest.mark.parametrize(
    ("server", "cookies"), [("asgi", ["a"]), ("daphne", ["a"]), ("granian", [])]
)
async def test_accept_headers(server: str, cookies: list[str]) -> None:
    """They reach the client where the server sends them."""
    async with connect(Recorder, server=server) as ws:
        assert list(ws.cookies) == cookies


async def test_a_client_that_does_not_read() -> None:
    """After pause() a send waits until resume(), and raises once the client has gone."""
    async with connect(Recorder) as ws:
        ws.pause()
        await ws.send("a")
        await ws.send("b")
        with pytest.raises(AssertionError, match="Expected a message within"):
            await ws.receive(timeout=0.01)
        assert Recorder.notes == ["a"]
        ws.resume()
        assert [await ws.receive(), await ws.receive()] == ["a", "b"]


async def test_connection_closed_when_the_client_leaves_while_a_send_waits() -> None:
    """A send that waits for a client that leaves fails as on a real server."""
    errors = []

    class Sending(WebsocketConsumer):
        async def receive(self, data: str | bytes) -> None:
            try:
                await self.send(data)
            except ConnectionClosed as error:
                errors.append(error)

    async with connect(Sending) as ws:
        ws.pause()
        await ws.send("a")
        await ws.settle()
        await ws.close()
    assert len(errors) == 1
