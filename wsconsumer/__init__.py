"""Class-based websocket consumers for Django, on raw ASGI. Read ``consumer.py`` first."""

from .consumer import WebsocketConsumer
from .disconnecting import (
    adisconnect_session,
    adisconnect_user,
    disconnect_session,
    disconnect_user,
)
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
    "adisconnect_session",
    "adisconnect_user",
    "asgi_view",
    "broadcast",
    "disconnect_session",
    "disconnect_user",
]

__version__ = "0.1.0"
