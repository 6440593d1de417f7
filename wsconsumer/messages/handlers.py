"""
``@on`` and what it marks: a method of a consumer that handles one type of message, or several.

``Handler.of()`` reads the annotations when the consumer class is made; each mistake in them is a
``TypeError`` that names class, handler and remedy.
"""

from __future__ import annotations

import inspect
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Callable,
    Coroutine,
    Mapping,
)
from types import MappingProxyType, NoneType, UnionType
from typing import (
    TYPE_CHECKING,
    Any,
    NamedTuple,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
    overload,
)

from asgiref.sync import iscoroutinefunction

from ..escaping import quote
from ..misnomers import HANDLER_MARK
from .types import RESERVED, Event, Message, check_type

if TYPE_CHECKING:
    from typing import Self

    from msgspec import Struct

C = TypeVar("C")
M = TypeVar("M", bound="Message | Event")
R = TypeVar("R", bound="Message | None")
S = TypeVar("S", bound="Message")

_STREAMS = (AsyncIterator, AsyncGenerator, AsyncIterable)
_NO_ERRORS: Mapping[str, str] = MappingProxyType({})


class _Mark(NamedTuple):
    """What ``@on`` was given."""

    concurrent: bool
    errors: Mapping[str, str]


@overload
def on(
    handler: Callable[[C, M], Coroutine[Any, Any, R]], /
) -> Callable[[C, M], Coroutine[Any, Any, R]]: ...


@overload
def on(handler: Callable[[C, M], AsyncIterator[S]], /) -> Callable[[C, M], AsyncIterator[S]]: ...


@overload
def on(*, concurrent: bool = ..., errors: Mapping[str, str] = ...) -> _Decorator: ...


def on(
    handler: Any = None, /, *, concurrent: bool = False, errors: Mapping[str, str] = _NO_ERRORS
) -> Any:
    """
    Let a method handle the messages, or the events, that its argument is annotated with.

    What it returns is the reply; an async generator answers with a stream. ``concurrent=True`` runs
    it as a task beside the messages that come after; the default is one after the other. ``errors``
    says what the codes mean of the ``MessageError`` that it may raise, for those who describe it.
    """
    mark = _Mark(concurrent, errors)
    if handler is None:
        return lambda handler: _mark(handler, mark)
    return _mark(handler, mark)


class _Decorator:
    """What ``on(concurrent=True)`` returns, as type checkers see it."""

    @overload
    def __call__(
        self, handler: Callable[[C, M], Coroutine[Any, Any, R]], /
    ) -> Callable[[C, M], Coroutine[Any, Any, R]]: ...

    @overload
    def __call__(
        self, handler: Callable[[C, M], AsyncIterator[S]], /
    ) -> Callable[[C, M], AsyncIterator[S]]: ...

    def __call__(self, handler: Any, /) -> Any:
        """Mark the handler."""
        raise NotImplementedError


def _mark(handler: Any, mark: _Mark) -> Any:
    if not callable(handler):
        raise TypeError(
            f"@on expects a method, got {quote(handler)}. The type of the message is the "
            "annotation of its argument: `async def say(self, message: Say) -> None`."
        )
    setattr(handler, HANDLER_MARK, mark)
    return handler


def is_handler(value: object) -> bool:
    """Whether ``@on`` has marked this attribute of a class."""
    return HANDLER_MARK in getattr(value, "__dict__", ())


class Handler(NamedTuple):
    """
    A method that handles messages, as its annotations say.

    ``takes`` are the messages and events, ``replies`` what it may answer with; ``answers_ok`` tells
    whether it may return nothing, ``is_stream`` whether it yields its replies. ``is_task`` says
    that it runs beside the messages that come after. ``errors`` are the codes with which it may
    fail, each with what it means, as far as it declares them.
    """

    name: str
    function: Callable[..., Any]
    takes: tuple[type[Struct], ...]
    replies: tuple[type[Message], ...]
    answers_ok: bool
    is_stream: bool
    is_task: bool
    errors: tuple[tuple[str, str], ...]

    @classmethod
    def of(cls, owner: type, name: str, function: Any) -> Self:
        """Read a method; raise ``TypeError`` if it can't handle messages."""
        where = f"{owner.__name__}.{name}"
        is_stream = inspect.isasyncgenfunction(function)
        if not is_stream and not iscoroutinefunction(function):
            raise TypeError(
                f"{where} must be a coroutine function, got {quote(function)}. Write "
                f"`async def {name}(self, message: ...)`."
            )
        parameter = _parameter(where, name, function)
        hints = _hints(where, function)
        for wanted, what in ((parameter, f"argument {parameter!r}"), ("return", "return value")):
            if wanted not in hints:
                raise TypeError(
                    f"{where} has no annotation for its {what}. Write "
                    f"`async def {name}(self, message: TheMessage) -> TheReply`, or `-> None`."
                )
        takes = _takes(where, hints[parameter])
        replies = _replies(where, hints["return"], is_stream=is_stream)
        mark: _Mark = getattr(function, HANDLER_MARK)
        _check_errors(where, mark.errors)
        is_task = is_stream or mark.concurrent
        if any(issubclass(kind, Event) for kind in takes) and (is_task or replies != (NoneType,)):
            raise TypeError(
                f"{where} handles an Event: nobody waits for an answer, and events are handled one "
                "after the other. Write `-> None`, and spawn() what takes long."
            )
        return cls(
            name=name,
            function=function,
            takes=takes,
            replies=tuple(kind for kind in replies if kind is not NoneType),
            answers_ok=not is_stream and NoneType in replies,
            is_stream=is_stream,
            is_task=is_task,
            errors=tuple(mark.errors.items()),
        )


def _check_errors(where: str, errors: object) -> None:
    if not isinstance(errors, Mapping) or not all(
        isinstance(text, str) for pair in errors.items() for text in pair
    ):
        raise TypeError(
            f"{where} must declare its errors as codes with their meanings, got {quote(errors)}. "
            'Write `@on(errors={"full": "The room is full."})`.'
        )


def _parameter(where: str, name: str, function: Any) -> str:
    """Return the name of the argument that is the message."""
    signature = inspect.signature(function)
    try:
        bound = signature.bind("self", "message")
    except TypeError as error:
        raise TypeError(
            f"{where} can't be called with a message: {error}. Write "
            f"`async def {name}(self, message: TheMessage)`."
        ) from None
    return list(bound.arguments)[1]


def _hints(where: str, function: Any) -> dict[str, Any]:
    """Evaluate annotations; of a class in a function, where that function's names are known."""
    frame = None
    missing: NameError | None = None
    while True:
        try:
            return get_type_hints(function, localns=frame and frame.f_locals)
        except NameError as error:
            missing = missing or error
        frame = inspect.currentframe() if frame is None else frame.f_back
        if frame is None or frame.f_code.co_name == "<module>":
            raise TypeError(
                f"{where} has an annotation that can't be evaluated: {missing}. Import the name at "
                "run time, outside of `if TYPE_CHECKING:`, and before the class."
            ) from missing


def _members(kind: Any) -> tuple[Any, ...]:
    return get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)


def _takes(where: str, kind: Any) -> tuple[type[Struct], ...]:
    members = _members(kind)
    for member in members:
        if not (isinstance(member, type) and issubclass(member, Message | Event)):
            raise TypeError(
                f"{where} must take a Message or an Event, got {member!r}. Subclass one of them."
            )
        if member in RESERVED:
            raise TypeError(f"{where} can't take {member.__name__}, which is the protocol's own.")
        _check(where, member)
    return members


def _replies(where: str, kind: Any, *, is_stream: bool) -> tuple[type, ...]:
    """Return the classes that a handler may answer with, ``NoneType`` among them."""
    is_iterator = get_origin(kind) in _STREAMS
    if is_stream and not is_iterator:
        raise TypeError(
            f"{where} yields, so it must return an AsyncIterator, got {kind!r}. Write "
            "`-> AsyncIterator[TheReply]`."
        )
    if is_iterator and not is_stream:
        raise TypeError(
            f"{where} returns {kind!r} but has no yield in it. Yield the replies in the handler."
        )
    members = _members(get_args(kind)[0] if is_iterator else kind)
    for member in members:
        if is_stream or member is not NoneType:
            if not (isinstance(member, type) and issubclass(member, Message)):
                raise TypeError(f"{where} must answer with Messages, got {member!r}.")
            _check(where, member)
    return members


def _check(where: str, kind: type[Struct]) -> None:
    try:
        check_type(kind)
    except TypeError as error:
        raise TypeError(f"{where}: {error}") from None
