"""Class-based websocket consumers for Django, on raw ASGI. Read ``consumer.py`` first."""

from .consumer import WebsocketConsumer
from .exceptions import (
    BackendError,
    ConnectionClosed,
    InvalidEvent,
    InvalidState,
    TooManyGroups,
    TooManyTasks,
    WsconsumerError,
)
from .groups import Group, abroadcast, broadcast
from .handshake.views import asgi_view
from .json_consumer import JsonWebsocketConsumer
from .protocol import CloseCode, ConnectionState

__all__ = [
    "BackendError",
    "CloseCode",
    "ConnectionClosed",
    "ConnectionState",
    "Group",
    "InvalidEvent",
    "InvalidState",
    "JsonWebsocketConsumer",
    "TooManyGroups",
    "TooManyTasks",
    "WebsocketConsumer",
    "WsconsumerError",
    "abroadcast",
    "asgi_view",
    "broadcast",
]

__version__ = "0.1.0"
