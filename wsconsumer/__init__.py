"""Class-based websocket consumers for Django, on raw ASGI. Read ``consumer.py`` first."""

from .consumer import WebsocketConsumer
from .exceptions import ConnectionClosed, InvalidEvent, InvalidState, WsconsumerError
from .protocol import CloseCode, ConnectionState
from .view import asgi_view

__all__ = [
    "CloseCode",
    "ConnectionClosed",
    "ConnectionState",
    "InvalidEvent",
    "InvalidState",
    "WebsocketConsumer",
    "WsconsumerError",
    "asgi_view",
]

__version__ = "0.1.0"
