"""``connection/connection.py``: accept and reject, and what may not come after them."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from tests.connection.deciding import deciding, error_in_connect
from tests.fakes import ACCEPT, CONNECT, DENIAL, DENIED, Wire, disconnect, run, scope
from wsconsumer import InvalidState

# accept()


async def test_accept_sends_subprotocol_and_headers() -> None:
    """What accept() is given goes out with it, and the subprotocol can be read afterwards."""
    chosen = []

    async def decide(consumer: Any) -> None:
        await consumer.accept("chat.v2", headers=[("X-Room", "lobby")])
        chosen.append(consumer.subprotocol)

    messages = await run(
        deciding(decide).as_asgi(), disconnect(), subprotocols=["chat.v1", "chat.v2"]
    )
    assert messages == [
        {"type": "websocket.accept", "subprotocol": "chat.v2", "headers": [(b"x-room", b"lobby")]}
    ]
    assert chosen == ["chat.v2"]


@pytest.mark.parametrize("offered", [["chat.v1"], [], None], ids=str)
async def test_a_subprotocol_must_be_offered(offered: list[str] | None) -> None:
    """A subprotocol that the client does not offer is refused, and the decision stays open."""
    message, messages = await error_in_connect(
        lambda c: c.accept("chat.v2"), ValueError, subprotocols=offered
    )
    assert "can't choose the subprotocol 'chat.v2': the client offers" in message
    assert messages == [ACCEPT]


@pytest.mark.parametrize("verb", ["accept", "reject"])
async def test_bad_headers_are_refused_before_anything_is_sent(verb: str) -> None:
    """A header that can't be sent is an error of the verb, and the decision stays open."""
    message, messages = await error_in_connect(
        lambda c: getattr(c, verb)(headers=[("X-Name", "\u20ac")]), ValueError
    )
    assert message.startswith(f"Deciding.{verb}() can't send")
    assert messages == [ACCEPT]


# Two decisions


async def test_accept_twice() -> None:
    """A second accept() is an error, and the connection stays open."""

    async def decide(consumer: Any) -> None:
        await consumer.accept()
        await consumer.accept()

    message, messages = await error_in_connect(decide, InvalidState)
    assert message == (
        "Deciding.accept() comes too late: the connection is OPEN, accept() was called. "
        "End it with close()."
    )
    assert messages == [ACCEPT]


async def test_reject_after_accept() -> None:
    """An accepted connection can't be rejected; the error names close()."""

    async def decide(consumer: Any) -> None:
        await consumer.accept()
        await consumer.reject()

    message, messages = await error_in_connect(decide, InvalidState)
    assert "reject() comes too late" in message
    assert "close()" in message
    assert messages == [ACCEPT]


@pytest.mark.parametrize("verb", ["accept", "reject"])
async def test_a_decision_after_reject(verb: str) -> None:
    """After reject() there is nothing more to decide."""

    async def decide(consumer: Any) -> None:
        await consumer.reject(404)
        await getattr(consumer, verb)()

    message, messages = await error_in_connect(decide, InvalidState)
    assert message == f"Deciding.{verb}() comes too late: reject(404) was called."
    assert messages == [DENIED]


async def test_send_after_reject() -> None:
    """What is sent after reject() can't arrive, and the error says why."""

    async def decide(consumer: Any) -> None:
        await consumer.reject(401)
        await consumer.send("hello")

    message, _ = await error_in_connect(decide, InvalidState)
    assert message == "Deciding.send() comes too late: reject(401) was called."


# reject()


async def test_reject_sends_a_denial_response() -> None:
    """Where the server has denial responses, status, headers and body go out whole."""

    async def decide(consumer: Any) -> None:
        await consumer.reject(451, "sorry", headers={"X-Why": "law"})

    messages = await run(deciding(decide).as_asgi(), **DENIAL)
    assert messages == [
        {
            "type": "websocket.http.response.start",
            "status": 451,
            "headers": [
                (b"x-why", b"law"),
                (b"content-type", b"text/plain; charset=utf-8"),
                (b"content-length", b"5"),
            ],
        },
        {"type": "websocket.http.response.body", "body": b"sorry"},
    ]


async def test_reject_keeps_the_headers_that_it_is_given() -> None:
    """A content type of one's own is not overwritten, bytes get no type, and the length is true."""

    async def decide(consumer: Any) -> None:
        headers = [("Content-Type", "text/html"), ("Content-Length", "7")]
        await consumer.reject(403, "hi", headers)

    start, _ = await run(deciding(decide).as_asgi(), **DENIAL)
    assert start["headers"] == [(b"content-type", b"text/html"), (b"content-length", b"2")]

    start, body = await run(deciding(lambda c: c.reject(403, b"hi")).as_asgi(), **DENIAL)
    assert start["headers"] == [(b"content-length", b"2")]
    assert body["body"] == b"hi"


async def test_reject_falls_back_to_403(caplog: pytest.LogCaptureFixture) -> None:
    """A server without denial responses gets a close, and the log says what is lost."""
    caplog.set_level(logging.INFO, "wsconsumer")
    assert await run(deciding(lambda c: c.reject()).as_asgi()) == [DENIED]
    assert caplog.messages == []
    assert await run(deciding(lambda c: c.reject(404)).as_asgi()) == [DENIED]
    assert caplog.messages == ["No denial response here: the client gets 403, not 404."]


@pytest.mark.parametrize("status", [101, 200, 299, 600, "403", None], ids=repr)
async def test_reject_wants_a_status_that_denies(status: Any) -> None:
    """A status that is no denial is refused."""
    message, _ = await error_in_connect(lambda c: c.reject(status), ValueError)
    assert "expects an HTTP status from 300 to 599" in message


async def test_reject_wants_a_body_of_text_or_bytes() -> None:
    """A body must be str or bytes, and a str must be UTF-8."""
    message, _ = await error_in_connect(lambda c: c.reject(403, {"why": "law"}), TypeError)
    assert "expects body to be str or bytes, got {'why': 'law'}" in message
    message, _ = await error_in_connect(lambda c: c.reject(403, "\ud800"), ValueError)
    assert message.startswith("Deciding.reject() body can't be sent")


async def test_a_client_that_left_needs_no_denial(caplog: pytest.LogCaptureFixture) -> None:
    """A reject() that the server can't send any more is no error."""
    caplog.set_level(logging.INFO, "wsconsumer")
    wire = Wire(CONNECT)
    wire.fail_on = "websocket.close"
    await deciding(lambda c: c.reject()).as_asgi()(scope(), wire.receive, wire.send)
    assert caplog.messages == []


@pytest.mark.parametrize(
    ("offered", "chosen", "lines"),
    [(["token", "abc"], None, 1), (["chat"], "chat", 0), ([], None, 0)],
    ids=["none of several", "one", "none offered"],
)
async def test_offered_subprotocols_of_which_none_is_chosen(
    offered: list[str], chosen: str | None, lines: int, caplog: pytest.LogCaptureFixture
) -> None:
    """A browser fails such a connection, so one line says why, without what was offered."""
    caplog.set_level("INFO", "wsconsumer.consumer")

    async def decide(consumer: Any) -> None:
        await consumer.accept(chosen)

    await run(deciding(decide).as_asgi(), disconnect(), subprotocols=offered)
    texts = [record.getMessage() for record in caplog.records]
    assert len(texts) == lines
    assert all("accepted without a subprotocol" in text for text in texts)
    assert not any("abc" in text for text in texts)
