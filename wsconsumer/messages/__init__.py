"""Typed messages: annotate a handler, and messages are parsed, validated, routed and answered."""

from msgspec import Meta, field

from .consumer import MessageConsumer
from .errors import MessageError
from .handlers import on
from .interface import Interface, interface_of
from .types import Cancel, End, Error, Event, Message, Ok

__all__ = [
    "Cancel",
    "End",
    "Error",
    "Event",
    "Interface",
    "Message",
    "MessageConsumer",
    "MessageError",
    "Meta",
    "Ok",
    "field",
    "interface_of",
    "on",
]
