"""Calls of the kit that can't work, each told what to write instead."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from difflib import get_close_matches
from functools import wraps
from typing import TYPE_CHECKING, Any, Final, NoReturn, ParamSpec

from ..consumer import WebsocketConsumer
from ..escaping import quote
from ..handshake.views import websocket_application

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine
    from types import TracebackType

    from .websocket import Websocket

P = ParamSpec("P")

# How connect() is called


def opens(
    function: Callable[P, AsyncIterator[Websocket]],
) -> Callable[P, AbstractAsyncContextManager[Websocket]]:
    """Make a ``connect()`` of what yields a websocket: for ``async with``, and nothing else."""
    make = asynccontextmanager(function)
    signature = inspect.signature(function)
    is_client = "self" in signature.parameters

    @wraps(function)
    def connect(*args: P.args, **kwargs: P.kwargs) -> AbstractAsyncContextManager[Websocket]:
        for name in kwargs.keys() - signature.parameters.keys():
            raise TypeError(_unknown_argument(name, signature, is_client=is_client))
        if is_client and args and isinstance(args[0], str):
            raise TypeError(
                f"connect() is a method of a client: write WebsocketClient().connect({args[0]!r})."
            )
        block = make(*args, **kwargs)
        given = signature.bind(*args, **kwargs).arguments
        if is_client:
            return Opening(f"client.connect({quote(given['path'])})", block)
        return Opening(f"connect({_name(given['application'])})", block)

    return connect


def _name(application: object) -> str:
    return getattr(application, "__name__", type(application).__name__)


_OF_THE_PROJECT: Final = {
    "kwargs": "the URL's come from its path: client.connect('/ws/room/attic/')",
    "session": "pages and sockets share the client's cookies: client.get(...), or client.session",
    "user": "log in first: `await client.aforce_login(user)`",
}


def _unknown_argument(name: str, signature: inspect.Signature, *, is_client: bool) -> str:
    if is_client and name in _OF_THE_PROJECT:
        return f"WebsocketClient.connect() takes no {name}: {_OF_THE_PROJECT[name]}."
    known = [parameter for parameter in signature.parameters if parameter != "self"]
    near = get_close_matches(name, known, n=1)
    if near:
        advice = f"Did you mean {near[0]}?"
    elif is_client:
        advice = f"There are {', '.join(known)}."
    else:
        advice = f"If it is of the URL, write connect(..., kwargs={{{name!r}: ...}})."
    owner = "WebsocketClient.connect" if is_client else "connect"
    return f"{owner}() has no argument {name}. {advice}"


class Opening(AbstractAsyncContextManager["Websocket"]):
    """What ``connect()`` returns: the websocket opens with ``async with``."""

    def __init__(self, call: str, block: AbstractAsyncContextManager[Websocket]) -> None:
        self._call = call
        self._block = block
        self._is_told = False
        self._is_used = False

    async def __aenter__(self) -> Websocket:
        if self._is_used:
            raise RuntimeError(
                f"connect() opens one websocket; for another, {self._advice()} again."
            )
        self._is_told = self._is_used = True
        return await self._block.__aenter__()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool | None:
        return await self._block.__aexit__(kind, error, trace)

    def _advice(self) -> str:
        self._is_told = True
        return f"write `async with {self._call} as ws:`"

    # Type checkers have errors of their own for these.
    if not TYPE_CHECKING:  # pragma: no branch  # it is always true when the program runs

        def __await__(self) -> NoReturn:
            raise TypeError(f"connect() can't be awaited: {self._advice()}.")

        def __enter__(self) -> NoReturn:
            raise TypeError(f"connect() needs `async with`: {self._advice()}.")

        def __exit__(self, *exc_info: object) -> NoReturn:
            raise NotImplementedError  # `with` looks for it before it calls __enter__()

        def __getattr__(self, name: str) -> NoReturn:
            raise AttributeError(
                f"What connect() returns has no {name} yet: {self._advice()}, and use ws in the "
                "block."
            )

    def __del__(self) -> None:
        if not self._is_told:
            warnings.warn(
                f"connect() was called, and no websocket was opened: {self._advice()}.",
                RuntimeWarning,
                source=self,
                stacklevel=2,
            )


def check_application(application: object) -> None:
    """Raise ``TypeError`` for what ``connect()`` can't run."""
    if isinstance(application, str):
        problem = (
            f"the path {quote(application)}. Write connect(YourConsumer), or "
            f"WebsocketClient().connect({quote(application)}) for what is mapped there"
        )
    elif isinstance(application, WebsocketConsumer) and "request" not in vars(application):
        problem = f"an instance. Write connect({type(application).__name__})"
    elif websocket_application(application) is not None:
        name = _name(websocket_application(application))
        problem = f"a view. Write connect({name}), or WebsocketClient().connect(path) for its URL"
    elif isinstance(application, type):
        if issubclass(application, WebsocketConsumer):
            return
        problem = (
            f"the class {application.__name__}, which is no WebsocketConsumer. Write "
            f"connect({application.__name__}.as_asgi()) if it has an as_asgi()"
        )
    elif callable(application):
        return
    else:
        problem = f"{quote(application)}. Write connect(YourConsumer)"
    raise TypeError(f"connect() expects a consumer class or an ASGI application, got {problem}.")


def check_project_path(path: object) -> None:
    """Raise ``TypeError`` or ``ValueError`` for what is no path of a project."""
    owner = "WebsocketClient.connect()"
    if isinstance(path, type) or callable(path):
        raise TypeError(
            f"{owner} expects a path of the project, such as '/ws/echo/', got {_name(path)}. For "
            f"one consumer without URL and middleware write wsconsumer.test.connect({_name(path)})."
        )
    check_path(owner, path)


def check_path(owner: str, path: object) -> None:
    """Raise ``TypeError`` or ``ValueError`` for a path that no handshake has."""
    if not isinstance(path, str):
        raise TypeError(
            f"{owner} expects the path as a str, got {quote(path)}. What else it takes has a name, "
            "such as headers={...}."
        )
    if not path.startswith("/"):
        raise ValueError(
            f"{owner} expects a path that begins with a slash, without scheme and host, such as "
            f"'/ws/echo/?a=1', got {quote(path)}."
        )


def check_kwargs(kwargs: object) -> None:
    """Raise ``TypeError`` for ``kwargs`` that no URL pattern finds."""
    if not (kwargs is None or isinstance(kwargs, Mapping)):
        raise TypeError(
            f"connect() expects kwargs as a dict, such as {{'room': 'attic'}}, got {quote(kwargs)}."
        )


# How a websocket is used


class Calls:
    """The calls of a websocket's verbs, of which a test may forget to await one."""

    def __init__(self) -> None:
        self._made: list[tuple[str, Coroutine[Any, Any, Any]]] = []

    def note(self, name: str, coroutine: Coroutine[Any, Any, Any]) -> None:
        """A verb was called."""
        self._made = [*self._not_begun(), (name, coroutine)]

    def forgotten(self) -> list[str]:
        """Return what was not awaited, in words."""
        return [
            f"ws.{name}() of this connect() was not awaited: write `await ws.{name}(...)`."
            for name, _ in self._not_begun()
        ]

    def close(self) -> None:
        """Let Python not tell it once more."""
        for _, coroutine in self._not_begun():
            coroutine.close()

    def _not_begun(self) -> list[tuple[str, Coroutine[Any, Any, Any]]]:
        state = inspect.getcoroutinestate
        return [call for call in self._made if state(call[1]) == inspect.CORO_CREATED]


def notes_calls(websocket: type[Websocket]) -> type[Websocket]:
    """Let a class note the calls of its verbs in ``calls``."""
    for name in dir(websocket):
        verb = getattr(websocket, name)
        if inspect.iscoroutinefunction(verb) and not name.startswith("_"):
            setattr(websocket, name, _noting(name, verb))
    return websocket


def _noting(name: str, verb: Callable[..., Coroutine[Any, Any, Any]]) -> Callable[..., Any]:
    @wraps(verb)
    def call(self: Websocket, *args: Any, **kwargs: Any) -> Coroutine[Any, Any, Any]:
        coroutine = verb(self, *args, **kwargs)
        self.calls.note(name, coroutine)
        return coroutine

    return call
