"""
What is asked of all processes, and what they answer.

Questions are orders, which every event loop with websockets hears. Answers go to a channel that the
one who asks has made for them, so that nobody else has to read them.
"""

from __future__ import annotations

import fnmatch
import re
from typing import TYPE_CHECKING, Annotated, Any, Final

import msgspec
from django.contrib.auth import get_user_model
from django.core.exceptions import ImproperlyConfigured, ValidationError
from msgspec import Meta

from ..groups.names import RESERVED
from ..groups.orders import Order
from ..identities import hash_of_session
from ..log_fields import label_of
from ..processes import Process  # noqa: TC001  # msgspec reads it
from .facts import SHOWN, Facts, id_of, session_hash, user_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..connection.monitor import Watched

Text = Annotated[str, Meta(max_length=400)]

Reply = Annotated[str, Meta(pattern=r"^[0-9a-f]{16}\Z")]
"""What the name of a channel for answers ends with; no stranger may choose any other."""


def channel_of(reply: str) -> str:
    """Return the name of a channel for answers."""
    return f"{RESERVED}answers:{reply}"


class Selection(msgspec.Struct, frozen=True, omit_defaults=True):
    """
    Which connections are meant: those that all of this is true of; by default all.

    ``user`` is a primary key as text. ``session`` is the beginning of the hash of a session's key.
    In ``group``, ``path`` and ``consumer`` a ``*`` stands for any characters; the last is the name
    of a class, with or without its module. ``connection`` is the id of one.
    """

    user: Text | None = None
    session: Annotated[str, Meta(pattern=rf"^[0-9a-f]{{{SHOWN},32}}\Z")] | None = None
    group: Text | None = None
    path: Text | None = None
    consumer: Text | None = None
    connection: Text | None = None

    def __bool__(self) -> bool:
        """Whether it leaves anybody out."""
        return self != EVERYBODY

    def __str__(self) -> str:
        named = ((name, getattr(self, name)) for name in self.__struct_fields__)
        return ", ".join(f"{name} {value}" for name, value in named if value is not None)

    def test(self) -> Callable[[Watched], bool]:
        """Return what tells whether a session is meant."""
        tests: list[Callable[[Watched], bool]] = []
        if self.connection is not None:
            tests.append(lambda session: id_of(session) == self.connection)
        if self.user is not None:
            tests.append(lambda session: user_of(session.consumer.request)[0] == self.user)
        if self.path is not None:
            path = _matcher(self.path)
            tests.append(lambda session: path(session.consumer.request.path))
        if self.consumer is not None:
            consumer = _matcher(self.consumer)
            tests.append(lambda session: _is_named(type(session.consumer), consumer))
        if self.group is not None:
            group = _matcher(self.group)
            tests.append(lambda session: any(map(group, getattr(session.member, "groups", ()))))
        if self.session is not None:
            begin = self.session
            tests.append(
                lambda session: (session_hash(session.consumer.request) or "").startswith(begin)
            )
        return lambda session: all(test(session) for test in tests)


EVERYBODY: Final = Selection()


def session_named(value: str) -> str:
    """Return what a selection says of a session, for its key or the hash that is shown of it."""
    is_shown = re.fullmatch(f"[0-9a-f]{{{SHOWN}}}", value) is not None
    return value if is_shown else hash_of_session(value)


def user_named(value: str) -> str:
    """Return a primary key as it is shown, for one as it is written, as a UUID without hyphens."""
    try:
        key: Any = get_user_model()._meta.pk  # noqa: SLF001  # Django's public one
        return str(key.to_python(value))
    except (ImproperlyConfigured, ValidationError):
        return value  # there may be users of another model


def _matcher(pattern: str) -> Callable[[str], bool]:
    if "*" not in pattern:
        return pattern.__eq__
    # As in a shell, but for "?" and "[", which are in paths and names of groups.
    literal = re.sub(r"[\[?]", r"[\g<0>]", pattern)
    match = re.compile(fnmatch.translate(literal)).match
    return lambda text: match(text) is not None


def _is_named(kind: type, matches: Callable[[str], bool]) -> bool:
    return matches(kind.__name__) or matches(label_of(kind))


class WhoIsConnected(Order, frozen=True):
    """
    Tell of the connections that are meant, to the channel for answers.

    ``limit``: of so many in each event loop, at the most; the rest is only counted.
    """

    reply: Reply
    selection: Selection = EVERYBODY
    limit: int | None = None


class Disconnect(Order, frozen=True):
    """Close the connections that are meant, and say how many they were. ``by``: who wants it."""

    reply: Reply
    selection: Selection
    code: int
    reason: str = ""
    by: Text = ""


class Answer(msgspec.Struct, frozen=True):
    """
    What an event loop says, in one or more pieces.

    ``number`` counts the pieces, from 0. ``rows`` are the facts of connections, a piece of them.
    The last piece says how many connections there are, how many of which consumer are meant, if
    that was the order, how many of them are being closed, and whether the process takes no new ones
    since it is going to stop.
    """

    process: Process
    loop: Text
    number: int
    rows: list[Facts] = []
    is_last: bool = False
    total: int = 0
    consumers: dict[str, int] = {}
    closed: int = 0
    is_draining: bool = False
