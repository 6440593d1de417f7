"""Every kind of message that can't be handled, in each codec: an error that says where, no more."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from tests.messages.vocabulary import Kick, Say
from wsconsumer.messages import Message, MessageConsumer, on
from wsconsumer.messages.types import MAX_REF
from wsconsumer.test import Websocket, connect


class Sized(Message):
    """Numbers of several types, and a structure without an end."""

    whole: int = 0
    real: float = 0.0
    small: int = 0
    nested: "list[Any] | None" = None  # a list of anything


class Chat(MessageConsumer):
    """Answers ``say`` with ``ok``, if there is a ref."""

    invalid_limit: int | None = None

    @on
    async def say(self, message: Say) -> None: ...

    @on
    async def sized(self, message: Sized) -> None: ...

    @on
    async def kick(self, event: Kick) -> None:
        pytest.fail("a client sent an event")


NOT_AN_OBJECT = "Expected `object`, got "


def deep(opening: str, closing: str) -> str:
    """Return something nested a hundred thousand times."""
    return opening * 100_000 + closing * 100_000


CONTENTS: list[tuple[str, Any, Any, str, str]] = [
    # what is wrong, the content, the ref that comes back, the code, the detail
    ("missing tag", {"text": "hi"}, None, "invalid", "Object missing required field `type`"),
    ("missing tag, ref", {"ref": 1}, 1, "invalid", "Object missing required field `type`"),
    ("unknown type", {"type": "shout"}, None, "unknown_type",
     "Expected 'say', 'sized', got 'shout' - at `$.type`"),
    ("unknown type, ref", {"ref": "a", "type": "shout"}, "a", "unknown_type",
     "Expected 'say', 'sized', got 'shout' - at `$.type`"),
    ("an event's type", {"type": "kick", "reason": "x", "ref": 2}, 2, "unknown_type",
     "Expected 'say', 'sized', got 'kick' - at `$.type`"),
    ("a reply's type", {"type": "ok", "ref": 2}, 2, "unknown_type",
     "Expected 'say', 'sized', got 'ok' - at `$.type`"),
    ("a type with a control character", {"type": "a\nb\0"}, None, "unknown_type",
     r"Expected 'say', 'sized', got 'a\nb\x00' - at `$.type`"),
    ("type is a number", {"type": 7, "ref": 3}, 3, "invalid", "Expected `str`"),
    ("type is null", {"type": None, "ref": 3}, 3, "invalid", "Expected `str`"),
    ("missing field", {"type": "say", "ref": 4}, 4, "invalid",
     "Object missing required field `text`"),
    ("wrong type", {"type": "say", "text": 5, "ref": 4}, 4, "invalid",
     "Expected `str`, got `int` - at `$.text`"),
    ("null", {"type": "say", "text": None}, None, "invalid",
     "Expected `str`, got `null` - at `$.text`"),
    ("too short", {"type": "say", "text": "", "ref": 0}, 0, "invalid",
     "Expected `str` of length >= 1 - at `$.text`"),
    ("too long", {"type": "say", "text": "x" * 21, "ref": ""}, "", "invalid",
     "Expected `str` of length <= 20 - at `$.text`"),
    ("an optional field", {"type": "say", "text": "x", "loud": 1}, None, "invalid",
     "Expected `bool`, got `int` - at `$.loud`"),
    ("a float for an int", {"type": "sized", "whole": 1.5, "ref": 1}, 1, "invalid",
     "Expected `int`, got `float` - at `$.whole`"),
    ("a text for a number", {"type": "sized", "real": "1", "ref": 1}, 1, "invalid",
     "Expected `float`, got `str` - at `$.real`"),
    ("ref is a float", {"type": "say", "text": "x", "ref": 1.5}, None, "invalid",
     "Expected `int | str`, got `float` - at `$.ref`"),
    ("ref is a bool", {"type": "say", "text": "x", "ref": True}, None, "invalid",
     "Expected `int | str`, got `bool` - at `$.ref`"),
    ("ref is null", {"type": "say", "text": "x", "ref": None}, None, "invalid",
     "Expected `int | str`, got `null` - at `$.ref`"),
    ("ref is a list", {"type": "say", "text": "x", "ref": [1]}, None, "invalid",
     "Expected `int | str`, got `array` - at `$.ref`"),
    ("ref is too long", {"type": "say", "text": "x", "ref": "r" * (MAX_REF + 1)}, None, "invalid",
     "Expected `str` of length <= 200 - at `$.ref`"),
    ("a cancel without sense", {"type": "cancel", "ref": {}}, None, "invalid",
     "Expected `int | str`, got `object` - at `$.ref`"),
    ("an array", [1], None, "invalid", NOT_AN_OBJECT + "`array`"),
    ("a text", "say", None, "invalid", NOT_AN_OBJECT + "`str`"),
    ("a number", 7, None, "invalid", NOT_AN_OBJECT + "`int`"),
    ("a bool", True, None, "invalid", NOT_AN_OBJECT + "`bool`"),
    ("nothing", None, None, "invalid", NOT_AN_OBJECT + "`null`"),
]  # fmt: skip

JSON: list[tuple[str, str | bytes, str]] = [
    # what is wrong, what the client sends, the detail
    ("empty", "", "Input data was truncated"),
    ("no JSON", "hello", "JSON is malformed: invalid character (byte 0)"),
    ("half an object", '{"type":"say","text":"x"', "Input data was truncated"),
    ("two objects", '{"type":"say","text":"x"} {}', "JSON is malformed: trailing characters"),
    ("single quotes", "{'type':'say'}", "JSON is malformed: object keys must be strings"),
    ("NaN", '{"type":"sized","real":NaN}', "JSON is malformed: invalid character"),
    ("binary", b'{"type":"say","text":"x"}', "Expected JSON in a text message, got a binary one"),
    ("half a surrogate pair", '{"type":"say","text":"\\ud800"}', "Input data was truncated"),
    ("half a surrogate pair in text", '{"type":"say","text":"\ud800"}', "A text in the message is"),
    ("a big float", '{"type":"sized","real":1e999}', "Number out of range - at `$.real`"),
    ("a big int", f'{{"type":"sized","whole":{"9" * 5000}}}', "Integer value out of range - at"),
    ("a big ref", f'{{"type":"say","text":"x","ref":{2**63}}}', "Expected `int` <= 92233720368547"),
    ("nested arrays", deep("[", "]"), NOT_AN_OBJECT),
    ("nested in a field", f'{{"type":"sized","nested":{deep("[", "]")}}}', "The message is nested"),
    ("nested in no field", f'{{"type":"say","x":{deep("[", "]")}}}', "The message is nested too"),
    ("nested objects", deep('{"type":', "}"), "The message is nested too deeply"),
    ("nested, not closed", '{"type":"sized","nested":' + "[" * 100_000, "The message is nested"),
]

MSGPACK: list[tuple[str, str | bytes, str]] = [
    ("empty", b"", "Input data was truncated"),
    ("text", '{"type":"say","text":"x"}', "Expected MessagePack in a binary message, got a text"),
    ("half an object", msgspec.msgpack.encode({"type": "say"})[:-1], "Input data was truncated"),
    ("two objects", msgspec.msgpack.encode({"type": "say", "text": "x"}) * 2, "MessagePack data"),
    ("no such byte", b"\xc1", "MessagePack data is malformed: invalid opcode"),
    ("not UTF-8", b"\x82\xa4type\xa3say\xa4text\xa1\xff", "A text in the message"),
    ("the type is not UTF-8", b"\x81\xa4type\xa1\xff", "A text in the message"),
    ("a key that is no text", b"\x81\x01\x02", "Expected `str`, got `int` - at `key` in `$`"),
    ("a huge array", b"\x82\xa4type\xa5sized\xa6nested\xdd\xff\xff\xff\xff", "Input data was"),
    ("a huge text", b"\x81\xa4type\xdb\xff\xff\xff\xff", "Input data was truncated"),
    ("a huge object", b"\xdf\xff\xff\xff\xff", "Input data was truncated"),
    ("nested arrays", b"\x82\xa4type\xa5sized\xa6nested" + b"\x91" * 100_000, "The message is"),
    ("an extension", b"\xc7\x01\x05x", NOT_AN_OBJECT + "`ext`"),
    ("a timestamp", b"\xd6\xff\0\0\0\0", NOT_AN_OBJECT + "`"),
]  # fmt: skip

ENCODE: dict[str, Any] = {"json": json.dumps, "msgpack": msgspec.msgpack.encode}
DECODE: dict[str, Any] = {"json": json.loads, "msgpack": msgspec.msgpack.decode}


async def refusal(ws: Websocket, codec: str, sent: str | bytes) -> Any:
    """Send what is bad; return what comes back, after which the socket is as good as before."""
    await ws.send(sent)
    error = DECODE[codec](await ws.receive())
    await ws.send(ENCODE[codec]({"type": "say", "text": "still here", "ref": "after"}))
    answer = DECODE[codec](await ws.receive())
    assert answer == {"type": "ok", "ref": "after"}
    assert len(error["detail"]) <= 250
    return error


@pytest.mark.parametrize("codec", ["json", "msgpack"])
@pytest.mark.parametrize(
    ("content", "ref", "code", "detail"),
    [case[1:] for case in CONTENTS],
    ids=[c[0] for c in CONTENTS],
)
async def test_what_is_not_valid(
    codec: str, content: Any, ref: Any, code: str, detail: str
) -> None:
    """The error has the ref, if it was one, and says where the mistake is."""
    Chat_ = type("Chat", (Chat,), {"codec": codec})  # noqa: N806  # a class
    async with connect(Chat_) as ws:
        error = await refusal(ws, codec, ENCODE[codec](content))
    expected = {"type": "error", "code": code, "detail": error["detail"]}
    assert error == (expected if ref is None else {**expected, "ref": ref})
    # MessagePack calls it nil, and msgspec None.
    assert error["detail"].replace("`None`", "`null`").startswith(detail)


@pytest.mark.parametrize(
    ("codec", "data", "detail"),
    [("json", *case[1:]) for case in JSON] + [("msgpack", *case[1:]) for case in MSGPACK],
    ids=[
        f"{name}-{case[0]}"
        for name, table in (("json", JSON), ("msgpack", MSGPACK))
        for case in table
    ],
)
async def test_what_can_not_be_read(codec: str, data: str | bytes, detail: str) -> None:
    """What is no message at all is answered too, and the socket stays."""
    Chat_ = type("Chat", (Chat,), {"codec": codec})  # noqa: N806  # a class
    async with connect(Chat_) as ws:
        error = await refusal(ws, codec, data)
    assert error == {"type": "error", "code": "invalid", "detail": error["detail"]}
    assert error["detail"].startswith(detail)


async def test_a_long_value_is_cut() -> None:
    """What a client sent comes back in an error only so far."""
    async with connect(Chat) as ws:
        error = await refusal(ws, "json", json.dumps({"type": "x" * 100_000}))
    assert len(error["detail"]) < 200


@pytest.mark.parametrize("limit", [1, 3])
async def test_too_many_in_a_row(limit: int) -> None:
    """``invalid_limit`` bad messages in a row close with 1007; a good one begins anew."""

    class Strict(Chat):
        invalid_limit = limit

    async with connect(Strict) as ws:
        for _ in range(limit - 1):
            await ws.send("{")
            await ws.receive()
        await ws.send_json({"type": "say", "text": "fine"})
        for _ in range(limit):
            await ws.send("{")
            await ws.receive()
        assert await ws.receive_close() == 1007
        assert ws.close_reason == "too many invalid messages"


async def test_the_limit_as_it_is() -> None:
    """Ten in a row are too many unless the class says otherwise."""

    class AsItIs(MessageConsumer):
        @on
        async def say(self, message: Say) -> None: ...

    async with connect(AsItIs) as ws:
        for _ in range(10):
            assert ws.close_code is None
            await ws.send("{}")
            await ws.receive()
        assert await ws.receive_close() == 1007


async def test_a_consumer_without_handlers() -> None:
    """It knows no type at all, and says so."""

    class Mute(MessageConsumer):
        pass

    async with connect(Mute) as ws:
        await ws.send_json({"type": "say", "ref": 1})
        assert await ws.receive_json() == {
            "type": "error",
            "code": "unknown_type",
            "detail": "Expected nothing, got 'say' - at `$.type`",
            "ref": 1,
        }


async def test_what_is_no_message_at_all() -> None:
    """A consumer that overrides receive() can take raw messages, and leave the rest to super()."""

    class Upload(Chat):
        async def receive(self, data: str | bytes) -> None:
            if isinstance(data, bytes):
                await self.send(f"{len(data)} bytes")
            else:
                await super().receive(data)

    async with connect(Upload) as ws:
        await ws.send(b"abc")
        assert await ws.receive() == "3 bytes"
        await ws.send_json({"type": "say", "text": "x", "ref": 1})
        assert await ws.receive_json() == {"type": "ok", "ref": 1}
