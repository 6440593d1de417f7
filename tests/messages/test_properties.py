"""Generated messages come back as they were, and arbitrary ones break nothing."""

from __future__ import annotations

import asyncio
import datetime as dt
import uuid
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fakes import CONNECT, disconnect, scope
from tests.messages.test_bad_messages import DECODE, ENCODE
from tests.messages.test_instances import Level, Status
from tests.messages.vocabulary import Count, Fail, Kick, Number, Said, Say
from wsconsumer.messages import Message, MessageConsumer, MessageError, on
from wsconsumer.messages.codecs import CODECS, union_of
from wsconsumer.messages.types import Cancel, with_ref

examples = settings(
    max_examples=100,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
pytestmark = pytest.mark.timeout(60)  # of a machine that does much else

codecs = pytest.mark.parametrize("codec", ["json", "msgpack"])


class Inner(msgspec.Struct):
    """A struct in a message."""

    name: str
    values: list[float]


class Everything(Message):
    """A field of each type."""

    text: str
    number: int
    real: float
    flag: bool
    nothing: str | None
    blob: bytes
    when: dt.datetime
    day: dt.date
    price: Decimal
    key: uuid.UUID
    status: Status
    level: Level
    inner: Inner | None
    mapping: dict[str, list[int]]
    several: tuple[int, str]


TEXT = st.text(st.characters(exclude_categories=["Cs"]))
INT = st.integers(-(2**63), 2**63 - 1)
FLOAT = st.floats(allow_nan=False, allow_infinity=False)
REF = st.one_of(INT, st.text(st.characters(exclude_categories=["Cs"]), max_size=200))

EVERYTHING = st.builds(
    Everything,
    text=TEXT,
    number=INT,
    real=FLOAT,
    flag=st.booleans(),
    nothing=st.none() | TEXT,
    blob=st.binary(),
    when=st.datetimes(timezones=st.just(dt.UTC)) | st.datetimes(),
    day=st.dates(),
    price=st.decimals(allow_nan=False, allow_infinity=False),
    key=st.uuids(),
    status=st.sampled_from(Status),
    level=st.sampled_from(Level),
    inner=st.none() | st.builds(Inner, name=TEXT, values=st.lists(FLOAT)),
    mapping=st.dictionaries(TEXT, st.lists(INT)),
    several=st.tuples(INT, TEXT),
)


@codecs
@examples
@given(message=EVERYTHING, ref=REF)
def test_there_and_back(codec: str, message: Everything, ref: int | str) -> None:
    """Whatever is in a message, the other side gets the same."""
    message = with_ref(message, ref)  # type: ignore[assignment]  # a copy
    read = CODECS[codec].reader(union_of([Everything, Cancel]))
    assert read(CODECS[codec].payload(message)) == message


class Chat(MessageConsumer):
    """Answers in every way that there is, and never gives up."""

    invalid_limit: int | None = None

    @on
    async def say(self, message: Say) -> Said:
        return Said("me", message.text)

    @on
    async def fail(self, message: Fail) -> None:
        raise MessageError("failed", message.how)

    @on
    async def count(self, message: Count) -> AsyncIterator[Number]:
        for value in range(min(message.to, 20)):
            yield Number(value)

    @on(concurrent=True)
    async def number(self, message: Number) -> Number:
        await asyncio.sleep(0)
        return message

    @on
    async def kick(self, event: Kick) -> None:
        pytest.fail("a client sent an event")


def exchange(codec: str, messages: list[str | bytes]) -> list[Any]:
    """Send messages one after the other; return what is answered until all is quiet."""
    sent: list[Any] = []
    last = {"type": "say", "text": "last", "ref": "the last one"}
    waiting = [*messages, ENCODE[codec](last)]

    async def receive() -> dict[str, Any]:
        for _ in range(60):  # what runs beside gets its turns
            await asyncio.sleep(0)
        if not sent:
            return CONNECT
        if waiting:
            data = waiting.pop(0)
            key = "text" if isinstance(data, str) else "bytes"
            return {"type": "websocket.receive", key: data}
        return disconnect()

    async def send(event: Any) -> None:
        sent.append(event)

    async def serve() -> None:
        await Chat.as_asgi(codec=codec)(scope(), receive, send)

    asyncio.run(serve())
    accept, *events = sent
    assert accept["type"] == "websocket.accept"
    assert {event["type"] for event in events} == {"websocket.send"}
    answers = [DECODE[codec](event.get("text") or event["bytes"]) for event in events]
    end = {"type": "said", "author": "me", "text": "last", "ref": "the last one"}
    assert answers.pop() == end
    return answers


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | FLOAT | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=8,
)
TYPES = st.sampled_from(["say", "fail", "count", "number", "cancel", "kick", "ok", "end", "error"])
ALMOST = st.fixed_dictionaries(
    {"type": TYPES | JSON},
    optional={
        "ref": REF | JSON,
        "text": TEXT | JSON,
        "how": TEXT | JSON,
        "to": INT | JSON,
        "value": INT | JSON,
    },
)


@codecs
@examples
@given(contents=st.lists(ALMOST | JSON, max_size=6))
def test_arbitrary_content(codec: str, contents: list[Any]) -> None:
    """Whatever comes, the socket stays; and each ref that is one is answered once."""
    answers = exchange(codec, [ENCODE[codec](content) for content in contents])
    assert all(answer["type"] in KNOWN for answer in answers)
    asked = [content for content in contents if asks(content)]
    for content in asked:
        if sum(other["ref"] == content["ref"] for other in asked) == 1:
            own = [answer for answer in answers if answer.get("ref") == content["ref"]]
            last = [answer for answer in own if not is_yielded(content, answer)]
            assert len(last) == 1, f"{content} was answered with {own}"


KNOWN = {"said", "number", "ok", "end", "error"}


def asks(content: Any) -> bool:
    """Whether something is a message with a ``ref`` that has to be answered."""
    if not isinstance(content, dict) or content.get("type") == "cancel":
        return False
    ref = content.get("ref")
    return type(ref) is str or (type(ref) is int and ref < 2**63)


def is_yielded(content: Any, answer: Any) -> bool:
    """Whether an answer is one of many, with a last one behind them."""
    return bool(content["type"] == "count" and answer["type"] == "number")


@codecs
@examples
@given(messages=st.lists(st.binary(max_size=60) | TEXT, max_size=6))
def test_arbitrary_bytes(codec: str, messages: list[str | bytes]) -> None:
    """Whatever comes that is no message, it is answered with one error, and the socket stays."""
    answers = exchange(codec, messages)
    assert [answer["type"] for answer in answers] == ["error"] * len(messages)


@codecs
@examples
@given(content=ALMOST, cut=st.integers(0, 80), flip=st.integers(0, 255), data=st.data())
def test_broken_messages(codec: str, content: Any, cut: int, flip: int, data: Any) -> None:
    """A message that is cut or changed in one place is answered, or is another message."""
    encoded = ENCODE[codec](content)
    whole = encoded.encode() if isinstance(encoded, str) else encoded
    at = data.draw(st.integers(0, max(len(whole) - 1, 0)))
    changed = bytearray(whole)
    changed[at : at + 1] = bytes([flip])
    broken = [whole[:cut], bytes(changed)]
    if codec == "json":
        messages: list[Any] = [text.decode("utf-8", "replace") for text in broken]
    else:
        messages = broken
    for answer in exchange(codec, messages):
        assert answer["type"] in KNOWN
