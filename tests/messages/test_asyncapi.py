"""``manage.py asyncapi``: the document, and what a public validator says of it."""

from __future__ import annotations

import io
import json
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
import pytest
from django.conf.urls.i18n import i18n_patterns
from django.contrib.auth.decorators import login_not_required, login_required
from django.contrib.auth.mixins import PermissionRequiredMixin
from django.core.management import call_command
from django.db.models import TextChoices
from django.test import override_settings
from django.urls import include, path, re_path
from django.utils.functional import Promise
from django.utils.safestring import SafeString
from jsonschema import Draft7Validator
from referencing import Registry
from referencing.exceptions import Unresolvable
from referencing.jsonschema import DRAFT7

from tests import npm
from tests.messages.vocabulary import Count, Kick, Number, Refresh, Said, Say
from wsconsumer import WebsocketConsumer
from wsconsumer.messages import Error, Message, MessageConsumer, Meta, on

SCHEMA = Path(__file__).with_name("asyncapi") / "schema-3.0.0.json"


class Colour(TextChoices):
    """What Django calls choices."""

    RED = "r", "red"
    BLUE = "b", "blue"


class Circle(msgspec.Struct, tag="circle"):
    """One member of a union."""

    radius: Annotated[float, Meta(gt=0)]


class Square(msgspec.Struct, tag="square"):
    """The other."""

    side: Annotated[int, Meta(ge=2, multiple_of=4)]


class Node(Message):
    """A message with itself in it."""

    inner: Node | None
    more: tuple[Node, ...] = ()


class Order(Message, tag="shop/order"):
    """A bit of everything."""

    name: Annotated[str, Meta(min_length=8, examples=["breakfast"])]
    short: Annotated[str, Meta(max_length=3)]
    placed: datetime
    price: Decimal
    number: UUID
    colour: Colour
    size: Literal["s", "l"]
    data: bytes
    pair: tuple[int, bool]
    shapes: list[Circle | Square]
    square: Square
    share: Annotated[float, Meta(ge=0, le=1)]
    counts: dict[str, int]
    anything: Any
    few: Annotated[list[int], Meta(min_length=2)]
    note: Annotated[str, Meta(examples=["soon"])] = ""
    default: str = ""


class Labelled(Message):
    """What Django encodes and msgspec does not know."""

    label: Promise
    markup: SafeString


class Code(Message):
    """A pattern that no example is made up for."""

    code: Annotated[str, Meta(pattern="^[A-Z]{3}$")]


class Endless(Message):
    """A message that no example of ends."""

    inner: Annotated[list[Endless], Meta(min_length=1)]


class Room(MessageConsumer):
    """Where people talk."""

    sends = (Said,)

    @on(errors={"spam": "The text looks like an advertisement."})
    async def say(self, message: Say | Kick) -> None:
        """Say something to all."""

    @on
    async def order(self, message: Order | Node) -> Labelled | Error | None:
        return None

    @on
    async def count(self, message: Count) -> AsyncIterator[Number]:
        yield Number(value=1)

    @on
    async def refresh(self, event: Refresh) -> None: ...


class Plain(MessageConsumer):
    @on
    async def code(self, message: Code | Endless) -> Code:
        return Code(code="ABC")


class Staff(PermissionRequiredMixin, Plain):
    permission_required = "auth.view_user"


class Untyped(WebsocketConsumer):
    """Nothing that a document could tell of."""


inner = [
    path("<slug:room>/<page>/", login_required(Room.as_view()), name="room"),
    re_path(r"^old/(?P<pk>\d+)/(a|b)/(c|d)/$", Plain.as_view(codec="msgpack")),
]
urlpatterns = [
    path("ws/rooms/", include((inner, "rooms"), namespace="lounge")),
    path("ws/staff/", Staff.as_view(), name="twice"),
    re_path(r"^ws/re/(\w+)/$", Plain.as_view(), name="twice"),
    path("ws/untyped/", Untyped.as_view()),
    path("", Plain.as_view()),
    re_path(r"^(?:one|two){1}/$", Plain.as_view()),
]


class Translated:
    """A URLconf whose routes have the language as a prefix."""

    urlpatterns = i18n_patterns(path("ws/", Plain.as_view()))


class Nothing:
    """A URLconf without message consumers."""

    urlpatterns = (path("ws/", Untyped.as_view()),)


class Closed:
    """A URLconf in which one route is open to everybody."""

    urlpatterns = (
        path("closed/", Plain.as_view(), name="closed"),
        path("open/", login_not_required(Plain.as_view()), name="open"),
    )


def asyncapi(*arguments: str, urlconf: Any = __name__) -> dict[str, Any]:
    """Run the command, for the URLconf of this file unless another is given."""
    if urlconf is not __name__:
        arguments = ("--title", "Given", *arguments)
    out = io.StringIO()
    with override_settings(ROOT_URLCONF=urlconf):
        call_command("asyncapi", *arguments, stdout=out)
    document: dict[str, Any] = json.loads(out.getvalue())
    return document


def refs(names: list[str], prefix: str) -> list[dict[str, str]]:
    """Return the references to these names."""
    return [{"$ref": f"{prefix}{name}"} for name in names]


def break_an_action(document: Any) -> None:
    document["operations"]["lounge.room.say"]["action"] = "listen"


def break_an_example(document: Any) -> None:
    document["components"]["messages"]["Count"]["examples"][0]["payload"]["to"] = "x"


def break_a_reference(document: Any) -> None:
    document["operations"]["lounge.room.say"]["reply"]["messages"] += refs(["Lost"], "#/channels/")


DOCUMENT = "urn:document"
MISTAKES: list[Callable[[Any], None]] = [break_an_action, break_an_example, break_a_reference]


def errors_in(document: Any) -> list[str]:
    """Return what AsyncAPI's schema, or JSON Schema's, has against a document."""
    errors = list(Draft7Validator(json.loads(SCHEMA.read_text())).iter_errors(document))
    resources = Registry().with_resource(DOCUMENT, DRAFT7.create_resource(document))
    lost = [ref for ref in refs_in(document) if not leads_somewhere(resources, ref)]
    for message in document["components"]["messages"].values():
        payload = {"$ref": f"{DOCUMENT}{message['payload']['$ref']}"}
        validator = Draft7Validator(payload, registry=resources)
        for example in message.get("examples", ()):
            errors += validator.iter_errors(example["payload"])
    return [*lost, *(error.message for error in errors)]


def refs_in(value: Any) -> Iterator[str]:
    """Yield each reference of a document."""
    for each in value.values() if isinstance(value, dict) else value:
        if isinstance(each, dict | list):
            yield from refs_in(each)
    if isinstance(value, dict) and isinstance(value.get("$ref"), str):
        yield value["$ref"]


def leads_somewhere(resources: Any, ref: str) -> bool:
    """Whether there is something in the document that a reference means."""
    try:
        resources.resolver(DOCUMENT).lookup(ref)
    except Unresolvable:
        return False
    return True


def test_the_document_is_what_asyncapi_says() -> None:
    """AsyncAPI's own schema has nothing against it, its references lead somewhere, and its examples
    are what its schemas describe."""
    assert errors_in(asyncapi()) == []


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.__name__)
def test_a_mistake_would_be_found(mistake: Callable[[Any], None]) -> None:
    """A document with a mistake in it is not found to be good."""
    document = asyncapi()
    mistake(document)
    assert errors_in(document) != []


@pytest.mark.processes
@pytest.mark.timeout(npm.TIMEOUT)
def test_a_public_validator_accepts_the_document() -> None:
    """AsyncAPI's own parser finds no error in it, and does find those that are put in."""
    documents = [asyncapi() for _ in range(3)]
    break_an_action(documents[1])
    break_a_reference(documents[2])
    good, *bad = npm.asyncapi_errors(documents)
    assert good == []
    assert all(bad)


def test_channels() -> None:
    """A channel is a route with a message consumer: its address, parameters and messages."""
    channels = asyncapi()["channels"]
    assert {key: channel["address"] for key, channel in channels.items()} == {
        "lounge.room": "/ws/rooms/{room}/{page}/",
        "ws.rooms.old.pk.arg0.arg1": "/ws/rooms/old/{pk}/{arg0}/{arg1}/",
        "twice": "/ws/staff/",
        "twice.2": "/ws/re/{arg0}/",
        "root": "/",
        "one.two.1": "/(?:one|two)1/",
    }
    room = channels["lounge.room"]
    assert room["title"] == "Room"
    assert room["description"] == "Where people talk."
    assert room["parameters"] == {
        "room": {"description": "Matches `[-a-zA-Z0-9_]+`."},
        "page": {"description": "Matches `[^/]+`."},
    }
    assert list(room["messages"]) == [
        *("Say", "Order", "Node", "Count", "Cancel"),
        *("Ok", "Error", "Labelled", "Number", "End", "Said"),
    ]
    assert list(channels["ws.rooms.old.pk.arg0.arg1"]["parameters"]) == ["pk", "arg0", "arg1"]
    assert "description" not in channels["root"]


def test_operations() -> None:
    """An operation is a handler with its replies; events are left out, as is what has no types."""
    operations = asyncapi()["operations"]
    room = "#/channels/lounge.room"
    assert [name for name in operations if name.startswith("lounge")] == [
        f"lounge.room.{name}" for name in ("say", "order", "count", "cancel", "sends")
    ]
    assert operations["lounge.room.say"] == {
        "action": "receive",
        "channel": {"$ref": room},
        "messages": refs(["Say"], f"{room}/messages/"),
        "description": "Say something to all.",
        "reply": {
            "channel": {"$ref": room},
            "messages": refs(["Ok", "Error"], f"{room}/messages/"),
        },
        "security": [{"$ref": "#/components/securitySchemes/session"}],
        "x-stream": False,
        "x-errors": {"spam": "The text looks like an advertisement."},
    }
    order = operations["lounge.room.order"]
    assert "x-errors" not in order
    assert order["messages"] == refs(["Order", "Node"], f"{room}/messages/")
    assert order["reply"]["messages"] == refs(["Labelled", "Ok", "Error"], f"{room}/messages/")
    count = operations["lounge.room.count"]
    assert count["x-stream"]
    assert count["reply"]["messages"] == refs(["Number", "End", "Error"], f"{room}/messages/")
    assert operations["lounge.room.cancel"]["messages"] == refs(["Cancel"], f"{room}/messages/")
    sends = operations["lounge.room.sends"]
    assert sends["action"] == "send"
    assert sends["messages"] == refs(["Said", "Error"], f"{room}/messages/")
    assert "twice.cancel" not in operations


def test_messages() -> None:
    """A message has its type, its codec, its schema, and an example that its class accepts."""
    document = asyncapi()
    messages = document["components"]["messages"]
    assert not {"Kick", "Refresh"} & {*messages, *document["components"]["schemas"]}
    assert messages["Say"] == {
        "name": "say",
        "title": "Say",
        "description": "Something said, with bounds on what that is.",
        "contentType": "application/json",
        "correlationId": {"location": "$message.payload#/ref"},
        "payload": {"$ref": "#/components/schemas/Say"},
        "examples": [{"payload": {"type": "say", "text": "text"}}],
    }
    assert messages["Code.msgpack"]["contentType"] == "application/msgpack"
    assert messages["Code.msgpack"]["payload"] == messages["Code"]["payload"]
    assert "examples" not in messages["Code"]
    assert "examples" not in messages["Endless"]
    assert messages["Order"]["name"] == "shop/order"
    (example,) = messages["Order"]["examples"]
    order = msgspec.json.decode(json.dumps(example["payload"]), type=Order)
    assert (order.name, order.short, order.note) == ("breakfast", "202", "soon")
    assert "default" not in example["payload"]
    assert messages["Node"]["examples"] == [
        {"payload": {"type": "node", "inner": {"type": "node", "inner": None}}}
    ]
    codes = [each["payload"]["code"] for each in messages["Error"]["examples"]]
    assert codes[:2] == ["invalid", "unknown_type"]
    assert messages["Error"]["examples"][-1]["payload"] == {
        "type": "error",
        "code": "spam",
        "detail": "The text looks like an advertisement.",
    }


def test_schemas_are_of_draft_7() -> None:
    """Tuples are written as draft 7 has them, and there is no discriminator but the tag."""
    schemas = asyncapi()["components"]["schemas"]
    pair = schemas["Order"]["properties"]["pair"]
    assert pair["items"] == [{"type": "integer"}, {"type": "boolean"}]
    assert pair["additionalItems"] is False
    assert list(schemas["Order"]["properties"]["shapes"]["items"]) == ["anyOf"]
    assert schemas["Order"]["properties"]["colour"] == {"enum": ["r", "b"]}
    assert schemas["Labelled"]["properties"]["label"] == {"type": "string"}
    assert schemas["Labelled"]["properties"]["markup"] == {"type": "string"}


def test_security() -> None:
    """Routes that only users may connect to ask for the session cookie, and no others do."""
    document = asyncapi()
    assert document["components"]["securitySchemes"]["session"]["name"] == "sessionid"
    secured = {name for name, each in document["operations"].items() if "security" in each}
    assert {name.rpartition(".")[0] for name in secured} == {"lounge.room", "twice"}


MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
]


@pytest.mark.parametrize(
    ("middleware", "secured"),
    [
        ([], set()),
        (["django.contrib.auth.middleware.LoginRequiredMiddleware"], {"closed"}),
    ],
    ids=["without", "with"],
)
def test_security_of_a_middleware(middleware: list[str], secured: set[str]) -> None:
    """LoginRequiredMiddleware closes every route but those that say otherwise."""
    with override_settings(MIDDLEWARE=[*MIDDLEWARE, *middleware]):
        document = asyncapi(urlconf=Closed)
    found = {name for name, each in document["operations"].items() if "security" in each}
    assert {name.rpartition(".")[0] for name in found} == secured
    assert ("securitySchemes" in document["components"]) is bool(secured)


def test_a_language_in_the_address() -> None:
    """A route of ``i18n_patterns()`` has the prefix of ``LANGUAGE_CODE``."""
    with override_settings(LANGUAGE_CODE="de"):
        (channel,) = asyncapi(urlconf=Translated)["channels"].values()
    assert channel["address"] == "/de/ws/"


@pytest.mark.parametrize(
    ("arguments", "info"),
    [
        ((), {"title": "tests", "version": "1"}),
        (("--title", "Shop", "--api-version", "2.3"), {"title": "Shop", "version": "2.3"}),
    ],
    ids=["by default", "given"],
)
def test_info(arguments: tuple[str, ...], info: dict[str, str]) -> None:
    """Title and version can be given; else the project's package is the title."""
    assert asyncapi(*arguments)["info"] == info


def test_without_a_message_consumer() -> None:
    """The document is empty, and a person is told why."""
    out, err = io.StringIO(), io.StringIO()
    with override_settings(ROOT_URLCONF=Nothing):
        call_command("asyncapi", "--title", "Nothing", stdout=out, stderr=err)
    assert json.loads(out.getvalue())["channels"] == {}
    assert err.getvalue() == "No MessageConsumer is mapped: path(..., X.as_view()).\n"


def test_a_type_that_has_no_schema() -> None:
    """A reply with a type that can't be encoded is refused, by its name."""

    class Odd(Message):
        value: complex

    class OddConsumer(MessageConsumer):
        @on
        async def say(self, message: Say) -> Odd:
            return Odd(value=1j)

    class Odds:
        urlpatterns = (path("", OddConsumer.as_view()),)

    with pytest.raises(TypeError, match="complex"):
        asyncapi(urlconf=Odds)
