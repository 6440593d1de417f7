"""The messages that the tests of ``wsconsumer.messages`` speak in."""

from __future__ import annotations

from typing import Annotated

from wsconsumer.messages import Event, Message, Meta


class Say(Message):
    """Something said, with bounds on what that is."""

    text: Annotated[str, Meta(min_length=1, max_length=20)]
    loud: bool = False


class Said(Message):
    """The same, with who said it."""

    author: str
    text: str


class Count(Message):
    """Ask for a stream of numbers."""

    to: int = 3


class Number(Message):
    """One of them."""

    value: int


class Fail(Message):
    """Ask for a failure."""

    how: str = ""


class Kick(Event):
    """Tell a connection to close."""

    reason: str


class Refresh(Event, tag="refresh.page"):
    """Tell a connection to look again."""

    page: int
