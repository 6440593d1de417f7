"""``messages/types.py``: what a message looks like on the wire, and what it may not look like."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from msgspec import UNSET

from tests.messages.vocabulary import Refresh, Said, Say
from wsconsumer.messages import Event, Message, field
from wsconsumer.messages.types import check_type, tag, tag_of, with_ref


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Say", "say"),
        ("OrderShipped", "order_shipped"),
        ("HTTPError", "http_error"),
        ("GetHTTP2Frame", "get_http2_frame"),
        ("already_snake", "already_snake"),
        ("X", "x"),
    ],
)
def test_the_type_is_the_name_in_snake_case(name: str, expected: str) -> None:
    """A class needs no tag of its own."""
    assert tag_of(name) == expected


def test_a_message_on_the_wire() -> None:
    """The type comes first, and the ref only if there is one."""
    message = Said("ada", "hi")
    assert message.ref is UNSET
    assert msgspec.json.encode(message) == b'{"type":"said","author":"ada","text":"hi"}'
    assert msgspec.json.encode(with_ref(message, 7)) == (
        b'{"type":"said","author":"ada","text":"hi","ref":7}'
    )
    assert message.ref is UNSET
    assert tag(Refresh) == "refresh.page"


def test_a_frozen_reply() -> None:
    """A message that can't be changed is answered with as well."""

    class Fixed(Message, frozen=True):  # type: ignore[misc]  # msgspec allows it
        text: str

    fixed = Fixed("x")
    assert with_ref(fixed, "a") == Fixed("x", ref="a")
    assert fixed.ref is UNSET


@pytest.mark.parametrize("base", [Message, Event], ids=["message", "event"])
def test_the_type_is_no_field(base: Any) -> None:
    """A field called ``type`` is refused where it is written."""
    with pytest.raises(TypeError, match=r"Bad.type can't be a field: `type` belongs to the proto"):

        class Bad(base):  # type: ignore[misc]  # whichever it is
            type: str


def test_the_ref_is_no_field() -> None:
    """Nor is one called ``ref``, except in an event, which has none."""
    with pytest.raises(TypeError, match=r"Bad.ref can't be a field: `ref` belongs to the protocol"):

        class Bad(Message):
            ref: str

    class Good(Event):
        ref: str

    assert Good("a").ref == "a"


def test_no_field_is_called_ref_on_the_wire() -> None:
    """To rename a field to ``ref`` is refused too."""
    with pytest.raises(ValueError, match="Multiple fields rename to the same name"):

        class Bad(Message):
            reference: str = field(name="ref")


def make(base: Any, name: str = "Odd", **config: Any) -> Any:
    """Return a class with this configuration."""
    return msgspec.defstruct(name, [("text", str)], bases=(base,), **config)


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (Message, "Message itself has no fields and no type of its own. Use a subclass."),
        (Event, "Event itself has no fields"),
        (make(Message, tag=7), "Odd must have a str in the tag field 'type', got tag=7"),
        (make(Message, tag_field="kind"), "Odd must have a str in the tag field 'type'"),
        (make(Message, array_like=True), "Odd can't be array_like=True"),
        (make(Message, name="End"), "End can't have the type 'end': it belongs to the protocol"),
        (make(Event, tag="ok"), "Odd can't have the type 'ok'"),
    ],
    ids=["Message", "Event", "int tag", "tag field", "array", "reserved name", "reserved tag"],
)
def test_what_can_not_go_over_the_wire(kind: Any, text: str) -> None:
    """A class that would break the protocol is refused, with what to write."""
    with pytest.raises(TypeError, match=text):
        check_type(kind)


def test_a_message_is_a_struct_like_any_other() -> None:
    """Fields are positional, compared and shown."""
    assert Say("hi") == Say(text="hi", loud=False)
    assert repr(Say("hi", ref=1)) == "Say(text='hi', loud=False, ref=1)"
