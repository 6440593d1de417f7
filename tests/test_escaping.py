"""
``escaping.py``: nothing that a client sends can write a line of the log, and nothing that describes
a value runs code of the project's.
"""

from __future__ import annotations

import enum
import logging
import threading
from collections import OrderedDict
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
from django.contrib.auth.models import User
from django.core.exceptions import BadRequest, ImproperlyConfigured
from django.test import override_settings

from tests.connection.deciding import error_in_connect
from tests.fakes import ACCEPT, disconnect, run
from wsconsumer import ConnectionClosed, WebsocketConsumer, abroadcast
from wsconsumer.conf import get
from wsconsumer.escaping import MAX_ITEMS, MAX_LENGTH, escape, message_of, quote
from wsconsumer.groups.memory import MemoryBackend
from wsconsumer.groups.options import SECONDS, check_options
from wsconsumer.sessions import fresh_session

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.mark.parametrize(
    ("value", "escaped"),
    [
        ("/ws/room/", "/ws/room/"),
        ("/ws/caf\xe9/", "/ws/caf\xe9/"),
        ("/ws\n2026-01-01 ERROR all is lost", r"/ws\n2026-01-01 ERROR all is lost"),
        ("\x1b[31mred", r"\x1b[31mred"),
        ("a\u202eb", r"a\u202eb"),
        ("\ud800", r"\ud800"),
        (b"caf\xe9\r\n", r"caf\xe9\r\n".replace(r"\xe9", "\xe9")),
        (ValueError("no\tno"), r"no\tno"),
        (None, "None"),
    ],
    ids=ascii,
)
def test_control_characters_are_escaped(value: object, escaped: str) -> None:
    """Readable text stays as it is; line breaks, colors and hidden characters are spelled out."""
    assert escape(value) == escaped


@pytest.mark.parametrize("character", ["a", "\n", "\U0010ffff"], ids=ascii)
def test_long_text_is_cut(character: str) -> None:
    """However long the value, and whatever it is made of, a bounded text comes out."""
    assert escape(character * MAX_LENGTH).isprintable()
    text = escape(character * 9000)
    assert text.endswith("... (9000 characters)")
    assert len(text) <= MAX_LENGTH + 30


class Order:
    """A value of a project's."""

    def total(self) -> None: ...


class Color(enum.IntEnum):
    RED = 1


class Markup(str):
    """Text of a project's, which shows itself in a way of its own."""

    __slots__ = ()

    def __repr__(self) -> str:
        raise AssertionError("code of the project's ran")

    __str__ = __repr__


@pytest.mark.parametrize(
    ("value", "quoted"),
    [
        ("a'b\n", r'''"a'b\n"'''),
        (b"\xff", r"b'\xff'"),
        (None, "None"),
        (True, "True"),
        (1.5, "1.5"),
        (10**5000, "<int object>"),
        (UUID(int=7), "UUID('00000000-0000-0000-0000-000000000007')"),
        (Color.RED, "1"),
        (Markup("hi"), "'hi'"),
        (("Name", 1), "('Name', 1)"),
        ((1,), "(1,)"),
        ([], "[]"),
        ({"a": [1]}, "{'a': [1]}"),
        ([[[1]]], "[[<list object>]]"),
        (list(range(MAX_ITEMS + 1)), f"[{', '.join(map(str, range(MAX_ITEMS)))}, ...]"),
        (OrderedDict(a=1), "<collections.OrderedDict object>"),
        (escape, "<function escape>"),
        (Order().total, "<bound method Order.total>"),
        (Order, f"<class {__name__}.Order>"),
        (partial(escape, 1), "<functools.partial object>"),
        (len, "<builtin_function_or_method object>"),
        (Order(), f"<{__name__}.Order object>"),
        ([Order()], f"[<{__name__}.Order object>]"),
        (object(), "<object object>"),
    ],
    ids=[
        "text", "bytes", "None", "bool", "float", "huge int", "UUID", "enum", "subclass of str",
        "tuple", "tuple of one", "list", "dict", "nested", "many items", "subclass of dict",
        "function", "method", "class", "partial", "built-in", "object", "object in a list",
        "bare object",
    ],
)  # fmt: skip
def test_values_are_quoted(value: object, quoted: str) -> None:
    """Python's own values are quoted as by ``repr()``, objects of the project's by their type."""
    assert quote(value) == quoted


def test_long_values_are_cut() -> None:
    """However long the value, its quotation is not."""
    assert quote("x" * 9000).endswith("... (9002 characters)")


class CustomError(Exception):
    """An exception whose text the project writes."""

    def __str__(self) -> str:
        raise AssertionError("code of the project's ran")


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ValueError("no\tno"), r"no\tno"),
        (OSError(5, "broken"), "[Errno 5] broken"),
        (ExceptionGroup("several", [ValueError()]), "several (1 sub-exception)"),
        (ValueError(Order()), "ValueError"),
        (ExceptionGroup(Markup("several"), [ValueError()]), "ExceptionGroup"),
        (CustomError("no"), "CustomError"),
    ],
    ids=["text", "os", "group", "object", "group of its own", "custom"],
)
def test_messages_of_exceptions(error: Exception, message: str) -> None:
    """The text of an exception is told where Python makes it, else its type."""
    assert message_of(error) == message


class Raising:
    """A value whose description raises."""

    def __repr__(self) -> str:
        raise RuntimeError("__repr__() ran")

    __str__ = __repr__


class Querying:
    """A value whose description asks the database, which is an error on the event loop."""

    def __repr__(self) -> str:
        return f"<{User.objects.count()} users>"

    __str__ = __repr__


class Blocking:
    """A value whose description waits for what the event loop would do next."""

    def __repr__(self) -> str:
        if not threading.Event().wait(0.5):
            raise TimeoutError("__repr__() blocked the event loop")
        return "<Blocking>"

    __str__ = __repr__


VALUES = pytest.mark.parametrize("kind", [Raising, Querying, Blocking])

MISTAKES: dict[str, Callable[[Any, Any], Any]] = {
    "accept": lambda consumer, value: consumer.accept(value),
    "accept headers": lambda consumer, value: consumer.accept(headers=[("Name", value)]),
    "reject": lambda consumer, value: consumer.reject(value),
    "reject body": lambda consumer, value: consumer.reject(403, value),
    "reject headers": lambda consumer, value: consumer.reject(headers=[value]),
    "close": lambda consumer, value: consumer.close(value),
    "close reason": lambda consumer, value: consumer.close(4000, value),
    "join": lambda consumer, value: consumer.join(value),
    "broadcast": lambda consumer, value: consumer.broadcast(value, "hello"),
    "broadcast data": lambda consumer, value: consumer.broadcast("room", value),
    "abroadcast": lambda consumer, value: abroadcast("room", "hello", using=value),
    "spawn": lambda consumer, value: consumer.spawn(value),
}


@VALUES
@pytest.mark.parametrize("mistake", MISTAKES.values(), ids=MISTAKES)
async def test_errors_of_verbs(mistake: Callable[[Any, Any], Any], kind: type) -> None:
    """A wrong argument is an error that names its type, and runs none of its code."""
    message, _ = await error_in_connect(
        lambda consumer: mistake(consumer, kind()), TypeError, ValueError
    )
    assert kind.__name__ in message


async def test_a_consumer_is_not_described() -> None:
    """A method that was not called is named, without its consumer's ``__repr__``."""

    class Ticking(Raising, WebsocketConsumer):
        async def connect(self) -> None:
            with pytest.raises(TypeError, match=r"got <bound method .*Ticking\.tick>\. Call"):
                self.spawn(self.tick)  # type: ignore[arg-type]  # the mistake in question

        async def tick(self) -> None: ...

    assert await run(Ticking.as_asgi(), disconnect()) == [ACCEPT]


@VALUES
@pytest.mark.parametrize(
    "use",
    [
        lambda value: check_options("memory", {"TIMEOUT": value}, {"TIMEOUT": SECONDS}),
        lambda value: check_options("memory", {value: 5}, {"TIMEOUT": SECONDS}),
        lambda value: MemoryBackend(value, "prefix", {}),
        lambda value: WebsocketConsumer.as_asgi(max_groups=value),
        lambda value: type("Chat", (WebsocketConsumer,), {"receive": value}),
        lambda value: fresh_session(SimpleNamespace(session=value)).__enter__(),  # type: ignore[arg-type]
    ],
    ids=["option", "name of an option", "location", "limit", "hook", "session"],
)
def test_errors_of_settings_and_classes(use: Callable[[Any], Any], kind: type) -> None:
    """Neither does one in settings, on a class or on a request."""
    with pytest.raises((TypeError, ValueError, ImproperlyConfigured), match=kind.__name__):
        use(kind())


@VALUES
@pytest.mark.parametrize("name", ["THREADS", "whole"])
def test_errors_of_the_dict(name: str, kind: type) -> None:
    """Nor does one in the ``WSCONSUMER`` dict, or in its place."""
    with (
        override_settings(WSCONSUMER=kind() if name == "whole" else {name: kind()}),
        pytest.raises(ImproperlyConfigured, match=f"got .*{kind.__name__}"),
    ):
        get("THREADS")


@VALUES
@pytest.mark.parametrize("is_closed", [True, False], ids=["closed", "bad request"])
async def test_log_lines(is_closed: bool, kind: type, caplog: pytest.LogCaptureFixture) -> None:
    """What a hook raised is logged by its type where its text would be the project's."""
    caplog.set_level(logging.INFO, "wsconsumer")

    class Failing(WebsocketConsumer):
        async def connect(self) -> None:
            if not is_closed:
                raise BadRequest(kind())
            await self.accept()
            await self.close()
            raise ConnectionClosed("It is over.", code=1000) from ValueError(kind())

    await run(Failing.as_asgi(), disconnect(), path="/chat/")
    end = "connect on /chat/: It is over. Cause: ValueError: ValueError"
    assert caplog.messages[0] == (end if is_closed else "BadRequest: /chat/")


@VALUES
async def test_the_key_of_a_user(kind: type, caplog: pytest.LogCaptureFixture) -> None:
    """A user is named by the primary key, whatever that is."""

    class Failing(WebsocketConsumer):
        async def connect(self) -> None:
            raise RuntimeError("no")

    await run(Failing.as_asgi(), path="/chat/", user=User(pk=kind()))
    assert caplog.messages == [
        f"Failing.connect() failed on /chat/ for user <{__name__}.{kind.__name__} object>"
    ]
