"""What goes over the chat's sockets. The pages' side is in `static/chat/`."""

from datetime import datetime

import msgspec

from wsconsumer.messages import Message

# The list of rooms


class List(Message):
    """Ask for all rooms."""


class Room(msgspec.Struct):
    id: int
    name: str
    url: str


class Rooms(Message):
    """All rooms, or one that was made just now."""

    rooms: list[Room]


# A room


class Enter(Message):
    """Ask which process serves you."""


class Said(Message):
    """What somebody said."""

    id: int
    author: str
    text: str
    sent_at: datetime


class Welcome(Message):
    """The process that serves you."""

    process: int


class Say(Message):
    text: str


class Typing(Message):
    """Hint that one types."""


class IsTyping(Message):
    """Hint that another types."""

    author: str
