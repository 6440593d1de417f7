"""``manage.py websocket_types``: the declarations, and what TypeScript's compiler says of them."""

from __future__ import annotations

import io
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import IntEnum
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, NamedTuple, NotRequired, TypedDict, TypeVar
from uuid import UUID

import msgspec
import pytest
from django.conf.urls.i18n import i18n_patterns
from django.contrib.auth.decorators import login_required
from django.core.management import call_command
from django.db.models import TextChoices
from django.test import override_settings
from django.urls import include, path, re_path
from django.utils.functional import Promise
from msgspec import UNSET, Struct, UnsetType

from tests import npm
from tests.client.running import SOCKET_JS
from tests.messages.vocabulary import Kick
from wsconsumer import WebsocketConsumer
from wsconsumer.messages import Error, Message, MessageConsumer, Meta, on

PROGRAM = Path(__file__).with_name("typescript")

T = TypeVar("T")


class State(TextChoices):
    """What Django calls choices."""

    OPEN = "open", "Open"
    SHIPPED = "shipped", "Shipped"


class Size(IntEnum):
    """What Python calls an enum."""

    SMALL = 1
    LARGE = 2


class Address(Struct):
    street: str
    zip: str = ""


class Sent(Message):
    """Both an order and its confirmation."""

    placed: datetime
    price: Decimal
    number: UUID
    state: State
    size: Size
    address: Address
    tags: Annotated[list[str], Meta(max_length=3, description="Words.")]
    counts: dict[str, int]
    position: tuple[int, Literal["a", "b"]]
    on_time: bool | None = msgspec.field(name="on-time")
    note: str | UnsetType = UNSET


class Say(Message):
    """Something to say: `*/` ends no comment."""

    text: str
    loud: bool = False


class Said(Message):
    author: str
    loud: bool = False


class Left(Message):
    author: str


class History(Message):
    before: int
    limit: int = 20


class Page(Message):
    lines: list[str]


class Search(Message):
    words: str


class Tail(Message):
    pass


class Line(Message):
    number: int


class Chat(MessageConsumer):
    """
    Where people talk.

    In rooms.
    """

    sends = (Said, Left)

    @on(errors={"spam": "The text looks like an advertisement."})
    async def say(self, message: Say) -> None:
        """Say something to all."""

    @on
    async def history(self, message: History) -> Page | Error:
        return Page([])

    @on(concurrent=True)
    async def search(self, message: Search) -> Page | None: ...

    @on
    async def tail(self, message: Tail) -> AsyncIterator[Line]:
        yield Line(1)

    @on
    async def kick(self, event: Kick) -> None: ...


class Orders(MessageConsumer):
    @on
    async def order(self, message: Sent) -> Sent:
        return message


class Blob(Message):
    data: bytes
    at: Annotated[datetime, Meta(tz=True)]
    local: Annotated[datetime, Meta(tz=False)]
    either: datetime
    day: date


class Packed(MessageConsumer):
    codec = "msgpack"
    sends = (Blob,)

    @on
    async def blob(self, message: Blob) -> None: ...


class Untyped(WebsocketConsumer):
    """Nothing that can be declared."""


urlpatterns = [
    path("ws/room/<slug:room>/<int:page>/", login_required(Chat.as_view()), name="chat-room"),
    path("ws/orders/", Orders.as_view()),
    path("ws/packed/", Packed.as_view()),
    path("ws/untyped/", Untyped.as_view()),
]


def declared(consumer: type[MessageConsumer], **initkwargs: Any) -> str:
    """Run the command for a URLconf with one consumer."""
    return declarations([path("ws/", consumer.as_view(**initkwargs))])


def declarations(patterns: Any) -> str:
    """Run the command for these URL patterns."""
    out = io.StringIO()
    urlconf = type("Given", (), {"urlpatterns": patterns})
    with override_settings(ROOT_URLCONF=urlconf):
        call_command("websocket_types", stdout=out)
    return out.getvalue()


def of(name: str, text: str) -> str:
    """Return one of the declarations, without its comment."""
    for keyword in ("interface ", "type "):
        _, found, rest = text.partition(f"\nexport {keyword}{name} ")
        if found:
            return rest.partition("\n\n")[0].rstrip("\n")
    raise AssertionError(text)


def consumer_of(*kinds: Any, replies: Any = None) -> type[MessageConsumer]:
    """Return a consumer that takes these messages."""
    takes: Any = kinds[0]
    for kind in kinds[1:]:
        takes |= kind

    class Given(MessageConsumer):
        @on
        async def take(self, message: takes) -> replies: ...

    return Given


@pytest.mark.processes
@pytest.mark.timeout(npm.TIMEOUT)
def test_a_program_is_checked_by_the_declarations(tmp_path: Path) -> None:
    """A program compiles that is right, and each mistake in it is found."""
    shutil.copytree(PROGRAM, tmp_path, dirs_exist_ok=True)
    shutil.copy(SOCKET_JS.with_suffix(".d.ts"), tmp_path)
    (tmp_path / "messages.d.ts").write_text(declarations(urlpatterns))
    assert npm.typescript_errors(tmp_path) == []
    program = (tmp_path / "program.ts").read_text()
    (tmp_path / "program.ts").write_text(program.replace("@ts-expect-error", "a mistake"))
    marked = [n for n, line in enumerate(program.splitlines(), 1) if "@ts-expect-error" in line]
    assert len(marked) == 19
    found = "\n".join(npm.typescript_errors(tmp_path))
    for number in marked:
        assert f"program.ts({number + 1}," in found


@pytest.mark.processes
@pytest.mark.timeout(npm.TIMEOUT)
def test_all_declarations_compile(tmp_path: Path) -> None:
    """What messages of every kind become is TypeScript."""
    (tmp_path / "messages.d.ts").write_text(
        declarations(
            [
                path("all/", consumer_of(Everything).as_view()),
                path("packed/", consumer_of(Everything).as_view(codec="msgpack")),
                path("both/", consumer_of(Outer, replies=Outer).as_view(), name="2nd"),
            ]
        )
    )
    assert npm.typescript_errors(tmp_path) == []


def test_a_route() -> None:
    """A route is an interface: what may be sent, what it is answered with, and what comes."""
    text = declarations(urlpatterns)
    assert text.startswith("// The messages of each websocket. Made by `manage.py websocket_types`")
    assert "Untyped" not in text
    assert "Kick" not in text
    assert text.partition("export")[0].endswith(
        "/**\n * /ws/room/{room}/{page}/\n *\n * Where people talk.\n *\n * In rooms.\n *\n"
        " * Only for users who are logged in.\n */\n"
    )
    assert of("ChatRoomSocket", text) == (
        "{\n"
        "  url: `/ws/room/${string}/${number}/`;\n"
        '  codec: "json";\n'
        "  /** What a client may send. */\n"
        "  send: Say | History | Search | Tail | Cancel;\n"
        "  /** Replies, by the type of the request. */\n"
        "  request: {\n"
        "    /** Say something to all. */\n"
        "    say: Ok;\n"
        "    history: Page;\n"
        "    search: Page | Ok;\n"
        "  };\n"
        "  /** Items of streams, by the type of the request. */\n"
        "  stream: {\n"
        "    tail: Line;\n"
        "  };\n"
        "  /** What comes without being asked for. */\n"
        "  broadcast: Said | Left;\n"
        "  /** All that may come. */\n"
        "  receive: Ok | Error | Page | Line | End | Said | Left;\n"
        "  /** Codes of errors. */\n"
        '  error: ErrorCode | "spam";\n'
        "}"
    )
    assert "/** Something to say: `*\\/` ends no comment. */\nexport interface Say {" in text


def test_what_has_nothing() -> None:
    """A consumer that takes and says nothing has a type for that too."""
    text = declared(type("Silent", (MessageConsumer,), {}))
    assert "send: never;" in text
    assert "request: {};" in text
    assert "stream: {};" in text
    assert "broadcast: never;" in text


@pytest.mark.parametrize(
    ("pattern", "url"),
    [
        (path("ws/", include([path("<int:pk>/", Orders.as_view())])), "`/ws/${number}/`"),
        (path("ws/<uuid:pk>/<path:rest>", Orders.as_view()), "`/ws/${string}/${string}`"),
        (path("ws/`$\\/", Orders.as_view()), "`/ws/\\`\\$\\\\/`"),
        (re_path(r"^ws/(\d+)/$", Orders.as_view()), "`/${string}`"),
        (path("ws/", include([re_path("^a|b$", Orders.as_view())])), "`/ws/${string}`"),
        *[(each, "`/${string}ws/`") for each in i18n_patterns(path("ws/", Orders.as_view()))],
        (path("", Orders.as_view()), "`/`"),
    ],
    ids=["number", "text", "escapes", "regex", "regex inside", "language", "root"],
)
def test_an_address(pattern: Any, url: str) -> None:
    """An address is a template: a number where only digits match, and text where anything may."""
    assert f"  url: {url};\n" in declarations([pattern])


@pytest.mark.parametrize(
    ("pattern", "name"),
    [
        (path("", Orders.as_view()), "OrdersSocket"),
        (path("", Orders.as_view(), name="shop_orders"), "ShopOrdersSocket"),
        (path("", Orders.as_view(), name="order-socket"), "OrderSocket"),
        (path("", include(([path("", Orders.as_view(), name="all")], "shop"))), "ShopAllSocket"),
        (path("", Orders.as_view(), name="2nd"), "_2ndSocket"),
    ],
    ids=["consumer", "route", "socket", "namespace", "number"],
)
def test_the_name_of_a_route(pattern: Any, name: str) -> None:
    """An interface has the name of the route, or else of the consumer."""
    assert f"export interface {name} {{" in declarations([pattern])


def test_names_that_are_taken() -> None:
    """Two routes or messages with one name are told apart, as is what TypeScript has already."""
    first = type("Ref", (Message,), {"__annotations__": {"a": int}}, tag="a")
    second = type("Ref", (Message,), {"__annotations__": {"b": int}}, tag="b")
    third = type("delete", (Message,), {}, tag="c")
    given = consumer_of(first, second, third, type("Date", (Message,), {}))
    text = declarations([path("a/", given.as_view()), path("b/", given.as_view())])
    assert "  send: Ref2 | Ref3 | Delete | Date2;\n" in text
    assert "export interface GivenSocket {" in text
    assert "export interface GivenSocket2 {" in text
    assert of("Ref3", text) == '{\n  type: "b";\n  b: number;\n  ref?: Ref;\n}'


class Inner(Struct, Generic[T]):
    value: T
    more: list[Inner[T]] = []


class Pair(NamedTuple):
    left: int
    right: str | None


class Array(Struct, array_like=True, tag="array"):
    first: int


class Open(TypedDict):
    has: int
    may: NotRequired[str]


@dataclass
class Data:
    """Of the standard library."""

    value: int
    other: int = 0


class Omitting(Struct, omit_defaults=True, tag_field="kind", tag=7):
    value: int = 0


class Everything(Message, tag="all/things"):
    anything: Any
    raw: msgspec.Raw
    text: str | int
    data: bytes
    day: date
    hour: time
    span: timedelta
    moment: datetime
    lists: list[int | None]
    sets: frozenset[str]
    empty: tuple[()]
    generic: Inner[int]
    pair: Pair
    array: Array
    typed: Open
    plain: Data
    omitting: Omitting
    lazy: Promise
    odd: Annotated[list[int], Meta(min_length=1)]
    not_a_name: int = msgspec.field(name="not a name")


def test_every_type() -> None:
    """Each type is what it is on the wire in JSON."""
    text = declared(consumer_of(Everything, replies=Everything))
    assert of("Everything", text) == (
        "{\n"
        '  type: "all/things";\n'
        "  anything: unknown;\n"
        "  raw: unknown;\n"
        "  text: string | number;\n"
        "  data: string;\n"
        "  day: string;\n"
        "  hour: string;\n"
        "  span: string;\n"
        "  moment: string;\n"
        "  lists: (number | null)[];\n"
        "  sets: string[];\n"
        "  empty: [];\n"
        "  generic: InnerInt;\n"
        "  pair: Pair;\n"
        "  array: Array;\n"
        "  typed: Open;\n"
        "  plain: Data;\n"
        "  omitting: Omitting;\n"
        "  lazy: string;\n"
        "  odd: number[];\n"
        '  "not a name": number;\n'
        "  ref?: Ref;\n"
        "}"
    )
    assert '  request: {\n    "all/things": Everything;\n  };\n' in text
    assert of("InnerInt", text) == "{\n  value: number;\n  more: InnerInt[];\n}"
    assert of("InnerIntInput", text) == "{\n  value: number;\n  more?: InnerIntInput[];\n}"
    assert of("Pair", text) == "= [number, string | null]"
    assert of("Array", text) == '= ["array", number]'
    assert of("Open", text) == "{\n  has: number;\n  may?: string;\n}"
    assert of("Data", text) == "{\n  value: number;\n  other: number;\n}"
    assert of("DataInput", text) == "{\n  value: number;\n  other?: number;\n}"
    assert of("Omitting", text) == "{\n  kind: 7;\n  value?: number;\n}"
    assert "/** Of the standard library. */\nexport interface Data " in text
    assert "OmittingInput" not in text
    assert "OpenInput" not in text


def test_every_type_in_messagepack() -> None:
    """MessagePack has bytes and moments with a time zone itself; all else is as in JSON."""
    text = declared(consumer_of(Blob, replies=Blob), codec="msgpack")
    assert '  codec: "msgpack";\n' in text
    assert of("Blob", text) == (
        "{\n"
        '  type: "blob";\n'
        "  data: Uint8Array;\n"
        "  at: Date;\n"
        "  local: string;\n"
        "  either: Date | string;\n"
        "  day: string;\n"
        "  ref?: Ref;\n"
        "}"
    )


class Leaf(Struct):
    value: int = 0


class Branch(Struct):
    leaf: Leaf


class Outer(Message):
    branch: Branch
    others: list[Outer]


class OuterInput(Message):
    """A name that would be given to the other form of Outer."""


def test_forms_that_differ_deep_inside() -> None:
    """Who holds what differs in its forms has several forms too, with names of their own."""
    text = declared(consumer_of(OuterInput, Outer, replies=Outer))
    assert of("Leaf", text) == "{\n  value: number;\n}"
    assert of("LeafInput", text) == "{\n  value?: number;\n}"
    assert of("BranchInput", text) == "{\n  leaf: LeafInput;\n}"
    assert "  others: OuterInput2[];\n" in of("OuterInput2", text)
    assert "  send: OuterInput | OuterInput2;\n" in text
    assert "    outer: Outer;\n" in text


def test_forms_of_two_codecs() -> None:
    """A class that JSON and MessagePack write differently has a form for each."""
    given = consumer_of(Blob)
    text = declarations([path("", given.as_view()), path("p/", given.as_view(codec="msgpack"))])
    assert "  data: string;\n" in of("BlobInput", text.replace(" Blob ", " BlobInput "))
    assert "  data: Uint8Array;\n" in of("BlobPackedInput", text)


def test_a_long_union() -> None:
    """A union that is long has a line for each member."""
    kinds = [type(f"Message{'x' * 30}{n}", (Message,), {}) for n in range(3)]
    text = declared(consumer_of(*kinds))
    assert "".join(f"    | {kind.__name__}\n" for kind in kinds[:2]) in text
    assert "  send:\n    | Message" in text


def test_a_type_that_has_no_declaration() -> None:
    """A type that can't be encoded is refused, by its name."""

    class Odd(Message):
        value: complex

    with pytest.raises(TypeError, match=r"builtins\.complex has no type in TypeScript"):
        declared(consumer_of(Odd))


def test_without_a_message_consumer() -> None:
    """There is only what every route has, and a person is told why."""
    out, err = io.StringIO(), io.StringIO()
    with override_settings(ROOT_URLCONF="tests.urls"):
        call_command("websocket_types", stdout=out, stderr=err)
    assert "interface" not in out.getvalue()
    assert err.getvalue() == "No MessageConsumer is mapped: path(..., X.as_view()).\n"
