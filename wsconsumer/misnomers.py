"""
Names that a consumer class should not have, told when the class is made.

A hook or limit that is misspelt by one letter or in capitals, a hook of Channels, what would hide a
verb or fact: the lists are fixed, so that every other name is free.
"""

from __future__ import annotations

from functools import cache
from inspect import getattr_static
from string import ascii_lowercase
from typing import TYPE_CHECKING, Any, Final

from .hooks import HOOKS
from .limits import LIMITS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

RESERVED: Final = ("_wsconsumer", "__call__")
"""What is ours in a consumer besides its documented names."""

HANDLER_MARK: Final = "_wsconsumer_on"
"""What ``@on`` leaves on a method, for a ``MessageConsumer`` to find."""

VERBS: Final = ("accept", "reject", "send", "close", "join", "leave", "broadcast", "spawn")

FACTS: Final[Mapping[str, str]] = {
    "state": "It tells where the connection is in its life. Give yours another name.",
    "groups": "Write `await self.join(group)` or `await self.leave(group)` to change it.",
    "subprotocol": "Write `await self.accept(subprotocol)` to choose it.",
    "user": "A consumer that authenticates by its first message sets `self.request.user`.",
    "scope": "It comes from the server. Give yours another name.",
    "request": "It comes from the handshake. Give yours another name.",
    "args": "It comes from the URL pattern. Give yours another name.",
    "kwargs": "It comes from the URL pattern. Give yours another name.",
}
"""The facts, and what to do in place of setting one."""

CHANNELS: Final[Mapping[str, str]] = {
    "websocket_connect": "Write `async def connect(self)`.",
    "websocket_receive": "Write `async def receive(self, data)`.",
    "websocket_disconnect": "Write `async def disconnect(self, code, reason)`.",
    "receive_json": "Make it a class of JsonWebsocketConsumer, which calls it.",
}
"""Hooks of Channels that nothing calls here, and what to write."""


ELSEWHERE: Final[Mapping[str, str]] = {
    **dict.fromkeys(("on_connect", "on_open"), "`async def connect(self)`"),
    **dict.fromkeys(("on_receive", "on_message"), "`async def receive(self, data)`"),
    **dict.fromkeys(("on_disconnect", "on_close"), "`async def disconnect(self, code, reason)`"),
}
"""
Hooks of Starlette and others, and what they are here.

They may well be names of one's own, so only a check speaks of them.
"""


WORDS: Final = frozenset({"authorized", "authorizer", "authorizes", "received", "receiver"})
"""Names that are words of their own, though only a letter more than one of ours."""


def check_names(cls: type) -> None:
    """Raise ``TypeError`` for a name that is ours, or that would silently do nothing."""
    for name in RESERVED:
        if name in vars(cls):
            raise TypeError(
                f"{cls.__name__}.{name} is reserved: it runs the consumer. Choose another name."
            )
    _check_hidden(cls)
    check_foreign(cls, CHANNELS)
    _check_handlers(cls)
    check_spelling(cls, (*HOOKS, *LIMITS, "dispatch", "setup"))


def _check_hidden(cls: type) -> None:
    """Refuse what would hide a verb or a fact."""
    advice = {**dict.fromkeys(VERBS, "Give yours another name, and call it."), **FACTS}
    for name in advice:
        owner = next((base for base in cls.__mro__ if name in vars(base)), None)
        if owner is not None and not _is_ours(owner):
            kind = "verb" if name in VERBS else "fact"
            raise TypeError(
                f"{owner.__name__}.{name} would hide the {kind} {name} of {cls.__name__}. "
                f"{advice[name]}"
            )


def _check_handlers(cls: type) -> None:
    """Refuse handlers of messages in a class that reads none."""
    if any(base.__name__ == "MessageConsumer" and _is_ours(base) for base in cls.__mro__):
        return
    for base, name in _names_of_others(cls):
        if HANDLER_MARK in getattr(vars(base)[name], "__dict__", ()):
            raise TypeError(
                f"{base.__name__}.{name} is marked with @on, which means nothing here. Make "
                f"{cls.__name__} a class of MessageConsumer, which reads messages and calls it."
            )


def check_foreign(cls: type, advice: Mapping[str, str]) -> None:
    """Raise ``TypeError`` for a hook of Channels that our classes don't have."""
    for base, name in _names_of_others(cls):
        if name in advice:
            raise TypeError(
                f"{base.__name__}.{name} is a hook of Channels, which nothing calls here. "
                f"{advice[name]}"
            )


def check_spelling(cls: type, names: Iterable[str]) -> None:
    """Raise ``TypeError`` for what is one of these names, but for one letter or for capitals."""
    names = tuple(names)
    meant = _misspellings(names)
    for base, name in _names_of_others(cls):
        lower = name.lower()
        found = lower if lower in names else meant.get(name)
        if found is not None and _may_be(cls, found, vars(base)[name]):
            raise TypeError(f"{base.__name__}.{name} would never be used. Did you mean {found}?")


def _may_be(cls: type, name: str, value: object) -> bool:
    """Return whether this can be meant as one of ours: ``connects = 0`` is a counter, no hook."""
    if not callable(getattr_static(cls, name)):
        return not callable(value)
    return callable(value) and not issubclass(type(value), type)


@cache
def _misspellings(names: tuple[str, ...]) -> Mapping[str, str]:
    return {wrong: name for name in names for wrong in _slips(name)}


def _slips(word: str) -> set[str]:
    """
    Return a word with one letter missing, doubled, added, or swapped with the next.

    None is added in front: ``areceive`` and ``_receive`` are names that people do give.
    """
    wrong = set()
    for at, letter in enumerate(word):
        before, after = word[:at], word[at + 1 :]
        wrong |= {before + after, before + letter * 2 + after}
        wrong |= {before + letter + added + after for added in f"{ascii_lowercase}_"}
        if letter == "z":
            wrong.add(f"{before}s{after}")  # as the British write
        if after:
            wrong.add(before + after[0] + letter + after[1:])
    return wrong - WORDS


def _names_of_others(cls: type) -> Iterator[tuple[type, str]]:
    """Yield the names that the project's classes have and ours don't, with their class."""
    ours = {name for base in cls.__mro__ if _is_ours(base) for name in vars(base)}
    for base in cls.__mro__:
        if not _is_ours(base):
            yield from ((base, name) for name in vars(base) if name not in ours)


def _is_ours(cls: type) -> bool:
    return cls.__module__.partition(".")[0] == __name__.partition(".")[0]


def keep_facts(cls: Any) -> None:
    """Let an assignment to a fact say what to do, not only that there is no setter."""
    for name in FACTS:
        if isinstance(vars(cls).get(name), property):
            setattr(cls, name, vars(cls)[name].setter(_refusal(name)))


def _refusal(name: str) -> Any:
    def refuse(self: object, value: object) -> None:
        raise AttributeError(
            f"{type(self).__name__}.{name} can't be set: it is a fact of the connection. "
            f"{FACTS[name]}"
        )

    return refuse
