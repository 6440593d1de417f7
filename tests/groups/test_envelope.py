"""``groups/envelope.py`` and ``names.py``: what travels, and under which names."""

from __future__ import annotations

import datetime as dt
import re
import uuid
from collections import OrderedDict
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from django.db.models import TextChoices
from django.utils.safestring import mark_safe
from django.utils.translation import gettext_lazy

from wsconsumer.groups import envelope
from wsconsumer.groups.envelope import Broadcast, encode, event_of
from wsconsumer.groups.names import check_group

ID = uuid.UUID(int=1)


class Age(int):
    """A number of a class of its own."""


class Ratio(float):
    """The same, with a point."""


class Suit(TextChoices):
    """What a model's field may hold."""

    HEARTS = "h"


class Blob(bytes):
    """Bytes of a type of their own."""


class Point(msgspec.Struct):
    """A struct."""

    x: int
    y: int


@pytest.mark.parametrize(
    ("data", "event", "received"),
    [
        ("", {"text": ""}, ""),
        ("grüß Gott \0", {"text": "grüß Gott \0"}, "grüß Gott \0"),
        (b"\x00\xff", {"bytes": b"\x00\xff"}, b"\x00\xff"),
        (bytearray(b"ab"), {"bytes": b"ab"}, b"ab"),
        (memoryview(b"ab"), {"bytes": b"ab"}, b"ab"),
        ({"a": [1, None]}, {"text": '{"a":[1,null]}'}, {"a": [1, None]}),
        (None, {"text": "null"}, None),
        ((1, 2.5), {"text": "[1,2.5]"}, [1, 2.5]),
        (ID, {"text": f'"{ID}"'}, str(ID)),
        (dt.date(2026, 1, 2), {"text": '"2026-01-02"'}, "2026-01-02"),
        (Decimal("1.10"), {"text": '"1.10"'}, "1.10"),
        ([gettext_lazy("Hello")], {"text": '["Hello"]'}, ["Hello"]),
        ({"html": mark_safe("<b>")}, {"text": '{"html":"<b>"}'}, {"html": "<b>"}),
        (mark_safe("<b>"), {"text": "<b>"}, "<b>"),
        ([Age(7), Ratio(0.5)], {"text": "[7,0.5]"}, [7, 0.5]),
        (OrderedDict(a=1), {"text": '{"a":1}'}, {"a": 1}),
        ([Suit.HEARTS], {"text": '["h"]'}, ["h"]),
        ([Blob(b"a")], {"text": '["YQ=="]'}, ["YQ=="]),
    ],
    ids=lambda value: re.sub(r" at 0x\w+", "", repr(value)),
)
def test_there_and_back(data: Any, event: dict[str, Any], received: Any) -> None:
    """Text is text, bytes are binary, and all else is JSON, to client and hook alike."""
    broadcast = Broadcast.decode("g", encode(data, b"id"))
    assert broadcast.event == {"type": "websocket.send", **event}
    assert (broadcast.group, broadcast.sender_id, broadcast.data) == ("g", b"id", received)
    payload = event.get("bytes", event.get("text", "").encode())
    assert broadcast.size == len(payload)
    assert event_of(data, "Chat.send()") == broadcast.event


def test_a_struct_has_the_name_of_its_class() -> None:
    """A struct is JSON for clients, and its class can be told by those who know it."""
    broadcast = Broadcast.decode("g", encode(Point(1, 2), b"id"))
    assert broadcast.event == {"type": "websocket.send", "text": '{"x":1,"y":2}'}
    assert broadcast.data == {"x": 1, "y": 2}
    name, payload = envelope.split_named(broadcast.payload)
    assert name == f"{__name__}.Point"
    assert payload == b'{"x":1,"y":2}'


def test_each_hook_gets_its_own() -> None:
    """What one member does to JSON that it was given is nothing to the next."""
    broadcast = Broadcast.decode("g", encode({"a": []}))
    broadcast.data["a"].append(1)
    assert broadcast.data == {"a": []}


@pytest.mark.parametrize(
    ("data", "error", "text"),
    [
        (object(), TypeError, "is JSON serializable, got object: object is not JSON serializable."),
        ({(1, 2): 3}, TypeError, "got dict: tuple is not JSON serializable"),
        ("\ud800", ValueError, r"surrogates not allowed in '\\ud800'. Text on a websocket is"),
        (["\ud800"], ValueError, r"surrogates not allowed in '\\ud800'"),
    ],
    ids=["object", "keys", "surrogate", "in JSON"],
)
def test_what_can_not_be_sent(data: Any, error: type[Exception], text: str) -> None:
    """The sentence says what was expected and what came."""
    with pytest.raises(error, match=text):
        encode(data)
    with pytest.raises(error, match=r"^Chat\.send\(\) "):
        event_of(data, "Chat.send()")


def test_what_contains_itself() -> None:
    """A structure without an end is refused too."""
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(TypeError, match="got list: "):
        encode(endless)


def test_json_that_is_none() -> None:
    """Broken JSON from the bus raises ValueError where it is read."""
    broadcast = Broadcast.decode("g", b"\x13\x00{")
    with pytest.raises(ValueError, match="truncated"):
        _ = broadcast.data


@pytest.mark.parametrize("name", ["a", "room.lobby", "a b", "{x}*?[]", "grüße", "🎉", "x" * 200])
def test_names(name: str) -> None:
    """Any printable text of 1 to 200 characters is a name."""
    check_group(name)


@pytest.mark.parametrize(
    ("name", "error", "text"),
    [
        ("", ValueError, "A group's name has 1 to 200 printable characters, got ''. Make it of"),
        ("x" * 201, ValueError, "1 to 200"),
        ("a\nb", ValueError, r"got 'a\\nb'"),
        ("\ud800", ValueError, "printable"),
        (7, TypeError, "The name of a group is a str, got 7."),
        (b"a", TypeError, "got b'a'"),
    ],
    ids=["empty", "long", "line break", "surrogate", "int", "bytes"],
)
def test_no_names(name: Any, error: type[Exception], text: str) -> None:
    """Anything else is refused in a sentence."""
    with pytest.raises(error, match=text):
        check_group(name)


def test_a_kind_of_ones_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """A module that stands above can add what JSON would not know, and reads it back."""
    monkeypatch.setattr(envelope, "_kinds", dict(envelope._kinds))  # noqa: SLF001  # what is inside is what is tested
    envelope.add_kind(
        envelope.Kind(
            code=0x7F,
            fits=lambda data: isinstance(data, range),
            encode=lambda data: f"{data.start}-{data.stop}".encode(),
            event=lambda payload: {"type": "websocket.send", "text": payload.decode()},
            read=lambda payload, event: range(*map(int, payload.split(b"-"))),
        )
    )
    broadcast = Broadcast.decode("g", encode(range(3, 5)))
    assert broadcast.event == {"type": "websocket.send", "text": "3-5"}
    assert broadcast.data == range(3, 5)
    assert Broadcast.decode("g", encode("3-5")).data == "3-5"


def test_a_code_belongs_to_one_kind() -> None:
    """Two kinds with one code would be read as one another."""
    with pytest.raises(ValueError, match="The code 0x13 belongs to another kind"):
        envelope.add_kind(envelope.JSON)
