"""``json_consumer.py``: messages that are JSON, and those that should be."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from tests.fakes import ACCEPT, close, disconnect, run, sent, text
from wsconsumer import JsonWebsocketConsumer
from wsconsumer.counters import counters


class Echo(JsonWebsocketConsumer):
    """Sends back what it was sent, in a list."""

    async def receive_json(self, content: Any) -> None:
        await self.send([content])


@pytest.mark.parametrize(
    ("event", "answer"),
    [
        ({"text": '{"a": [1, null]}'}, '[{"a":[1,null]}]'),
        ({"text": '"grüß Gott"'}, '["grüß Gott"]'),
        ({"text": " 7 "}, "[7]"),
        ({"bytes": b"true"}, "[true]"),
    ],
    ids=str,
)
async def test_json_in_and_out(event: dict[str, Any], answer: str) -> None:
    """receive_json() gets what the JSON of a message says, and send() sends JSON."""
    messages = await run(Echo.as_asgi(), {"type": "websocket.receive", **event}, disconnect())
    assert messages == [ACCEPT, sent(answer)]


MALFORMED: dict[str, dict[str, Any]] = {
    "empty": {"text": ""},
    "not-JSON": {"text": "hello"},
    "truncated": {"text": '{"a": 1'},
    "two": {"text": "1 2"},
    "NaN": {"text": "NaN"},
    "too-big": {"text": "9" * 5000},
    "too-deep": {"text": "[" * 100_000},
    "not-UTF-8": {"bytes": b'"\xff"'},
    "a-lone-surrogate": {"text": '"\\ud800"'},
}


@pytest.mark.parametrize("event", MALFORMED.values(), ids=MALFORMED)
async def test_what_is_not_json(event: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    """As is, it closes with 1007, and the log and a counter tell."""
    messages = await run(
        Echo.as_asgi(), {"type": "websocket.receive", **event}, disconnect(1007), path="/a\nb/"
    )
    assert messages == [ACCEPT, close(1007, "not JSON")]
    [record] = caplog.records
    assert record.levelno == logging.WARNING
    assert record.message.startswith(
        r"Echo on /a\nb/: closing with 1007, the client sent what is not JSON: "
    )
    assert counters["message_malformed"] == 1


async def test_the_class_says_what_happens() -> None:
    """receive_malformed() gets the message and the problem, and the connection stays open."""

    class Patient(Echo):
        async def receive_malformed(self, data: str | bytes, problem: str) -> None:
            await self.send({"got": data, "problem": problem})

    messages = await run(Patient.as_asgi(), text("{"), text("1"), disconnect())
    assert messages == [
        ACCEPT,
        sent('{"got":"{","problem":"Input data was truncated"}'),
        sent("[1]"),
    ]


async def test_what_super_does() -> None:
    """An override may call super(), which says nothing, since the message is handled."""

    class Calling(Echo):
        async def receive_json(self, content: Any) -> None:
            await super(Echo, self).receive_json(content)
            await super().receive_json(content)

    assert await run(Calling.as_asgi(), text("1"), disconnect()) == [ACCEPT, sent("[1]")]


async def test_nothing_happens_as_is() -> None:
    """Like receive(), receive_json() ignores what comes."""
    messages = await run(JsonWebsocketConsumer.as_asgi(), text("1"), disconnect())
    assert messages == [ACCEPT]


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("receive_json", "async def receive_json(self, content)"),
        ("receive_malformed", "async def receive_malformed(self, data, problem)"),
    ],
)
def test_its_hooks_are_checked(name: str, wanted: str) -> None:
    """They are async and take their arguments, else the class is refused."""
    with pytest.raises(TypeError) as caught:
        type("Chat", (JsonWebsocketConsumer,), {name: lambda self: None})
    assert f"Chat.{name} must be a coroutine function" in str(caught.value)
    assert f"Write `{wanted}`" in str(caught.value)
