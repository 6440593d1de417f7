"""``messages/instances.py``, ``codecs.py``: Django's types on the wire, models as messages."""

from __future__ import annotations

import datetime as dt
import uuid
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from django.contrib.auth.models import Permission, User
from django.contrib.contenttypes.models import ContentType
from django.db import models
from django.utils.safestring import mark_safe
from django.utils.translation import gettext_lazy

from wsconsumer.messages import Message, MessageConsumer, on
from wsconsumer.messages.codecs import CODECS, union_of
from wsconsumer.messages.types import Cancel
from wsconsumer.test import connect


class Status(models.TextChoices):
    """Choices that are text."""

    OPEN = "open", gettext_lazy("Still open")
    DONE = "done"


class Level(models.IntegerChoices):
    """Choices that are numbers."""

    LOW = 1
    HIGH = 2


class Order(Message):
    """One field of each type that a model may have."""

    when: dt.datetime
    day: dt.date
    time: dt.time
    took: dt.timedelta
    price: Decimal
    key: uuid.UUID
    status: Status
    level: Level
    label: str
    html: str
    blob: bytes
    pk: int


ORDER = Order(
    when=dt.datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=dt.UTC),
    day=dt.date(2026, 1, 2),
    time=dt.time(3, 4),
    took=dt.timedelta(hours=1, microseconds=5),
    price=Decimal("1.10"),
    key=uuid.UUID(int=1),
    status=Status.DONE,
    level=Level.HIGH,
    label="Still open",
    html="<b>",
    blob=b"\0\xff",
    pk=2**63 - 1,
)


@pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS)
def test_there_and_back(codec: Any) -> None:
    """Each type comes back as it was, in both codecs."""
    read = codec.reader(union_of([Order, Cancel]))
    assert read(codec.payload(ORDER)) == ORDER


@pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS)
def test_texts_that_are_no_str(codec: Any) -> None:
    """Lazy translations and safe strings are text on the wire."""
    read = codec.reader(union_of([Order, Cancel]))
    lazy = msgspec.structs.replace(ORDER, label=Status.OPEN.label, html=mark_safe("<b>"))
    assert read(codec.payload(lazy)) == ORDER


def test_on_the_wire() -> None:
    """Dates are ISO 8601, decimals and UUIDs are text, choices are their values."""
    assert msgspec.json.decode(CODECS["json"].payload(ORDER)) == {
        "type": "order",
        "when": "2026-01-02T03:04:05.000006Z",
        "day": "2026-01-02",
        "time": "03:04:00",
        "took": "PT3600.000005S",
        "price": "1.10",
        "key": "00000000-0000-0000-0000-000000000001",
        "status": "done",
        "level": 2,
        "label": "Still open",
        "html": "<b>",
        "blob": "AP8=",
        "pk": 2**63 - 1,
    }


@pytest.mark.parametrize("codec", ["json", "msgpack"])
async def test_through_a_consumer(codec: str) -> None:
    """A client can send all of them, and get them back."""

    class Echo(MessageConsumer):
        @on
        async def order(self, message: Order) -> Order:
            return message

    Echo_ = type("Echo", (Echo,), {"codec": codec})  # noqa: N806  # a class
    async with connect(Echo_) as ws:
        payload = CODECS[codec].payload(ORDER)
        await ws.send(payload)
        assert await ws.receive() == payload


# Models


class Person(Message):
    """Some of a user."""

    id: int
    username: str
    date_joined: dt.datetime
    is_staff: bool = True
    nickname: str = "none"


def user(**more: Any) -> User:
    """Return a user that is in no database."""
    joined = dt.datetime(2026, 1, 2, tzinfo=dt.UTC)
    return User(**{"id": 7, "username": "ada", "date_joined": joined, **more})


def test_from_a_model() -> None:
    """Each field gets the attribute of its name; what the instance lacks keeps its default."""
    expected = Person(7, "ada", dt.datetime(2026, 1, 2, tzinfo=dt.UTC), is_staff=False)
    assert Person.from_model(user()) == expected


def test_values_that_are_given() -> None:
    """They take precedence over the instance's, the ref too."""
    person = Person.from_model(user(), username="eve", nickname="e", ref=7)
    assert (person.id, person.username, person.nickname, person.ref) == (7, "eve", "e", 7)


class Kind(msgspec.Struct):
    """A struct for a related object."""

    id: int
    app_label: str


class Allowed(Message):
    """A permission, with its foreign key as a primary key."""

    codename: str
    content_type: int


class AllowedFor(Message):
    """A permission, with its foreign key as a struct."""

    codename: str
    content_type: Kind | None


PERMISSION = Permission(codename="x", content_type=ContentType(id=5, app_label="shop"))


def test_a_foreign_key() -> None:
    """It is the primary key, without a query, or a struct of the object."""
    assert Allowed.from_model(PERMISSION) == Allowed("x", 5)
    assert Allowed.from_model(Permission(codename="x", content_type_id=6)) == Allowed("x", 6)
    assert AllowedFor.from_model(PERMISSION) == AllowedFor("x", Kind(5, "shop"))


def test_choices_of_a_model() -> None:
    """The value in the database becomes a member of the enum."""

    class Task(Message):
        status: Status
        level: Level

    class Row:
        """Like an instance that was loaded."""

        status = "open"
        level = 2

    assert Task.from_model(Row()) == Task(Status.OPEN, Level.HIGH)


@pytest.mark.parametrize(
    ("instance", "values", "text"),
    [
        (object(), {}, r"Person.from_model\(\) found no 'id' in object. Give it a value: from_mod"),
        (user(), {"age": 3}, r"Person.from_model\(\) got a value for 'age', which is no field of"),
        (user(username=None), {}, r"can't use 'username': Expected `str`, got `null`"),
        (user(id=None), {}, r"can't use 'id': Expected `int`, got `null`"),
    ],
    ids=["missing", "unknown", "wrong type", "not saved"],
)
def test_what_makes_no_message(instance: Any, values: dict[str, Any], text: str) -> None:
    """The error names the class, the field and the remedy."""
    with pytest.raises(TypeError, match=text):
        Person.from_model(instance, **values)
