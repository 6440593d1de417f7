"""``messages/handlers.py``, ``interface.py``: what is read and refused when a class is made."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable
from typing import TYPE_CHECKING, Any, Optional, cast

import pytest
from django.utils.functional import SimpleLazyObject

from tests.messages.vocabulary import Count, Fail, Kick, Number, Refresh, Said, Say
from wsconsumer.messages import Cancel, Error, Message, MessageConsumer, interface_of, on

if TYPE_CHECKING:
    from tests.messages.vocabulary import Said as Missing  # which is not there at run time


class Chat(MessageConsumer):
    """One handler of each kind."""

    sends = (Number,)

    @on
    async def say(self, message: Say) -> Said:
        """Say it."""
        return Said("me", message.text)

    @on
    async def count(self, message: Count) -> AsyncIterator[Number]:
        yield Number(message.to)

    @on(concurrent=True, errors={"full": "No more fit in.", "invalid": "Ours."})
    async def fail(self, message: Fail) -> Number | Said | None: ...

    @on
    async def kick(self, event: Kick | Refresh) -> None: ...


def test_the_interface_of_a_class() -> None:
    """All that a class understands and says is in one object."""
    interface = interface_of(Chat)
    assert dict(interface.messages) == {"say": Say, "count": Count, "fail": Fail}
    assert dict(interface.replies) == {"said": Said, "number": Number}
    assert dict(interface.events) == {"kick": Kick, "refresh.page": Refresh}
    assert dict(interface.sends) == {"number": Number}
    assert interface.errors["full"] == "No more fit in."
    assert interface.errors["invalid"] != "Ours."
    assert not interface.authorizes
    say, count, fail, kick = dict.fromkeys(interface.handlers.values())
    assert (say.name, say.takes, say.replies, say.answers_ok) == ("say", (Say,), (Said,), False)
    assert (say.is_stream, say.is_task, say.function.__doc__) == (False, False, "Say it.")
    assert (count.replies, count.is_stream, count.is_task) == ((Number,), True, True)
    assert (fail.replies, fail.answers_ok, fail.is_task) == ((Number, Said), True, True)
    assert dict(fail.errors) == {"full": "No more fit in.", "invalid": "Ours."}
    assert (kick.takes, kick.replies, kick.answers_ok) == ((Kick, Refresh), (), True)


def test_handlers_are_inherited() -> None:
    """Bases and mixins, which need not be consumers, bring theirs, and a subclass replaces them."""

    class Mixin:
        lazy = SimpleLazyObject(lambda: pytest.fail("it was evaluated"))

        @on
        async def count(self, message: Count) -> None: ...

    class Base(MessageConsumer):
        @on
        async def say(self, message: Say) -> Said: ...  # type: ignore[empty-body]

        @on
        async def fail(self, message: Fail) -> None: ...

    class Child(Mixin, Base):
        @on
        async def say(self, message: Say) -> Number:  # type: ignore[override]  # another reply
            return Number(1)

        fail = None  # type: ignore[assignment]  # handled no more

        async def authorize(self, message: Message) -> bool:
            return True

    assert set(interface_of(Child).messages.values()) == {Say, Count}
    assert interface_of(Child).handlers[Say].replies == (Number,)
    assert interface_of(Child).authorizes
    assert set(interface_of(Base).messages.values()) == {Say, Fail}


def test_annotations_of_a_class_in_a_function() -> None:
    """Types that only the function around the class knows are found."""

    class Local(Message):
        text: str

    class Consumer(MessageConsumer):
        @on
        async def local(self, message: Local) -> Optional[Local]:  # noqa: UP045  # is understood
            return message

    handler = interface_of(Consumer).handlers[Local]
    assert (handler.replies, handler.answers_ok) == ((Local,), True)


@pytest.mark.parametrize("kind", [AsyncIterator, AsyncGenerator, AsyncIterable])
def test_annotations_of_a_stream(kind: Any) -> None:
    """Any of the types that an async generator may be annotated with will do."""

    async def count(self: Any, message: Count) -> AsyncIterator[Number]:
        yield Number(1)

    returns = kind[Number, None] if kind is AsyncGenerator else kind[Number]
    count.__annotations__ = {"message": Count, "return": returns}
    assert interface_of(make(count)).handlers[Count].replies == (Number,)


def make(*functions: Any, **more: Any) -> type[MessageConsumer]:
    """Return a consumer class with these handlers."""
    namespace = {function.__name__: on(function) for function in functions}
    return type("Bad", (MessageConsumer,), {**namespace, **more})


async def missing(self: Any, message: Missing) -> None: ...
async def no_type(self: Any, message) -> None: ...  # type: ignore[no-untyped-def]
async def no_reply(self: Any, message: Say): ...  # type: ignore[no-untyped-def]
def sync(self: Any, message: Say) -> None: ...
def sync_stream(self: Any, message: Say) -> Any:
    yield


async def nothing(self: Any) -> None: ...
async def two(self: Any, message: Say, more: int) -> None: ...
async def keyword(self: Any, *, message: Say) -> None: ...
async def text(self: Any, message: str) -> None: ...
async def anything(self: Any, message: Any) -> None: ...
async def base(self: Any, message: Message) -> None: ...
async def cancel(self: Any, message: Cancel) -> None: ...
async def text_reply(self: Any, message: Say) -> str: ...  # type: ignore[empty-body]
async def event_reply(self: Any, message: Say) -> Kick: ...  # type: ignore[empty-body]
async def base_reply(self: Any, message: Say) -> Message: ...  # type: ignore[empty-body]
async def stream_of_none(self: Any, message: Say) -> AsyncIterator[None]:
    yield None


async def no_stream(self: Any, message: Say) -> AsyncIterator[Said]: ...  # type: ignore[empty-body]
async def not_annotated_stream(self: Any, message: Say) -> Said:  # type: ignore[misc]
    yield Said("a", "b")


async def answered_event(self: Any, event: Kick) -> Said: ...  # type: ignore[empty-body]
async def streamed_event(self: Any, event: Kick) -> AsyncIterator[Said]:
    yield Said("a", "b")


async def authorize(self: Any, message: Say) -> None: ...


@pytest.mark.parametrize(
    ("handler", "text"),
    [
        (missing, "Bad.missing has an annotation that can't be evaluated: name 'Missing' is not"),
        (no_type, r"Bad.no_type has no annotation for its argument 'message'. Write `async def no"),
        (no_reply, r"Bad.no_reply has no annotation for its return value. Write .* or `-> None`"),
        (sync, r"Bad.sync must be a coroutine function, got <function sync>. Write `async def"),
        (sync_stream, "Bad.sync_stream must be a coroutine function"),
        (nothing, "Bad.nothing can't be called with a message: too many positional arguments"),
        (two, "Bad.two can't be called with a message: missing a required argument: 'more'"),
        (keyword, "Bad.keyword can't be called with a message: too many positional arguments"),
        (text, "Bad.text must take a Message or an Event, got <class 'str'>. Subclass one"),
        (anything, "Bad.anything must take a Message or an Event, got typing.Any"),
        (base, "Bad.base: Message itself has no fields and no type of its own. Use a subclass."),
        (cancel, "Bad.cancel can't take Cancel, which is the protocol's own."),
        (text_reply, "Bad.text_reply must answer with Messages, got <class 'str'>."),
        (event_reply, "Bad.event_reply must answer with Messages, got <class '.*Kick'>."),
        (base_reply, "Bad.base_reply: Message itself has no fields"),
        (stream_of_none, "Bad.stream_of_none must answer with Messages, got None."),
        (no_stream, "Bad.no_stream returns .*AsyncIterator.* but has no yield in it."),
        (not_annotated_stream, "Bad.not_annotated_stream yields, so it must return an AsyncIter"),
        (answered_event, "Bad.answered_event handles an Event: nobody waits for an answer"),
        (streamed_event, "Bad.streamed_event handles an Event"),
        (authorize, "Bad.authorize can't be a handler: MessageConsumer.authorize is something"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_mistake_in_a_handler(handler: Any, text: str) -> None:
    """It is found when the class is made, and the error names the handler and the remedy."""
    with pytest.raises(TypeError, match=text):
        make(handler)


async def say(self: Any, message: Say) -> None: ...
async def shout(self: Any, message: Say) -> None: ...


def failing(errors: Any) -> Any:
    """Return a handler that declares errors."""

    async def say(self: Any, message: Say) -> None: ...

    return on(errors=errors)(say)


class OtherSay(Message, tag="say"):
    """Another message with the same type."""


class OtherSaid(Message, tag="said"):
    """Another reply with the same type."""


async def other(self: Any, message: OtherSay) -> OtherSaid: ...  # type: ignore[empty-body]


@pytest.mark.parametrize(
    ("bad", "error", "text"),
    [
        (lambda: make(say, shout), TypeError, "Bad has two handlers for Say: say and shout."),
        (
            lambda: make(say, other),
            TypeError,
            r"Bad can't tell tests.*Say and .*OtherSay apart: both have the type 'say'. Give one",
        ),
        (lambda: make(other, sends=[Said]), TypeError, "can't tell .*OtherSaid and .*Said apart"),
        (
            lambda: make(sends=[str]),
            TypeError,
            "Bad.sends must be Message classes, got <class str>.",
        ),
        (lambda: make(sends=[Kick]), TypeError, "Bad.sends must be Message classes, got <class"),
        (lambda: make(sends=[Message]), TypeError, "Message itself has no fields"),
        (lambda: make(codec="xml"), ValueError, "Bad.codec must be one of json, msgpack, got 'xml"),
        (lambda: make(invalid_limit=0), ValueError, "Bad.invalid_limit must be an int from 1, or"),
        (lambda: make(concurrent_limit=True), ValueError, "Bad.concurrent_limit must be an int fr"),
        (lambda: make(concurrent_limit=0), ValueError, "Bad.concurrent_limit must be an int from"),
        (
            lambda: make(authorize=lambda self, message: True),
            TypeError,
            "Bad.authorize must be a coroutine function, got <function <lambda>",
        ),
        (
            lambda: make(authorize=say, receive=lambda self, data: None),
            TypeError,
            "Bad.receive must be a coroutine function",
        ),
        (
            lambda: cast("Any", on)("say"),
            TypeError,
            "@on expects a method, got 'say'. The type of the message",
        ),
        (
            lambda: make(say=failing(["full"])),
            TypeError,
            r"Bad.say must declare its errors as codes with their meanings, got \['full'\]. Write",
        ),
        (
            lambda: make(say=failing({"full": 7})),
            TypeError,
            "Bad.say must declare its errors as codes",
        ),
    ],
    ids=[
        "two handlers",
        "two messages with one type",
        "two replies with one type",
        "no class in sends",
        "an event in sends",
        "the base in sends",
        "codec",
        "invalid_limit",
        "a bool",
        "concurrent_limit",
        "authorize",
        "receive",
        "a text for @on",
        "codes without meanings",
        "a number for a meaning",
    ],
)
def test_a_mistake_in_a_class(bad: Callable[[], Any], error: type[Exception], text: str) -> None:
    """It is found when the class is made, and the error names the class and the remedy."""
    with pytest.raises(error, match=text):
        bad()


def test_a_handler_that_is_hidden() -> None:
    """An override without @on would silently handle nothing, so it is refused."""
    with pytest.raises(TypeError, match=r"Child.say hides the handler Chat.say. Put @on before it"):

        class Child(Chat):
            async def say(self, message: Say) -> Said:
                return Said("a", "b")


def test_a_wrong_codec_for_one_url_pattern() -> None:
    """``as_view(codec=...)`` is checked as well, with each connection."""
    with pytest.raises(ValueError, match=r"Chat.codec must be one of json, msgpack, got 'xml'"):
        Chat(codec="xml")


def test_the_protocols_own_errors_can_be_replies() -> None:
    """A handler may return an ``Error`` of its own making."""

    async def say(self: Any, message: Say) -> Said | Error:
        return Error("no")

    assert interface_of(make(say)).handlers[Say].replies == (Said, Error)
